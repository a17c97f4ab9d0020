"""A training step on pictures that nobody took, without Lightning, whose import takes longer than such a step.

B batch, M boxes padded to the batch's largest, A anchors, K classes
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from effdet_lab.detection.anchors import anchors_A4
from effdet_lab.detection.losses import detection_loss
from effdet_lab.detection.targets import assign
from effdet_lab.records import ClassificationBatch, DetectionBatch
from effdet_lab.spec import DetectorSpec, ExperimentSpec, Size
from effdet_lab.tasks.optim import freeze, frozen_norms

BOXES = 8  # a picture; COCO's training pictures have 7.3 on the average
PIXEL_MAX = 255.0


def random_batch(spec: ExperimentSpec, pictures: int, image_size: Size) -> DetectionBatch | ClassificationBatch:
    """Noise with labels, and for detectors boxes, on torch's default device."""
    height, width = image_size
    images_BCHW = torch.randint(0, 256, (pictures, 3, height, width), dtype=torch.uint8)
    image_id_B = torch.arange(pictures)
    if not isinstance(spec.model, DetectorSpec):
        return ClassificationBatch(images_BCHW, torch.randint(0, spec.data.num_classes, (pictures,)), image_id_B)
    extent_4 = torch.tensor([width, height, width, height])
    corner_BM2 = torch.rand(pictures, BOXES, 2) * 0.75
    boxes_BM4 = torch.cat([corner_BM2, corner_BM2 + 0.05 + 0.2 * torch.rand(pictures, BOXES, 2)], dim=2) * extent_4
    labels_BM = torch.randint(0, spec.data.num_classes, (pictures, BOXES))
    file_size_B2 = extent_4[:2].flip(0).expand(pictures, 2)
    return DetectionBatch(images_BCHW, boxes_BM4, labels_BM, image_id_B, torch.ones(pictures), file_size_B2)


def prepared(spec: ExperimentSpec, model: nn.Module) -> nn.Module:
    """The model in training, as a task has it: frozen where the experiment freezes, in the layout it asks for."""
    freeze(model, spec.optim.freeze)
    model = model.to(memory_format=layout_of(spec)).train()
    for norm in frozen_norms(model):
        norm.eval()
    return model


def normalised(spec: ExperimentSpec, images_BCHW: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """What the network reads, as a task makes it from uint8 pixels."""
    layout = layout_of(spec)
    std_C11 = images_BCHW.new_tensor(spec.model.input.std, dtype=dtype).view(-1, 1, 1)
    mean_C11 = images_BCHW.new_tensor(spec.model.input.mean, dtype=dtype).view(-1, 1, 1)
    return torch.addcmul(-mean_C11 / std_C11, images_BCHW.to(dtype, memory_format=layout), 1 / (PIXEL_MAX * std_C11))


def layout_of(spec: ExperimentSpec) -> torch.memory_format:
    """How pictures and weights lie in memory."""
    return torch.channels_last if spec.trainer.channels_last else torch.contiguous_format


def loss_of(spec: ExperimentSpec, answer: Any, batch: Any, blocks: AbstractContextManager | None = None) -> Tensor:
    """What a task minimises; `blocks` is open while losses are worked out block by block."""
    model = spec.model
    if not isinstance(model, DetectorSpec):
        return F.cross_entropy(answer.float(), batch.labels_B, label_smoothing=model.label_smoothing)
    with blocks or nullcontext():
        targets = assign(anchors_of(model, batch.images_BCHW), batch.boxes_BM4, batch.labels_BM)
        terms = detection_loss(
            answer,
            targets,
            alpha=model.loss.alpha,
            gamma=model.loss.gamma,
            label_smoothing=model.loss.label_smoothing,
            delta=model.loss.huber_delta,
        )
        del targets
        return terms.class_loss + model.loss.box_weight * terms.box_loss


def anchors_of(model: DetectorSpec, images_BCHW: Tensor) -> Tensor:
    """The anchors of pictures of this size, on their device."""
    height, width = images_BCHW.shape[2:]
    with images_BCHW.device:
        return anchors_A4(
            (height, width),
            model.bifpn.min_level,
            model.bifpn.max_level,
            anchor_scale=model.head.anchor_scale,
            octaves=model.head.octaves,
            aspect_ratios=model.head.aspect_ratios,
        )


def given_tensors(model: nn.Module, batch: Any) -> list[Tensor]:
    """All that is there before a step begins."""
    return [*batch, *model.parameters(), *model.buffers()]
