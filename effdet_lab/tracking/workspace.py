"""A W&B dashboard as code: what scaling buys, how runs of each phi learn, and what a sweep found.

    from effdet_lab.tracking.workspace import build_workspace, save_workspace
    save_workspace(build_workspace("ENTITY", "effdet_lab"))  # returns the page's address

The project's runs must have been logged by this package: the multiply-adds and flat settings stand in their config.
"""

from collections.abc import Sequence
from typing import Any, Literal

from effdet_lab.errors import ConfigError
from effdet_lab.tracking.describe import STEP
from effdet_lab.tracking.weights_and_biases import has_key

TASKS = {"detection": ("val/map", "mAP"), "classification": ("val/top1", "top-1")}
# The settings that sweeps vary, and whether their axis is logarithmic.
SWEPT = {"phi": False, "seed": False, "data.batch_size": True, "optim.learning_rate": True, "optim.weight_decay": True}


def build_workspace(
    entity: str,
    project: str,
    task: Literal["detection", "classification"] = "detection",
    settings: Sequence[str] = tuple(SWEPT),
) -> Any:
    """A `wandb_workspaces.workspaces.Workspace`; `settings` are the axes of its parallel coordinates.

    Raises: ConfigError if wandb-workspaces is not installed.
    """
    workspaces, reports = _libraries()
    metric, name = TASKS[task]
    best = reports.SummaryMetric(f"{metric}.max")
    cost = reports.ScatterPlot(
        title=f"{name} against multiply-adds", x=reports.Config("multiply_adds"), y=best, log_x=True
    )
    curves = [
        reports.LinePlot(
            title=f"{title} by phi", x=STEP, y=[curve], groupby=reports.Config("phi"), groupby_rangefunc="minmax"
        )
        for title, curve in ((name, metric), ("loss", "val/loss"))
    ]
    column = _setting_column(reports)
    sweep = reports.ParallelCoordinatesPlot(
        title="The sweep",
        columns=[
            *(column(metric=setting, display_name=setting, log=SWEPT.get(setting, False)) for setting in settings),
            reports.ParallelCoordinatesPlotColumn(metric=best, display_name=name),
        ],
    )
    return workspaces.Workspace(
        entity=entity,
        project=project,
        name=f"Compound scaling: {task}",
        sections=[
            workspaces.Section(name="What scaling buys", panels=[cost], is_open=True),
            workspaces.Section(name="Curves by phi", panels=curves, is_open=True),
            workspaces.Section(name="Sweeps", panels=[sweep], is_open=True),
        ],
    )


def save_workspace(workspace: Any) -> str:
    """Puts it on the server; the address of the page.

    Raises: ConfigError without a key for W&B.
    """
    if not has_key():
        raise ConfigError(
            "workspace: there is no key for W&B on this machine, so it cannot be saved. "
            "Run `wandb login`, or set WANDB_API_KEY."
        )
    return workspace.save().url


def _libraries() -> tuple[Any, Any]:
    try:
        import wandb_workspaces.reports.v2 as reports
        import wandb_workspaces.workspaces as workspaces
    except ModuleNotFoundError:
        raise ConfigError(
            "workspace: wandb-workspaces is not installed. Run `pip install 'effdet-lab[dashboards]'`."
        ) from None
    return workspaces, reports


def _setting_column(reports: Any) -> type:
    class SettingColumn(reports.ParallelCoordinatesPlotColumn):
        """A setting by its flat name: the library takes a dot for a step into a nested dictionary."""

        def _to_model(self) -> Any:
            model = super()._to_model()
            model.accessor = f"config:{self.metric}.value"
            return model

    return SettingColumn
