"""How far the run is: a line an epoch, and in a terminal a bar."""

import time
from datetime import timedelta
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import ProgressBar
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from effdet_lab.run.record import epoch_metrics
from effdet_lab.run.say import log

SHOWN = {"train/loss": "loss", "val/loss": "val loss", "val/map": "mAP", "val/top1": "top-1"}


class RunProgress(ProgressBar):
    """One bar over all batches of all epochs, with the time left; the first process alone speaks."""

    def __init__(self, console: Console | None = None) -> None:
        super().__init__()
        self.console = console or Console()
        self.bar: Progress | None = None
        self.enabled = True
        self.evaluated = False
        self.started = self.epoch_started = 0.0
        self.first_epoch = 0

    def enable(self) -> None:
        self.enabled = True

    def disable(self) -> None:
        self.enabled = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.started, self.first_epoch = time.monotonic(), trainer.current_epoch
        if self.enabled and self.console.is_terminal:
            self.bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("batches,"),
                TimeElapsedColumn(),
                TextColumn("gone,"),
                TimeRemainingColumn(),
                TextColumn("left"),
                console=self.console,
                transient=True,
            )
            done = trainer.current_epoch * trainer.num_training_batches
            self.task = self.bar.add_task("training", total=_batches(trainer), completed=done)
            self.bar.start()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.epoch_started, self.evaluated = time.monotonic(), False
        self._describe(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.bar is not None:
            self.bar.advance(self.task)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._describe("evaluating")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.evaluated = True

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        metrics = epoch_metrics(trainer, self.evaluated)
        if self.enabled:
            self._say(self._line(trainer, metrics))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._stop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._stop()

    def _line(self, trainer: Trainer, metrics: dict[str, float]) -> str:
        now = time.monotonic()
        share_done = max(trainer.global_step, 1) / max(1, int(trainer.estimated_stepping_batches))
        epochs_done = trainer.current_epoch + 1 - self.first_epoch
        epochs_left = max(0.0, (trainer.current_epoch + 1) * (1 / share_done - 1))
        left = timedelta(seconds=round((now - self.started) / epochs_done * epochs_left))
        numbers = [f"{words} {metrics[name]:.4g}" for name, words in SHOWN.items() if name in metrics]
        took = f"{now - self.epoch_started:.1f} s"
        return ", ".join([f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}: {took}", *numbers, f"{left} left"])

    def _say(self, line: str) -> None:
        """Into the log, which the console and log.txt show; the bar steps aside meanwhile."""
        if self.bar is not None:
            self.bar.stop()
        log.info(line)
        if self.bar is not None:
            self.bar.start()

    def _describe(self, text: str) -> None:
        if self.bar is not None:
            self.bar.update(self.task, description=text)

    def _stop(self) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None


def _batches(trainer: Trainer) -> int:
    """Of the whole run; `max_steps` may end it earlier than the epochs."""
    return min(
        int(trainer.estimated_stepping_batches) * trainer.accumulate_grad_batches,
        int(trainer.max_epochs * trainer.num_training_batches),
    )
