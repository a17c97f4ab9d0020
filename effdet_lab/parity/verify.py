"""Whether a network of ours computes what its reference computes."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from effdet_lab.detection.anchors import anchors_A4
from effdet_lab.detection.postprocess import detections
from effdet_lab.parity.compare import Agreement, Difference, agreement, as_raw, compare, difference
from effdet_lab.parity.references import Reference
from effdet_lab.records import Detections, RawDetections
from effdet_lab.spec import DetectorSpec, ExperimentSpec

# effdet's own numbers, which it does not take from its settings.
EFFDET_POSTPROCESS: dict[str, Any] = {"iou_threshold": 0.5, "soft_sigma": 0.5, "score_threshold": 0.001}


class Parity(NamedTuple):
    """Stage by stage, at the output, and of what a user sees."""

    reference: str
    stages: tuple[Difference, ...]
    outputs: tuple[Difference, ...]
    detections: Agreement | None  # of a detector

    @property
    def agrees(self) -> bool:
        """The stages explain; the outputs decide."""
        return all(output.agrees for output in self.outputs) and (self.detections is None or self.detections.agrees)


def verify(spec: ExperimentSpec, model: nn.Module, reference: Reference, images_BCHW: Tensor) -> Parity:
    """Both networks on the same normalised pictures, on the processor and in float32."""
    stages = {stage.title: (stage.ours, stage.theirs) for stage in reference.stages}
    differences, ours, theirs = compare(model.eval(), reference.model, stages, images_BCHW)
    if isinstance(ours, Tensor):
        assert isinstance(theirs, Tensor)
        outputs = (difference("logits", ours, theirs),)
        return Parity(reference.name, tuple(differences), outputs, None)
    assert isinstance(ours, RawDetections)
    assert isinstance(spec.model, DetectorSpec)
    raw = as_raw(*theirs, num_classes=spec.data.num_classes)
    outputs = (
        difference("class logits", ours.class_logits_BAK, raw.class_logits_BAK),
        difference("box deltas", ours.box_deltas_BA4, raw.box_deltas_BA4),
    )
    same = agreement(_ours(spec.model, ours), _effdets(reference, images_BCHW))
    return Parity(reference.name, tuple(differences), outputs, same)


def _ours(detector: DetectorSpec, raw: RawDetections) -> Detections:
    bifpn, head, size = detector.bifpn, detector.head, detector.input.image_size
    count = len(raw.class_logits_BAK)
    return detections(
        raw,
        anchors_A4(
            size,
            bifpn.min_level,
            bifpn.max_level,
            anchor_scale=head.anchor_scale,
            octaves=head.octaves,
            aspect_ratios=head.aspect_ratios,
        ),
        image_id_B=torch.arange(count),
        scale_B=torch.ones(count),
        file_size_B2=torch.tensor(size).expand(count, 2),
        input_size=size,
        nms=detector.postprocess.nms,
        **EFFDET_POSTPROCESS,
    )


def _effdets(reference: Reference, images_BCHW: Tensor) -> Detections:
    """effdet's whole way from pictures to boxes."""
    import effdet

    count, _, height, width = images_BCHW.shape
    about = {"img_scale": torch.ones(count), "img_size": torch.tensor([[width, height]] * count).float()}
    with torch.no_grad():
        found_BD6 = effdet.DetBenchPredict(reference.model).eval()(images_BCHW, about)
    kept_BD = found_BD6[..., 4] > EFFDET_POSTPROCESS["score_threshold"]
    picture_D, rank_D = kept_BD.nonzero(as_tuple=True)
    found_D6 = found_BD6[picture_D, rank_D]
    return Detections(picture_D, found_D6[:, :4], found_D6[:, 4], found_D6[:, 5].long() - 1)
