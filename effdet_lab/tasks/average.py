"""The running average of the weights, which is what gets evaluated and kept."""

from itertools import chain
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import WeightAveraging
from pytorch_lightning.trainer.states import TrainerFn


def ramped_decay(decay: float, updates: int) -> float:
    """A young average forgets its random start: (1 + n) / (10 + n) until the decay is reached.

    Source: tensorflow ExponentialMovingAverage with num_updates, as google/automl and tensorflow/tpu use it.

    >>> ramped_decay(0.9998, 0), ramped_decay(0.9998, 90), ramped_decay(0.9998, 100_000)
    (0.1, 0.91, 0.9998)
    """
    return min(decay, (1 + updates) / (10 + updates))


class ExponentialAverage(WeightAveraging):
    """Averages weights and batch norm statistics after every step; whole numbers are copied.

    While fitting, validation sees the average. A checkpoint's `state_dict` is the average; the weights in training
    are its `current_model_state`.
    """

    def __init__(self, decay: float) -> None:
        super().__init__()
        self.decay = decay

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        # The module has not moved yet; an average left behind would cross the bus at every step.
        self._device = trainer.strategy.root_device
        super().setup(trainer, pl_module, stage)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step > self._latest_update_step:
            self._follow(pl_module, ramped_decay(self.decay, trainer.global_step - 1))
            self._latest_update_step = trainer.global_step

    @torch.no_grad()
    def _follow(self, pl_module: LightningModule, decay: float) -> None:
        """One call for all tensors, none of which waits for the device."""
        assert self._average_model is not None
        averages = chain(self._average_model.module.parameters(), self._average_model.module.buffers())
        currents = chain(pl_module.parameters(), pl_module.buffers())
        pairs = list(zip(averages, currents, strict=True))
        real = [(average, current) for average, current in pairs if average.is_floating_point()]
        whole = [(average, current) for average, current in pairs if not average.is_floating_point()]
        if real:
            torch._foreach_lerp_(*map(list, zip(*real, strict=True)), 1 - decay)
        if whole:
            torch._foreach_copy_(*map(list, zip(*whole, strict=True)))

    # After the fit the module holds the weights somebody chose, and the average must keep its hands off them.

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == TrainerFn.FITTING:
            super().on_validation_epoch_start(trainer, pl_module)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == TrainerFn.FITTING:
            super().on_validation_epoch_end(trainer, pl_module)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if trainer.state.fn == TrainerFn.FITTING:
            super().on_load_checkpoint(trainer, pl_module, checkpoint)
