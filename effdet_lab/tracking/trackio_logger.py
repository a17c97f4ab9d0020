"""Curves for the page on this machine, while they grow."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger

from effdet_lab.spec import ExperimentSpec
from effdet_lab.tracking.describe import flatten
from effdet_lab.tracking.local import local_and_quiet, name_of, open_trackio


class TrackioLogger(Logger):
    """Lightning's door to Trackio; the run keeps its name when it is resumed."""

    def __init__(self, spec: ExperimentSpec, folder: Path, outputs: Path = Path("outputs")) -> None:
        super().__init__()
        self.is_open = True
        self.trackio = open_trackio(outputs)
        self.run_name = name_of(folder, outputs)
        with local_and_quiet():
            self.run = self.trackio.init(
                project=spec.logger.project,
                name=self.run_name,
                group=spec.logger.group or None,
                config=flatten(spec),
                resume="allow",
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )

    @property
    def name(self) -> str:
        return self.run.project

    @property
    def version(self) -> str:
        return self.run_name

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self.run.log({name: float(value) for name, value in metrics.items()}, step=step)

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """The settings came with the run."""

    def finalize(self, status: str) -> None:
        """More may follow: an evaluation comes after the fit. `finish` closes."""

    def finish(self) -> None:
        """Waits until everything is written; once is enough."""
        if self.is_open:
            self.is_open = False
            with local_and_quiet():
                self.trackio.finish()
