"""Ending a run early from outside: a file in its folder asks for it, and the epoch it is in becomes its last."""

from pathlib import Path

from pytorch_lightning import Callback, LightningModule, Trainer

from effdet_lab.run.folder import STOP_FILE


class StopWhenAsked(Callback):
    """The first rank looks, and all stop together."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / STOP_FILE

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        asked = trainer.strategy.broadcast(self.path.exists() if trainer.is_global_zero else False)
        if asked:
            trainer.should_stop = True
