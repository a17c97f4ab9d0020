"""How much of a difference hangs on the pictures: runs are judged again on pictures drawn with replacement.

All runs are judged on the same drawn pictures, so that what is hard for everybody cancels out (a paired bootstrap).
It knows nothing of other seeds: only training again tells what those would change.

Source: Efron & Tibshirani, An Introduction to the Bootstrap (1993), section 13.3, the percentile interval.

S resamples, I pictures, R runs, D detections, N boxes of the ground truth, P pairs of a detection and a box it could
take, T IoU thresholds, K classes, H hits of a class, X detections of a class on crowds
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from effdet_lab.metrics.curves import MOST_DETECTIONS, RECALLS_R
from effdet_lab.metrics.ground_truth import DetectionArrays, GroundTruth, xywh

RESAMPLES = 1000
CONFIDENCE = 0.95
IOUS_T = np.linspace(0.5, 0.95, 10)
BLOCK = 1 << 20  # numbers in one step's arrays: 8 MB


class Interval(NamedTuple):
    """Where a difference lies with 95 % confidence."""

    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether it leaves no doubt which is better."""
        return self.low > 0 or self.high < 0


class MeanPrecisions(NamedTuple):
    """COCO's mean average precision of each run on each resample; NaN where a resample holds nothing to find."""

    map_SR: NDArray[np.float64]  # over IoU 0.50 to 0.95
    map_50_SR: NDArray[np.float64]


def resamples(num_pictures: int, count: int = RESAMPLES, seed: int = 0) -> NDArray[np.uint16]:
    """How often each picture is drawn in each resample, as many draws as pictures. Shapes: (S, I)."""
    rng = np.random.default_rng(seed)
    times_SI = np.empty((count, num_pictures), dtype=np.uint16)
    for times_I in times_SI:
        times_I[:] = np.bincount(rng.integers(0, num_pictures, num_pictures), minlength=num_pictures)
    return times_SI


def interval(differences_S: NDArray[np.float64], confidence: float = CONFIDENCE) -> Interval:
    """The middle of the resamples' differences; resamples that could not be measured are left out."""
    measured_S = differences_S[np.isfinite(differences_S)]
    if not len(measured_S):
        return Interval(float("nan"), float("nan"))
    tail = 50 * (1 - confidence)
    low, high = np.percentile(measured_S, [tail, 100 - tail])
    return Interval(float(low), float(high))


def resampled_accuracy(right_IR: NDArray[np.bool_], times_SI: NDArray[np.integer]) -> NDArray[np.float64]:
    """The share of right pictures of each run on each resample. Shapes: (S, R)."""
    parts = [
        times_SI[rows].astype(np.float64) @ right_IR / times_SI[rows].sum(axis=1, dtype=np.float64, keepdims=True)
        for rows in _blocks(*times_SI.shape)
    ]
    return np.concatenate(parts)


def resampled_precision(
    truth: GroundTruth, founds: Sequence[DetectionArrays], times_SI: NDArray[np.integer]
) -> MeanPrecisions:
    """COCO's mean average precision of each run's detections on each resample of `truth.image_ids_I`.

    A picture drawn twice counts as two pictures with the same boxes and detections; a class without a box in a
    resample is left out of its mean. All sizes of boxes, a hundred detections of a class in a picture.
    Source: cocodataset/cocoapi, cocoeval.py, accumulate.
    """
    precisions_RSTK = np.stack([_average_precisions(truth, judged(truth, found), times_SI) for found in founds])
    return MeanPrecisions(_mean(precisions_RSTK).T, _mean(precisions_RSTK[:, :, :1]).T)


@dataclass(frozen=True, eq=False)
class Judged:
    """A run's detections in COCO's order, class by class and best first, each with what it is at every IoU."""

    labels_D: NDArray[np.int64]
    pictures_D: NDArray[np.int64]  # places in `image_ids_I`
    hits_TD: NDArray[np.bool_]
    ignored_TD: NDArray[np.bool_]  # on a crowd: neither right nor wrong


def judged(truth: GroundTruth, found: DetectionArrays) -> Judged:
    """Each detection, best first, takes the free box of its class that it overlaps most.

    Detections that take turns in different pictures or classes do not meet, so all of one turn are judged at once.
    Source: cocodataset/cocoapi, cocoeval.py, evaluateImg.
    """
    pictures_D = _places(truth.image_ids_I, found.image_ids_D)
    num_pictures = len(truth.image_ids_I)
    groups_D = found.labels_D * num_pictures + pictures_D
    order_D = np.lexsort((-found.scores_D, groups_D))
    turns_D = np.arange(len(order_D)) - np.searchsorted(groups_D[order_D], groups_D[order_D])
    order_D, turns_D = order_D[turns_D < MOST_DETECTIONS], turns_D[turns_D < MOST_DETECTIONS]

    groups_N = truth.labels_N * num_pictures + _places(truth.image_ids_I, truth.box_image_ids_N)
    boxes_N = np.argsort(groups_N, kind="stable")
    first_D, end_D = (np.searchsorted(groups_N[boxes_N], groups_D[order_D], side) for side in ("left", "right"))
    detections_P = np.repeat(np.arange(len(order_D)), end_D - first_D)
    boxes_P = boxes_N[_ranges(first_D, end_D)]
    crowd_P = truth.crowd_N[boxes_P]
    overlaps_P = _overlaps(xywh(found.boxes_D4)[order_D][detections_P], xywh(truth.boxes_N4)[boxes_P], crowd_P)

    near_P = (overlaps_P >= IOUS_T[0]) & ~crowd_P
    hits_TD = _hits(detections_P[near_P], boxes_P[near_P], overlaps_P[near_P], turns_D, len(boxes_N))
    ignored_TD = np.zeros_like(hits_TD)
    for threshold, ignored_D in zip(IOUS_T, ignored_TD, strict=True):
        ignored_D[detections_P[crowd_P & (overlaps_P >= threshold)]] = True
    ignored_TD &= ~hits_TD

    # COCO's order among equal scores: pictures by their ids.
    ranks_D = np.lexsort((found.image_ids_D[order_D], -found.scores_D[order_D], found.labels_D[order_D]))
    order_D = order_D[ranks_D]
    return Judged(found.labels_D[order_D], pictures_D[order_D], hits_TD[:, ranks_D], ignored_TD[:, ranks_D])


def _hits(
    detections_P: NDArray[np.int64],
    boxes_P: NDArray[np.int64],
    overlaps_P: NDArray[np.float64],
    turns_D: NDArray[np.int64],
    num_boxes: int,
) -> NDArray[np.bool_]:
    """Which detections take a box, at each IoU. Pairs come by detection, and in the order of its boxes."""
    hits_TD = np.zeros((len(IOUS_T), len(turns_D)), dtype=np.bool_)
    free_TN = np.ones((len(IOUS_T), num_boxes), dtype=np.bool_)
    by_turn_P = np.argsort(turns_D[detections_P], kind="stable")
    _, starts = np.unique(turns_D[detections_P[by_turn_P]], return_index=True)
    for pairs in np.split(by_turn_P, starts[1:]) if len(starts) else ():
        detections, first, counts = np.unique(detections_P[pairs], return_index=True, return_counts=True)
        may_TP = free_TN[:, boxes_P[pairs]] & (overlaps_P[pairs] >= IOUS_T[:, None])
        wanted_TP = np.where(may_TP, overlaps_P[pairs], -1.0)
        best_TP = np.repeat(np.maximum.reduceat(wanted_TP, first, axis=1), counts, axis=1)
        # Of equal overlaps the last, as in COCO.
        last_TD = np.maximum.reduceat(
            np.where(may_TP & (wanted_TP == best_TP), np.arange(len(pairs)), -1), first, axis=1
        )
        thresholds, takers = np.nonzero(last_TD >= 0)
        hits_TD[thresholds, detections[takers]] = True
        free_TN[thresholds, boxes_P[pairs[last_TD[thresholds, takers]]]] = False
    return hits_TD


def _average_precisions(truth: GroundTruth, run: Judged, times_SI: NDArray[np.integer]) -> NDArray[np.float64]:
    """Of each resample, IoU and class; NaN for classes without boxes to find. Shapes: (S, T, K)."""
    num_resamples, num_classes = len(times_SI), len(truth.class_names)
    real_N = ~truth.crowd_N
    boxes_IK = np.zeros((len(truth.image_ids_I), num_classes))
    np.add.at(boxes_IK, (_places(truth.image_ids_I, truth.box_image_ids_N[real_N]), truth.labels_N[real_N]), 1.0)
    to_find_SK = np.concatenate([times_SI[rows] @ boxes_IK for rows in _blocks(*times_SI.shape)])
    precisions_STK = np.full((num_resamples, len(IOUS_T), num_classes), np.nan)
    bounds = np.searchsorted(run.labels_D, np.arange(num_classes + 1))
    for label in range(num_classes):
        mine = slice(bounds[label], bounds[label + 1])
        drawn = np.flatnonzero(to_find_SK[:, label])
        for rows in (drawn[block] for block in _blocks(len(drawn), mine.stop - mine.start)):
            precisions_STK[rows, :, label] = _of_one_class(
                times_SI[np.ix_(rows, run.pictures_D[mine])].astype(np.float64),
                run.hits_TD[:, mine],
                run.ignored_TD[:, mine],
                to_find_SK[rows, label],
            )
    return precisions_STK


def _of_one_class(
    times_SD: NDArray[np.float64],
    hits_TD: NDArray[np.bool_],
    ignored_TD: NDArray[np.bool_],
    to_find_S: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Average precision of each resample and IoU; only at a hit can the best precision from there on change."""
    precisions_ST = np.empty((len(times_SD), len(hits_TD)))
    ranks_SD = np.cumsum(times_SD, axis=1)
    for threshold, (hits_D, ignored_D) in enumerate(zip(hits_TD, ignored_TD, strict=True)):
        skipped_SX = np.cumsum(np.pad(times_SD[:, ignored_D], ((0, 0), (1, 0))), axis=1)
        counted_SH = ranks_SD[:, hits_D] - skipped_SX[:, np.cumsum(ignored_D)[hits_D]]
        right_SH = np.cumsum(times_SD[:, hits_D], axis=1)
        precision_SH = np.divide(right_SH, counted_SH, out=np.zeros_like(right_SH), where=counted_SH > 0)
        best_onwards_SH = np.maximum.accumulate(precision_SH[:, ::-1], axis=1)[:, ::-1]
        reached_SH = np.searchsorted(RECALLS_R, right_SH / to_find_S[:, None], side="right")
        steps_SH = np.diff(reached_SH, axis=1, prepend=0)  # recalls that this hit is the first to reach
        precisions_ST[:, threshold] = (best_onwards_SH * steps_SH).sum(axis=1) / len(RECALLS_R)
    return precisions_ST


def _mean(precisions_RSTK: NDArray[np.float64]) -> NDArray[np.float64]:
    """Over the IoUs and the classes that could be measured. Shapes: (R, S)."""
    counts_RS = np.isfinite(precisions_RSTK).sum(axis=(2, 3))
    return np.divide(
        np.nansum(precisions_RSTK, axis=(2, 3)), counts_RS, out=np.full(counts_RS.shape, np.nan), where=counts_RS > 0
    )


def _overlaps(
    found_P4: NDArray[np.float64], boxes_P4: NDArray[np.float64], crowd_P: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """IoU of each pair; on a crowd the share of the detection that lies in it. Boxes are x, y, width, height.

    Source: cocodataset/cocoapi, maskApi.c, bbIou; in its order, for the last bit decides at a threshold.
    """
    ends_P2 = np.minimum(found_P4[:, 2:] + found_P4[:, :2], boxes_P4[:, 2:] + boxes_P4[:, :2])
    sides_P2 = np.maximum(ends_P2 - np.maximum(found_P4[:, :2], boxes_P4[:, :2]), 0.0)
    shared_P = sides_P2[:, 0] * sides_P2[:, 1]
    area_P = found_P4[:, 2] * found_P4[:, 3]
    whole_P = np.where(crowd_P, area_P, area_P + boxes_P4[:, 2] * boxes_P4[:, 3] - shared_P)
    return np.divide(shared_P, whole_P, out=np.zeros_like(shared_P), where=shared_P > 0)


def _places(image_ids_I: NDArray[np.int64], image_ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each id stands among the pictures."""
    order_I = np.argsort(image_ids_I)
    return order_I[np.searchsorted(image_ids_I, image_ids, sorter=order_I)]


def _ranges(first: NDArray[np.int64], end: NDArray[np.int64]) -> NDArray[np.int64]:
    """All whole numbers from each `first` up to its `end`, one range after another."""
    counts = end - first
    return np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts - first, counts)


def _blocks(num_rows: int, width: int) -> Iterator[slice]:
    """Rows in steps that fit into memory."""
    step = max(1, BLOCK // max(width, 1))
    return (slice(start, start + step) for start in range(0, num_rows, step))
