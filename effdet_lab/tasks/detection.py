"""Training and evaluating a detector.

B batch, A anchors, D detections
"""

import dataclasses

from torch import Tensor, nn

from effdet_lab.detection.anchors import anchors_A4
from effdet_lab.detection.losses import detection_loss
from effdet_lab.detection.postprocess import detections
from effdet_lab.detection.targets import assign
from effdet_lab.metrics.coco import CocoMeanAP
from effdet_lab.metrics.ground_truth import GroundTruth
from effdet_lab.records import DetectionBatch, Detections, RawDetections
from effdet_lab.spec import DetectorSpec, ExperimentSpec
from effdet_lab.tasks.base import ExperimentTask


class DetectionTask(ExperimentTask):
    """Without `truth` an evaluation has a loss but no average precision."""

    def __init__(self, model: nn.Module, spec: ExperimentSpec, truth: GroundTruth | None) -> None:
        super().__init__(model, spec)
        assert isinstance(spec.model, DetectorSpec)
        self.detector = spec.model
        bifpn, head = self.detector.bifpn, self.detector.head
        anchors = anchors_A4(
            self.detector.input.image_size,
            bifpn.min_level,
            bifpn.max_level,
            anchor_scale=head.anchor_scale,
            octaves=head.octaves,
            aspect_ratios=head.aspect_ratios,
        )
        self.register_buffer("anchors_A4", anchors, persistent=False)
        if truth is not None:
            self.metric = CocoMeanAP(truth, backend=spec.evaluator)

    def losses(self, answer: RawDetections, batch: DetectionBatch) -> dict[str, Tensor]:
        """The total, and its two terms before the box term's weight."""
        loss = self.detector.loss
        targets = assign(self.anchors_A4, batch.boxes_BM4, batch.labels_BM)
        terms = detection_loss(
            answer,
            targets,
            alpha=loss.alpha,
            gamma=loss.gamma,
            label_smoothing=loss.label_smoothing,
            delta=loss.huber_delta,
        )
        total = terms.class_loss + loss.box_weight * terms.box_loss
        return {"loss": total, "loss_class": terms.class_loss, "loss_box": terms.box_loss}

    def update_metric(self, answer: RawDetections, batch: DetectionBatch) -> None:
        if self.metric is not None:
            self.metric.update(self.detections(answer, batch), batch.image_id_B)

    def predict_step(self, batch: DetectionBatch, batch_idx: int) -> Detections:
        """In pixels of the files."""
        return self.detections(self(batch.images_BCHW), batch)

    def detections(self, raw: RawDetections, batch: DetectionBatch) -> Detections:
        return detections(
            raw,
            self.anchors_A4,
            image_id_B=batch.image_id_B,
            scale_B=batch.scale_B,
            file_size_B2=batch.file_size_B2,
            input_size=self.detector.input.image_size,
            **dataclasses.asdict(self.detector.postprocess),
        )
