"""Ending a run early from outside: a file in its folder asks for it, and the epoch it is in becomes its last."""

import time
from pathlib import Path

from pytorch_lightning import Callback, LightningModule, Trainer

from effdet_lab.run.folder import STOP_FILE, judged_epoch

PATIENCE, LOOK_EVERY = 2.0, 0.02  # seconds: a search looks often, but may be gone


class StopWhenAsked(Callback):
    """The first rank looks, and all stop together."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            self._wait_for_the_judge(trainer.current_epoch + 1)
        asked = trainer.strategy.broadcast((self.folder / STOP_FILE).exists() if trainer.is_global_zero else False)
        if asked:
            trainer.should_stop = True

    def _wait_for_the_judge(self, epoch: int) -> None:
        """A moment, instead of another epoch for nothing."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            seen = judged_epoch(self.folder)
            if seen is None or seen >= epoch:
                return
            time.sleep(LOOK_EVERY)
