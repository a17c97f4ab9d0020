"""The pictures that a workspace and a report at W&B share, each built where it is asked for.

The project's runs must have been logged by this package: the multiply-adds and flat settings stand in their config.
"""

from collections.abc import Sequence
from typing import Any, Literal

from effdet_lab.errors import ConfigError
from effdet_lab.tracking.describe import STEP
from effdet_lab.tracking.weights_and_biases import has_key

Task = Literal["detection", "classification"]
TASKS = {"detection": ("val/map", "mAP"), "classification": ("val/top1", "top-1")}
# The settings that sweeps vary, and whether their axis is logarithmic.
SWEPT = {"phi": False, "seed": False, "data.batch_size": True, "optim.learning_rate": True, "optim.weight_decay": True}


def libraries() -> tuple[Any, Any]:
    """`wandb_workspaces.workspaces` and `.reports.v2`.

    Raises: ConfigError if wandb-workspaces is not installed.
    """
    try:
        import wandb_workspaces.reports.v2 as reports
        import wandb_workspaces.workspaces as workspaces
    except ModuleNotFoundError:
        raise ConfigError(
            "target=wandb: wandb-workspaces is not installed. Run `pip install 'effdet-lab[dashboards]'`."
        ) from None
    return workspaces, reports


def need_key() -> None:
    """Raises: ConfigError without a key for W&B."""
    if not has_key():
        raise ConfigError(
            "target=wandb: there is no key for W&B on this machine, so nothing can be saved there. "
            "Run `wandb login`, or set WANDB_API_KEY."
        )


def best(reports: Any, task: Task) -> Any:
    """The highest value of the metric that counts."""
    return reports.SummaryMetric(f"{TASKS[task][0]}.max")


def cost_panel(reports: Any, task: Task, **place: Any) -> Any:
    """What an operation buys: a dot for each run."""
    return reports.ScatterPlot(
        title=f"{TASKS[task][1]} against multiply-adds",
        x=reports.Config("multiply_adds"),
        y=best(reports, task),
        log_x=True,
        **place,
    )


def curve_panel(reports: Any, title: str, curve: str, groupby: Any, **place: Any) -> Any:
    """A curve over steps: a line for each group, and a band from its worst run to its best."""
    return reports.LinePlot(title=title, x=STEP, y=[curve], groupby=groupby, groupby_rangefunc="minmax", **place)


def curve_panels(reports: Any, task: Task) -> list[Any]:
    """The metric and the loss of each phi."""
    metric, name = TASKS[task]
    phi = reports.Config("phi")
    return [curve_panel(reports, f"{title} by phi", y, phi) for title, y in ((name, metric), ("loss", "val/loss"))]


def sweep_panel(reports: Any, task: Task, settings: Sequence[str], **place: Any) -> Any:
    """A line for each run, through its settings and the metric."""
    column = _setting_column(reports)
    return reports.ParallelCoordinatesPlot(
        title="The sweep",
        columns=[
            *(column(metric=setting, display_name=setting, log=SWEPT.get(setting, False)) for setting in settings),
            reports.ParallelCoordinatesPlotColumn(metric=best(reports, task), display_name=TASKS[task][1]),
        ],
        **place,
    )


def importance_panel(reports: Any, task: Task, **place: Any) -> Any:
    """Which settings the metric hangs on."""
    return reports.ParameterImportancePlot(with_respect_to=best(reports, task).name, **place)


def _setting_column(reports: Any) -> type:
    class SettingColumn(reports.ParallelCoordinatesPlotColumn):
        """A setting by its flat name: the library takes a dot for a step into a nested dictionary."""

        def _to_model(self) -> Any:
            model = super()._to_model()
            model.accessor = f"config:{self.metric}.value"
            return model

    return SettingColumn
