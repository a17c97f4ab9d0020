"""The run's numbers as files: a row an epoch, and the final metrics."""

import csv
import io
import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from pytorch_lightning import Callback, LightningModule, Trainer

from effdet_lab.run.folder import write_text

TABLE = "metrics.csv"
FINAL = "metrics.json"
COSTS = "costs.json"
Row = dict[str, str]


class Costs(NamedTuple):
    """What one picture costs."""

    parameters: int
    multiply_adds: int
    latency_ms: float


def epoch_metrics(trainer: Trainer, evaluated: bool) -> dict[str, float]:
    """What this epoch measured; collective, so every process calls it.

    Validation metrics of an earlier epoch linger in the trainer; they belong to that epoch's row.
    """
    return _metrics_of(trainer, ("train/", "val/") if evaluated else ("train/",))


def _metrics_of(trainer: Trainer, splits: tuple[str, ...]) -> dict[str, float]:
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    return {name: value for split in splits for name, value in metrics.items() if name.startswith(split)}


class MetricsTable(Callback):
    """Writes metrics.csv, whole after every epoch, so that a reader never meets half a row.

    What a validation measured is written before the checkpoint that follows it, so that a run that is killed between
    them and resumed has measured every epoch. A resumed run keeps the rows up to its checkpoint's. New metrics become
    new columns.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / TABLE
        self.rows: list[Row] = []
        self.evaluated = False
        self.started: float | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.rows = read_table(self.path)
        self.started = None

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.rows = [row for row in self.rows if int(row["epoch"]) <= trainer.current_epoch]
        self.evaluated, self.started = False, time.monotonic()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.evaluated = True
        self._write(trainer, _metrics_of(trainer, ("val/",)))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._write(trainer, epoch_metrics(trainer, self.evaluated))

    def _write(self, trainer: Trainer, metrics: dict[str, float]) -> None:
        """The epoch's row, in place of what was known of it before; nothing of an epoch that another process ran."""
        if self.started is not None and trainer.is_global_zero:
            row = {
                "epoch": str(trainer.current_epoch + 1),
                "step": str(trainer.global_step),
                "seconds": f"{time.monotonic() - self.started:.2f}",
            }
            earlier = [other for other in self.rows if other["epoch"] != row["epoch"]]
            self.rows = [*earlier, row | {name: f"{value:.7g}" for name, value in metrics.items()}]
            write_table(self.path, self.rows)


def read_table(path: Path) -> list[Row]:
    """The rows of a metrics.csv, or none; a cell that was not measured is left out."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [{name: value for name, value in row.items() if value} for row in csv.DictReader(file)]


def write_table(path: Path, rows: list[Row]) -> None:
    """Columns in the order in which they first came up."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def write_costs(folder: Path, costs: Costs) -> None:
    """costs.json."""
    write_text(folder / COSTS, json.dumps(costs._asdict(), indent=2) + "\n")


def write_metrics(folder: Path, metrics: Mapping[str, float]) -> None:
    """metrics.json: name -> number. JSON knows no infinity and no nan, so a metric that is one is left out."""
    finite = {name: float(value) for name, value in metrics.items() if math.isfinite(value)}
    write_text(folder / FINAL, json.dumps(finite, indent=2) + "\n")
