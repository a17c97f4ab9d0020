"""A W&B report as code: the workspace's pictures, each under a few words on how to read it.

from effdet_lab.tracking.wandb_report import build_report, save_report
save_report(build_report("ENTITY", "effdet_lab"))  # returns the page's address
"""

from collections.abc import Sequence
from typing import Any

from effdet_lab.tracking.panels import (
    SWEPT,
    TASKS,
    Task,
    best,
    cost_panel,
    curve_panel,
    curve_panels,
    importance_panel,
    libraries,
    need_key,
    sweep_panel,
)

WIDTH = 24  # columns of W&B's grid
BUYS = (
    "A dot is a size, the mean of its runs: to the right it computes more, and higher up it finds more. Along a good "
    "scaling rule the dots rise steadily; where they level off, multiply-adds buy little. "
    "The axis of the multiply-adds is logarithmic."
)
LEARNS = (
    "A line is the mean of all runs of one phi, and the band around it reaches from the worst of them to the best. "
    "Bands that overlap say that seeds matter as much as size. Where {name} falls while the loss still sinks, "
    "the network has begun to learn its pictures by heart."
)
SWEEPS = (
    "A row of the table below is a sweep with all its runs, and a line is the mean of a sweep, with a band from its "
    "worst run to its best. The eye beside a row hides it."
)
FOUND = (
    "A line is a run: follow the lines that end highest at {name} back through the settings. Where they fan out, a "
    "setting does not matter; where they meet, it does. The other picture says the same in numbers: importance, "
    "and whether {name} rises or falls with the setting. Both need some ten runs before they mean anything, "
    "and both mix sweeps: narrow the table to one by its group."
)


def build_report(entity: str, project: str, task: Task = "detection", settings: Sequence[str] = tuple(SWEPT)) -> Any:
    """A `wandb_workspaces.reports.v2.Report`; `settings` are the axes of its parallel coordinates.

    Raises: ConfigError if wandb-workspaces is not installed.
    """
    _, reports = libraries()
    metric, name = TASKS[task]

    def runs(title: str, *groups: str) -> Any:
        best_first = [reports.OrderBy(best(reports, task))]
        return reports.Runset(entity=entity, project=project, name=title, groupby=list(groups), order=best_first)

    def size(width: int, height: int) -> Any:
        return reports.Layout(w=width, h=height)  # the library finds a free place

    curves = curve_panels(reports, task)
    for curve in curves:
        curve.layout = size(WIDTH // 2, 10)
    by_sweep = curve_panel(reports, f"{name} by sweep", metric, reports.Metric("Group"), layout=size(WIDTH, 10))
    cost = cost_panel(reports, task, layout=size(WIDTH, 12))
    found = [
        sweep_panel(reports, task, settings, layout=size(2 * WIDTH // 3, 12)),
        importance_panel(reports, task, layout=size(WIDTH // 3, 12)),
    ]
    sections = [
        ("What scaling buys", BUYS, runs("Runs by phi", "config.phi"), [cost]),
        ("How each size learns", LEARNS, runs("Runs by phi", "config.phi"), curves),
        ("How the sweeps compare", SWEEPS, runs("Runs by sweep", "group"), [by_sweep]),
        ("What a sweep found", FOUND, runs("All runs"), found),
    ]
    blocks: list[Any] = [reports.TableOfContents()]
    for title, words, runset, panels in sections:
        blocks += [
            reports.H1(title),
            reports.P(words.format(name=name)),
            reports.PanelGrid(runsets=[runset], panels=panels),
        ]
    return reports.Report(
        entity=entity,
        project=project,
        title=f"Compound scaling: {task}",
        description=f"{name} against what it costs, by size and by sweep.",
        blocks=blocks,
        width="fluid",
    )


def save_report(report: Any) -> str:
    """Puts it on the server; the address of the page.

    Raises: ConfigError without a key for W&B.
    """
    need_key()
    return report.save().url
