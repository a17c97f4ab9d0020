"""task=dashboard: the runs of this machine on a live page, or a workspace and a report at W&B."""

from pathlib import Path

from effdet_lab.spec import ExperimentSpec, is_detector


def show_dashboard(spec: ExperimentSpec, outputs: Path) -> None:
    """Until the keyboard interrupts for a page of this machine; at once for W&B's, whose addresses are printed.

    Raises: ConfigError without the extra, or without a login where one is needed.
    """
    if spec.target == "local":
        from effdet_lab.tracking.local import serve

        serve(outputs)
        return
    from effdet_lab.tracking.wandb_report import build_report, save_report
    from effdet_lab.tracking.weights_and_biases import default_entity
    from effdet_lab.tracking.workspace import build_workspace, save_workspace

    task = "detection" if is_detector(spec) else "classification"
    place = (default_entity(), spec.logger.project, task)
    print(f"The dashboard is on {save_workspace(build_workspace(*place))}")
    print(f"The report is on {save_report(build_report(*place))}")
