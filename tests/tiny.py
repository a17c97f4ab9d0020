"""Experiments that take seconds: the smallest networks, and bright squares on noise to find."""

import dataclasses
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

import effdet_lab
from effdet_lab.metrics.ground_truth import GroundTruth
from effdet_lab.records import ClassificationBatch, DetectionBatch
from effdet_lab.spec import ExperimentSpec

SIDE = 64
COLOURS = torch.tensor([[250, 40, 40], [40, 250, 40], [40, 40, 250]], dtype=torch.uint8)


def tiny_detector(*overrides: str) -> ExperimentSpec:
    """A detector of 64 pixels and ten classes; neither average nor warm-up unless asked for."""
    return _tiny("model=efficientdet", "phi=-4", "data=digit_scenes", *overrides)


def tiny_classifier(*overrides: str) -> ExperimentSpec:
    """A classifier of 96 pixels and ten classes."""
    return _tiny("model=efficientnet", "phi=-6", "data=digits", *overrides)


def _tiny(*overrides: str) -> ExperimentSpec:
    return effdet_lab.compose("logger=csv", "optim.ema_decay=0", "optim.warmup_epochs=0", *overrides)


def changed(spec: ExperimentSpec, part: str, **settings: Any) -> ExperimentSpec:
    """The same experiment with other settings of one of its parts."""
    return dataclasses.replace(spec, **{part: dataclasses.replace(getattr(spec, part), **settings)})


def scenes(count: int, first_id: int = 1) -> DetectionBatch:
    """Two squares a picture, of three classes; the pictures lie enlarged twofold in the input."""
    generator = torch.Generator().manual_seed(first_id)
    images_BCHW = torch.randint(0, 60, (count, 3, SIDE, SIDE), dtype=torch.uint8, generator=generator)
    boxes_BM4, labels_BM = torch.zeros(count, 3, 4), torch.full((count, 3), -1)
    for picture in range(count):
        for square in range(2):
            side, y, offset = torch.randint(0, 8, (3,), generator=generator).tolist()
            side, x, y = 18 + side, 2 + 32 * square + offset // 2, 4 + 4 * y
            label = (picture + square) % len(COLOURS)
            images_BCHW[picture, :, y : y + side, x : x + side] = COLOURS[label].view(3, 1, 1)
            boxes_BM4[picture, square] = torch.tensor([x, y, x + side, y + side]).float()
            labels_BM[picture, square] = label
    return DetectionBatch(
        images_BCHW,
        boxes_BM4,
        labels_BM,
        image_id_B=torch.arange(first_id, first_id + count),
        scale_B=torch.full((count,), 2.0),
        file_size_B2=torch.full((count, 2), SIDE // 2),
    )


def truth_of(batch: DetectionBatch, num_classes: int = 10) -> GroundTruth:
    """What an evaluator should find, in pixels of the files."""
    real_BM = batch.labels_BM >= 0
    boxes_N4 = (batch.boxes_BM4 / batch.scale_B.view(-1, 1, 1))[real_BM].double().numpy()
    return GroundTruth(
        image_ids_I=batch.image_id_B.numpy(),
        box_image_ids_N=batch.image_id_B.unsqueeze(1).expand_as(real_BM)[real_BM].numpy(),
        boxes_N4=boxes_N4,
        labels_N=batch.labels_BM[real_BM].numpy(),
        crowd_N=np.zeros(len(boxes_N4), dtype=bool),
        areas_N=(boxes_N4[:, 2] - boxes_N4[:, 0]) * (boxes_N4[:, 3] - boxes_N4[:, 1]),
        class_names=tuple(map(str, range(num_classes))),
        category_ids=tuple(range(1, num_classes + 1)),
    )


def swatches(count: int) -> ClassificationBatch:
    """One colour a picture."""
    labels_B = torch.arange(count) % len(COLOURS)
    images_BCHW = COLOURS[labels_B].view(count, 3, 1, 1).expand(-1, -1, 32, 32).contiguous()
    return ClassificationBatch(images_BCHW, labels_B, torch.arange(count))


def loader(*batches) -> DataLoader:
    """The batches as they are."""
    return DataLoader(list(batches), batch_size=None)
