"""task=dashboard: the runs of this machine on a live page, or a workspace at W&B."""

import os
from pathlib import Path

from effdet_lab.spec import ExperimentSpec, is_detector


def show_dashboard(spec: ExperimentSpec, outputs: Path) -> None:
    """Until the keyboard interrupts for a page of this machine; at once for a workspace, whose address is printed.

    Raises: ConfigError without the extra, or without a login where one is needed.
    """
    if spec.target == "local":
        from effdet_lab.tracking.local import serve

        serve(outputs)
        return
    from effdet_lab.tracking.workspace import build_workspace, save_workspace

    task = "detection" if is_detector(spec) else "classification"
    workspace = build_workspace(_entity(), spec.logger.project, task)
    print(f"The dashboard is on {save_workspace(workspace)}")


def _entity() -> str:
    """Whose project it is: as W&B itself decides."""
    from effdet_lab.tracking.weights_and_biases import has_key

    named = os.environ.get("WANDB_ENTITY", "")
    if named or not has_key():
        return named
    import wandb

    return wandb.Api().default_entity or ""
