"""What a predictor's outputs mean, and how rows of one become rows of another.

K classes, A anchors of a cell, R rows of a predictor: A * K, anchors outermost
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache

import torch
from torch import Tensor, nn

from effdet_lab.classes import COCO_CATEGORIES, COCO_CLASSES, IMAGENET_CLASSES, layout_of
from effdet_lab.weights.parts import head_name

CLASS_ROWS, BOX_ROWS = "class_net.predict.conv_pw", "box_net.predict.conv_pw"
COORDINATES = 4
PREDICTORS = (CLASS_ROWS, "classifier", "fc", "head.fc", "head")  # of detectors, of most classifiers of timm's
COCO_LAYOUTS = {
    COCO_CLASSES: layout_of(COCO_CATEGORIES)[0],
    len(COCO_CATEGORIES): tuple(COCO_CATEGORIES.values()),  # where the ten unused ids were left out
}


def predictor_of(model: nn.Module) -> str | None:
    """The layer whose outputs are the classes."""
    return CLASS_ROWS if f"{CLASS_ROWS}.weight" in model.state_dict() else head_name(model)


def anchors_of(tensors: Mapping[str, Tensor]) -> int:
    """Anchors of a cell; a classifier has one."""
    rows = tensors.get(f"{BOX_ROWS}.weight")
    return len(rows) // COORDINATES if rows is not None else 1


def count_classes(tensors: Mapping[str, Tensor]) -> int:
    """The outputs of the predictor; 0 where there is none."""
    rows = next((tensors[f"{name}.weight"] for name in PREDICTORS if f"{name}.weight" in tensors), None)
    return len(rows) // anchors_of(tensors) if rows is not None else 0


def classes_of(tensors: Mapping[str, Tensor]) -> tuple[str, ...]:
    """The classes that so many outputs have wherever they are published; empty for other numbers."""
    count = count_classes(tensors)
    if f"{CLASS_ROWS}.weight" in tensors:
        return COCO_LAYOUTS.get(count, ())
    return _imagenet() if count == IMAGENET_CLASSES else ()


def by_name(wanted: Sequence[str], known: Sequence[str]) -> dict[int, int]:
    """For each wanted class that the source knows, its number there.

    Names are compared without case, underscores and punctuation; an ImageNet class answers to its synset too.

    >>> by_name(["Teddy_Bear", "gnu"], ["cat", "teddy bear"])
    {0: 1}
    """
    numbers: dict[str, int] = {}
    for number, name in enumerate(known):
        for alias in name.split(","):
            numbers.setdefault(_plain(alias), number)
    return {label: numbers[_plain(name)] for label, name in enumerate(wanted) if _plain(name) in numbers}


@torch.no_grad()
def copy_rows(target_RX: Tensor, source_RX: Tensor, pairs: Mapping[int, int], anchors: int) -> None:
    """Each wanted class's rows, of every anchor, from the source's."""
    wanted, known = list(pairs), list(pairs.values())
    target_AKX = target_RX.view(anchors, -1, *target_RX.shape[1:])
    target_AKX[:, wanted] = source_RX.view(anchors, -1, *source_RX.shape[1:])[:, known].to(target_RX.dtype)


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", " ", name).strip().lower()


@cache
def _imagenet() -> tuple[str, ...]:
    from timm.data import ImageNetInfo  # timm takes seconds

    info = ImageNetInfo("imagenet-1k")
    names = [
        f"{info.index_to_description(index)}, {info.index_to_label_name(index)}" for index in range(IMAGENET_CLASSES)
    ]
    return tuple(names)
