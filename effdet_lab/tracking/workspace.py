"""A W&B dashboard as code: what scaling buys, how runs of each phi learn, and what a sweep found.

from effdet_lab.tracking.workspace import build_workspace, save_workspace
save_workspace(build_workspace("ENTITY", "effdet_lab"))  # returns the page's address
"""

from collections.abc import Sequence
from typing import Any

from effdet_lab.tracking.panels import (
    SWEPT,
    Task,
    cost_panel,
    curve_panels,
    importance_panel,
    libraries,
    need_key,
    sweep_panel,
)


def build_workspace(entity: str, project: str, task: Task = "detection", settings: Sequence[str] = tuple(SWEPT)) -> Any:
    """A `wandb_workspaces.workspaces.Workspace`; `settings` are the axes of its parallel coordinates.

    Raises: ConfigError if wandb-workspaces is not installed.
    """
    workspaces, reports = libraries()
    sweep = [sweep_panel(reports, task, settings), importance_panel(reports, task)]
    return workspaces.Workspace(
        entity=entity,
        project=project,
        name=f"Compound scaling: {task}",
        sections=[
            workspaces.Section(name="What scaling buys", panels=[cost_panel(reports, task)], is_open=True),
            workspaces.Section(name="Curves by phi", panels=curve_panels(reports, task), is_open=True),
            workspaces.Section(name="Sweeps", panels=sweep, is_open=True),
        ],
    )


def save_workspace(workspace: Any) -> str:
    """Puts it on the server; the address of the page.

    Raises: ConfigError without a key for W&B.
    """
    need_key()
    return workspace.save().url
