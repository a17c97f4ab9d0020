"""Two networks on the same pictures, watched stage by stage.

B batch, C channels, H W feature size, D detections
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from effdet_lab.detection.boxes import iou_NM
from effdet_lab.records import Detections, RawDetections

# Float32 networks of a hundred layers, summed in another order, part by a few 1e-7.
TOLERANCE = 1e-5
SAME_BOX, SAME_SCORE = 0.999, 1e-4
SAME_CORNER = 1e-2  # pixels


class Difference(NamedTuple):
    """How far two networks part at a stage."""

    stage: str
    shape: tuple[int, ...]
    largest: float
    relative: float  # of the reference's largest value

    @property
    def agrees(self) -> bool:
        return self.relative <= TOLERANCE


class Agreement(NamedTuple):
    """How two lists of detections compare; each detection is paired with the other side's best of its class."""

    ours: int
    theirs: int
    lowest_iou: float
    largest_score_difference: float

    @property
    def agrees(self) -> bool:
        return self.ours == self.theirs and self.lowest_iou >= SAME_BOX and self.largest_score_difference <= SAME_SCORE


def difference(stage: str, ours: Tensor, theirs: Tensor) -> Difference:
    """The largest absolute difference, and what share of the reference's largest value it is."""
    largest = (ours - theirs).abs().max().item()
    return Difference(stage, tuple(theirs.shape), largest, largest / max(theirs.abs().max().item(), 1e-12))


@contextmanager
def watched(model: nn.Module, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """What the named modules gave, flattened where they gave several maps, after each call of the model."""
    seen: dict[str, Tensor] = {}

    def keep(name: str):
        def hook(module: nn.Module, inputs: object, output: Tensor | Sequence[Tensor]) -> None:
            # A later layer may work in place.
            seen[name] = output.clone() if isinstance(output, Tensor) else flat(output)

        return hook

    handles = [model.get_submodule(name).register_forward_hook(keep(name)) for name in names]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def flat(maps_BCHW: Sequence[Tensor]) -> Tensor:
    """All maps of each picture in a row."""
    return torch.cat([map_BCHW.flatten(1) for map_BCHW in maps_BCHW], dim=1)


def as_raw(class_maps_BCHW: Sequence[Tensor], box_maps_BCHW: Sequence[Tensor], num_classes: int) -> RawDetections:
    """effdet's maps in our order: level, y, x, anchor."""

    def rows(maps_BCHW: Sequence[Tensor], outputs: int) -> Tensor:
        return torch.cat([m.permute(0, 2, 3, 1).reshape(len(m), -1, outputs) for m in maps_BCHW], dim=1)

    return RawDetections(rows(class_maps_BCHW, num_classes), rows(box_maps_BCHW, 4))


def agreement(ours: Detections, theirs: Detections) -> Agreement:
    """Both of the same pictures."""
    lowest, furthest = 1.0, 0.0
    for mine, other in ((ours, theirs), (theirs, ours)):
        for image in mine.image_id_D.unique().tolist():
            iou, score = _worst(_of(mine, image), _of(other, image))
            lowest, furthest = min(lowest, iou), max(furthest, score)
    return Agreement(len(ours.scores_D), len(theirs.scores_D), lowest, furthest)


def _of(found: Detections, image: int) -> Detections:
    mine_D = found.image_id_D == image
    return Detections(*(column[mine_D] for column in found))


def _worst(mine: Detections, other: Detections) -> tuple[float, float]:
    """The lowest overlap and the largest score difference to the most similar detection of the other side."""
    if not len(mine.scores_D):
        return 1.0, 0.0
    if not len(other.scores_D):
        return 0.0, 1.0
    iou_DD = iou_NM(mine.boxes_D4, other.boxes_D4)
    # A box that lies beyond the picture is clipped to a line, which overlaps nothing, not even itself.
    corners_DD = (mine.boxes_D4.unsqueeze(1) - other.boxes_D4).abs().amax(-1)
    iou_DD[corners_DD <= SAME_CORNER] = 1
    iou_DD[mine.labels_D.unsqueeze(1) != other.labels_D] = 0
    score_DD = (mine.scores_D.unsqueeze(1) - other.scores_D).abs()
    # Of several boxes in the same place the one with the same score is meant.
    best_D1 = (iou_DD - score_DD).argmax(dim=1, keepdim=True)
    return iou_DD.gather(1, best_D1).min().item(), score_DD.gather(1, best_D1).max().item()


def compare(
    ours: nn.Module, theirs: nn.Module, stages: Mapping[str, tuple[str, str]], images_BCHW: Tensor
) -> tuple[list[Difference], Any, Any]:
    """The difference at each stage, and both answers."""
    our_names, their_names = zip(*stages.values(), strict=True)
    with torch.no_grad(), watched(ours, our_names) as mine, watched(theirs, their_names) as other:
        our_answer, their_answer = ours(images_BCHW), theirs(images_BCHW)
    found = [difference(title, mine[our], other[their]) for title, (our, their) in stages.items()]
    return found, our_answer, their_answer
