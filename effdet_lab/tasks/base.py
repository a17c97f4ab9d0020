"""What detection and classification share: pixels to numbers, the optimiser, and when things are logged.

B batch, C channels, H W input size
"""

import math
from abc import ABC, abstractmethod
from typing import Any

import torch
import torch.distributed as dist
from pytorch_lightning import LightningModule
from pytorch_lightning.strategies import ModelParallelStrategy
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor, nn

from effdet_lab.errors import ConfigError
from effdet_lab.metrics.coco import CocoMeanAP
from effdet_lab.metrics.ground_truth import DetectionArrays
from effdet_lab.metrics.topk import BestClasses, TopK
from effdet_lab.records import ClassificationBatch, DetectionBatch
from effdet_lab.spec import ExperimentSpec, to_dict
from effdet_lab.tasks.optim import build_optimiser, build_schedule, freeze, frozen_norms
from effdet_lab.tasks.sharding import all_finite, shard

Batch = DetectionBatch | ClassificationBatch
PIXEL_MAX = 255.0


class ExperimentTask(LightningModule, ABC):
    """A model in training and evaluation, as its spec says.

    `predictions` are those of the last evaluation, of all processes.
    Raises: ConfigError where `optim.freeze` fits nothing, and when training leaves the realm of numbers.
    """

    def __init__(self, model: nn.Module, spec: ExperimentSpec) -> None:
        super().__init__()
        freeze(model, spec.optim.freeze)
        self.layout = torch.channels_last if spec.trainer.channels_last else torch.contiguous_format
        self.model = model.to(memory_format=self.layout)
        self.spec = spec
        self.metric: CocoMeanAP | TopK | None = None
        self.predictions: DetectionArrays | BestClasses | None = None
        mean_C11 = torch.tensor(spec.model.input.mean).view(-1, 1, 1)
        std_C11 = torch.tensor(spec.model.input.std).view(-1, 1, 1)
        self.register_buffer("scale_C11", 1 / (PIXEL_MAX * std_C11), persistent=False)
        self.register_buffer("shift_C11", -mean_C11 / std_C11, persistent=False)

    def normalised(self, images_BCHW: Tensor) -> Tensor:
        """What the network reads, from uint8 pixels."""
        images_BCHW = images_BCHW.to(torch.float32, memory_format=self.layout)
        return torch.addcmul(self.shift_C11, images_BCHW, self.scale_C11)

    @abstractmethod
    def losses(self, answer: Any, batch: Any) -> dict[str, Tensor]:
        """The `loss` to be minimised, and its terms where it has some."""

    @abstractmethod
    def update_metric(self, answer: Any, batch: Any) -> None:
        """Gives the metric what the model answered."""

    def forward(self, images_BCHW: Tensor) -> Any:
        """The model's own answer to uint8 pixels."""
        return self.model(self.normalised(images_BCHW))

    def train(self, mode: bool = True) -> "ExperimentTask":
        super().train(mode)
        for norm in frozen_norms(self.model):
            norm.eval()
        return self

    def on_fit_start(self) -> None:
        self.train()
        if self.spec.trainer.compile:
            self.model.compile()

    def configure_model(self) -> None:
        """Sharded where the trainer shards; else nothing."""
        if isinstance(self.trainer.strategy, ModelParallelStrategy) and self.device_mesh is not None:
            shard(self.model, self.device_mesh["data_parallel"])

    def configure_optimizers(self):
        total_steps = int(self.trainer.estimated_stepping_batches)
        steps_per_epoch = math.ceil(self.trainer.num_training_batches / self.trainer.accumulate_grad_batches)
        optimiser = build_optimiser(self.model, self.spec.optim)
        schedule = build_schedule(optimiser, self.spec.optim, steps_per_epoch, total_steps)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        losses = self.losses(self(batch.images_BCHW), batch)
        self._log_training(losses, len(batch.images_BCHW))
        return losses["loss"]

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._evaluate(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self._evaluate(batch, "test")

    def on_validation_epoch_end(self) -> None:
        self._conclude("val")

    def on_test_epoch_end(self) -> None:
        self._conclude("test")

    def on_train_epoch_start(self) -> None:
        self.log("train/learning_rate", self.trainer.optimizers[0].param_groups[0]["lr"], sync_dist=True)

    def on_validation_epoch_start(self) -> None:
        if self.trainer.state.fn == TrainerFn.FITTING:
            self._refuse_strange_weights()
        # Each process has seen other batches; all evaluate the statistics that the checkpoint will hold.
        if dist.is_available() and dist.is_initialized():
            for buffer in self.model.buffers():
                dist.broadcast(buffer, src=0)

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        checkpoint["hyper_parameters"] = to_dict(self.spec)

    def _evaluate(self, batch: Batch, split: str) -> None:
        """Loss and predictions from one look at the pictures."""
        answer = self(batch.images_BCHW)
        loss = self.losses(answer, batch)["loss"]
        self.log(f"{split}/loss", loss, on_epoch=True, sync_dist=True, batch_size=len(batch.images_BCHW))
        self.update_metric(answer, batch)

    def _conclude(self, split: str) -> None:
        if self.metric is None:
            return
        scores = self.metric.compute()
        self.log_dict({f"{split}/{name}": score for name, score in scores.items()}, sync_dist=True)
        is_coco = isinstance(self.metric, CocoMeanAP)
        self.predictions = self.metric.detections() if is_coco else self.metric.predictions()
        self.metric.reset()

    def _log_training(self, losses: dict[str, Tensor], batch_size: int) -> None:
        """Means over the epoch, and the loss of some steps as `step/loss`."""
        means = {f"train/{name}": value.detach() for name, value in losses.items()}
        self.log_dict(means, on_step=False, on_epoch=True, sync_dist=True, batch_size=batch_size)
        self.log("step/loss", losses["loss"].detach(), on_step=True, on_epoch=False, batch_size=batch_size)

    @torch.no_grad()
    def _refuse_strange_weights(self) -> None:
        """Once an epoch: a single step whose loss is not a number leaves no weight that is."""
        if not all_finite(list(self.model.parameters())):
            raise ConfigError(
                f"optim.learning_rate={self.spec.optim.learning_rate:g}: the weights stopped being numbers in epoch "
                f"{self.current_epoch + 1}. Try a third of it, more optim.warmup_epochs, or trainer.precision=32."
            )
