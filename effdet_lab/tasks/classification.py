"""Training and evaluating a classifier.

B batch, K classes
"""

import torch.nn.functional as F
from torch import Tensor, nn

from effdet_lab.metrics.topk import TopK
from effdet_lab.records import ClassificationBatch
from effdet_lab.spec import ClassifierSpec, ExperimentSpec
from effdet_lab.tasks.base import ExperimentTask

UNKNOWN = -1  # the label of a picture nobody has labelled


class ClassificationTask(ExperimentTask):
    """Cross entropy with smoothed labels; top-1 and top-5."""

    def __init__(self, model: nn.Module, spec: ExperimentSpec) -> None:
        super().__init__(model, spec)
        assert isinstance(spec.model, ClassifierSpec)
        self.label_smoothing = spec.model.label_smoothing
        self.metric = TopK(spec.data.num_classes)

    def losses(self, answer: Tensor, batch: ClassificationBatch) -> dict[str, Tensor]:
        """The mean over pictures with a label; 0 where none has one."""
        total = F.cross_entropy(
            answer.float(),
            batch.labels_B,
            ignore_index=UNKNOWN,
            label_smoothing=self.label_smoothing if self.training else 0.0,
            reduction="sum",
        )
        return {"loss": total / (batch.labels_B != UNKNOWN).sum().clamp(min=1)}

    def update_metric(self, answer: Tensor, batch: ClassificationBatch) -> None:
        self.metric.update(answer, batch.labels_B, batch.image_id_B)

    def predict_step(self, batch: ClassificationBatch, batch_idx: int) -> Tensor:
        """Probabilities of the classes, (B, K)."""
        return self(batch.images_BCHW).float().softmax(dim=-1)
