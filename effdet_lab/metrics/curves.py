"""Where a model errs: precision against recall, which class is taken for which, and how wrong each picture is.

I pictures, N boxes of the ground truth, D detections, K classes, R recalls, C best classes kept.
Boxes are x1 y1 x2 y2 in pixels of the picture's file. A detection on a crowd of its class is neither right nor wrong.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from effdet_lab.metrics.ground_truth import DetectionArrays, GroundTruth
from effdet_lab.metrics.topk import BestClasses

MIN_IOU = 0.5
MIN_SCORE = 0.3  # a detection that scores less is not believed
MOST_DETECTIONS = 100  # of a class in a picture, as COCO has it
RECALLS_R = np.linspace(0.0, 1.0, 101)
MISSED, IN_CROWD = -1, -2


class PrecisionRecall(NamedTuple):
    """The best precision that is still had at each recall."""

    recalls_R: NDArray[np.float64]
    precisions_KR: NDArray[np.float64]  # NaN for classes without boxes to find


def precision_recall(truth: GroundTruth, found: DetectionArrays, min_iou: float = MIN_IOU) -> PrecisionRecall:
    """Each class's curve; its mean is COCO's average precision at this IoU.

    Source: cocodataset/cocoapi, cocoeval.py, accumulate.
    """
    matches_D, counted_D = _matches(truth, found, min_iou)
    num_classes = len(truth.class_names)
    to_find_K = np.bincount(truth.labels_N[~truth.crowd_N], minlength=num_classes)
    # COCO's order among equal scores: pictures by their ids.
    order_D = np.lexsort((np.arange(len(matches_D)), found.image_ids_D, -found.scores_D))
    order_D = order_D[counted_D[order_D] & (matches_D[order_D] != IN_CROWD)]
    precisions_KR = np.full((num_classes, len(RECALLS_R)), np.nan)
    for label in np.flatnonzero(to_find_K):
        hits_D = np.cumsum(matches_D[order_D[found.labels_D[order_D] == label]] >= 0)
        precision_D = hits_D / np.arange(1, len(hits_D) + 1)
        best_onwards_D = np.maximum.accumulate(precision_D[::-1])[::-1]
        reached_R = np.searchsorted(hits_D / to_find_K[label], RECALLS_R, side="left")
        precisions_KR[label] = np.append(best_onwards_D, 0.0)[reached_R]
    return PrecisionRecall(RECALLS_R, precisions_KR)


def confusion(
    truth: GroundTruth, found: DetectionArrays, min_iou: float = MIN_IOU, min_score: float = MIN_SCORE
) -> NDArray[np.int64]:
    """Boxes of the row's class that were taken for the column's; the last of both is the background.

    A box goes to a detection of its own class where there is one, so the diagonal counts the hits.
    Shapes: (K + 1, K + 1).
    """
    believed = _believed(found, min_score)
    matches_D, counted_D = _matches(truth, believed, min_iou)
    left_D = counted_D & (matches_D == MISSED)
    taken_N = truth.crowd_N.copy()
    taken_N[matches_D[matches_D >= 0]] = True
    matches_D[left_D] = _matches_across_classes(truth, ~taken_N, believed, left_D, min_iou)

    background = len(truth.class_names)
    kept_D = counted_D & (matches_D != IN_CROWD)
    matches_D, labels_D = matches_D[kept_D], believed.labels_D[kept_D]
    rows_D = np.full(len(matches_D), background)
    rows_D[matches_D >= 0] = truth.labels_N[matches_D[matches_D >= 0]]
    matrix = np.zeros((background + 1, background + 1), dtype=np.int64)
    np.add.at(matrix, (rows_D, labels_D), 1)
    unseen_N = ~truth.crowd_N
    unseen_N[matches_D[matches_D >= 0]] = False
    np.add.at(matrix, (truth.labels_N[unseen_N], background), 1)
    return matrix


def confusion_of_classes(best: BestClasses, num_classes: int) -> NDArray[np.int64]:
    """Pictures of the row's class that were taken for the column's; those without a label are left out."""
    labelled_I = best.labels_I >= 0
    matrix = np.zeros((num_classes, num_classes), dtype=np.int64)
    np.add.at(matrix, (best.labels_I[labelled_I], best.classes_IC[labelled_I, 0]), 1)
    return matrix


def picture_errors(
    truth: GroundTruth, found: DetectionArrays, min_iou: float = MIN_IOU, min_score: float = MIN_SCORE
) -> NDArray[np.float64]:
    """How wrong each picture of `truth.image_ids_I` is: 1 - F1; nothing to find and nothing found is 0."""
    believed = _believed(found, min_score)
    matches_D, counted_D = _matches(truth, believed, min_iou)
    kept_D = counted_D & (matches_D != IN_CROWD)
    found_I = _count_by_picture(truth, believed.image_ids_D[kept_D])
    hits_I = _count_by_picture(truth, believed.image_ids_D[kept_D & (matches_D >= 0)])
    to_find_I = _count_by_picture(truth, truth.box_image_ids_N[~truth.crowd_N])
    return 1 - np.divide(2 * hits_I, found_I + to_find_I, out=np.ones(len(hits_I)), where=found_I + to_find_I > 0)


def class_errors(best: BestClasses) -> NDArray[np.float64]:
    """The probability that each picture's true class lost: 1 where it is not among those kept, NaN where unknown."""
    right_IC = best.classes_IC == best.labels_I[:, None]
    errors_I = 1 - (best.probabilities_IC * right_IC).sum(axis=1, dtype=np.float64)
    return np.where(best.labels_I >= 0, errors_I, np.nan)


def _believed(found: DetectionArrays, min_score: float) -> DetectionArrays:
    return DetectionArrays(*(column[found.scores_D >= min_score] for column in found))


def _count_by_picture(truth: GroundTruth, image_ids: NDArray[np.int64]) -> NDArray[np.int64]:
    order_I = np.argsort(truth.image_ids_I)
    places = order_I[np.searchsorted(truth.image_ids_I, image_ids, sorter=order_I)]
    return np.bincount(places, minlength=len(truth.image_ids_I))


def _matches(truth: GroundTruth, found: DetectionArrays, min_iou: float) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Each detection's box of its own class, MISSED or IN_CROWD; and whether it is among those that COCO counts."""
    matches_D = np.full(len(found.scores_D), MISSED)
    counted_D = np.zeros(len(found.scores_D), dtype=np.bool_)
    by_score_D = np.argsort(-found.scores_D, kind="stable")
    boxes_of = dict(_groups(truth.box_image_ids_N, truth.labels_N))
    for key, ranked in _groups(found.image_ids_D[by_score_D], found.labels_D[by_score_D]):
        mine = by_score_D[ranked][:MOST_DETECTIONS]
        counted_D[mine] = True
        boxes = boxes_of.get(key)
        if boxes is not None:
            matches_D[mine] = _matches_of_one(truth, boxes, found.boxes_D4[mine], min_iou)
    return matches_D, counted_D


def _matches_of_one(
    truth: GroundTruth, boxes: NDArray[np.int64], found_D4: NDArray[np.float64], min_iou: float
) -> NDArray[np.int64]:
    """One picture's detections of one class, best first: each takes the free box it overlaps most, else a crowd."""
    crowd_N = truth.crowd_N[boxes]
    overlaps_DN = _overlaps(found_D4, truth.boxes_N4[boxes], crowd_N)
    enough_DN = overlaps_DN >= min_iou
    matches_D = np.where((enough_DN & crowd_N).any(axis=1), IN_CROWD, MISSED)
    free_N = ~crowd_N
    for detection in np.flatnonzero((enough_DN & free_N).any(axis=1)):
        candidates = np.flatnonzero(enough_DN[detection] & free_N)
        if len(candidates):
            # Of equal overlaps the last, as in COCO.
            best = candidates[len(candidates) - 1 - np.argmax(overlaps_DN[detection, candidates][::-1])]
            free_N[best] = False
            matches_D[detection] = boxes[best]
    return matches_D


def _matches_across_classes(
    truth: GroundTruth, free_N: NDArray[np.bool_], found: DetectionArrays, left_D: NDArray[np.bool_], min_iou: float
) -> NDArray[np.int64]:
    """What detections without a box of their own class lie on: pairs of a picture, those that overlap most first."""
    left, free = np.flatnonzero(left_D), np.flatnonzero(free_N)
    matches_D = np.full(len(found.scores_D), MISSED)
    boxes_of = dict(_groups(truth.box_image_ids_N[free]))
    for key, ranked in _groups(found.image_ids_D[left]):
        if key not in boxes_of:
            continue
        mine, boxes = left[ranked], free[boxes_of[key]]
        overlaps_DN = _overlaps(found.boxes_D4[mine], truth.boxes_N4[boxes], np.zeros(len(boxes), dtype=np.bool_))
        while overlaps_DN.max() >= min_iou:
            detection, box = np.unravel_index(overlaps_DN.argmax(), overlaps_DN.shape)
            matches_D[mine[detection]] = boxes[box]
            overlaps_DN[detection], overlaps_DN[:, box] = -1, -1
    return matches_D[left]


def _groups(*keys: NDArray[np.int64]) -> Iterator[tuple[tuple[int, ...], NDArray[np.int64]]]:
    """The rows that share their keys, in their order."""
    if not len(keys[0]):
        return
    order = np.lexsort(keys[::-1])
    changed = np.any([np.diff(key[order]) != 0 for key in keys], axis=0)
    for rows in np.split(order, np.flatnonzero(changed) + 1):
        yield tuple(int(key[rows[0]]) for key in keys), rows


def _overlaps(
    found_D4: NDArray[np.float64], boxes_N4: NDArray[np.float64], crowd_N: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """IoU; on a crowd the share of the detection that lies in it."""
    top_left_DN2 = np.maximum(found_D4[:, None, :2], boxes_N4[None, :, :2])
    bottom_right_DN2 = np.minimum(found_D4[:, None, 2:], boxes_N4[None, :, 2:])
    shared_DN = np.prod(np.clip(bottom_right_DN2 - top_left_DN2, 0, None), axis=-1)
    area_D = np.prod(found_D4[:, 2:] - found_D4[:, :2], axis=-1)[:, None]
    area_N = np.prod(boxes_N4[:, 2:] - boxes_N4[:, :2], axis=-1)
    whole_DN = np.where(crowd_N, area_D, area_D + area_N - shared_DN)
    return np.divide(shared_DN, whole_DN, out=np.zeros_like(shared_DN), where=whole_DN > 0)
