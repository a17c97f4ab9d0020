"""Where runs disagree, and how sure that is: their predictions beside the truth, on the pictures both were judged on.

S resamples, I pictures, R runs, C best classes kept
"""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from effdet_lab.data.opening import open_split
from effdet_lab.data.splits import ClassificationRecords, DetectionRecords, Records
from effdet_lab.errors import DataError, Refusal
from effdet_lab.metrics.curves import MIN_SCORE, picture_errors
from effdet_lab.metrics.ground_truth import DetectionArrays, GroundTruth, read_results
from effdet_lab.metrics.resampling import Interval, interval, judged, resampled_accuracy, resampled_precision, resamples
from effdet_lab.report.comparison import Dispute, differing_settings, letters, same_pictures
from effdet_lab.report.reading import RunFolder
from effdet_lab.report.wording import decimal
from effdet_lab.run.drawing import draw_boxes, draw_labels
from effdet_lab.run.say import log
from effdet_lab.spec import is_detector

DISPUTES = 12  # pictures shown
SAME = 1e-6  # metrics this close are the same, computed twice


@dataclass
class Findings:
    """What the predictions tell beyond the metrics; empty where they are missing or about other pictures."""

    values: dict[str, NDArray[np.float64]] = field(default_factory=dict)  # resampled metrics (S, R) by name
    disputes: list[Dispute] = field(default_factory=list)
    judged_on: int | None = None
    remarks: list[str] = field(default_factory=list)

    def intervals(self) -> dict[str, list[Interval | None]]:
        """Of each metric's difference to the first run, one for each run after it."""
        return {
            name: [_known(interval(values_SR[:, other] - values_SR[:, 0])) for other in range(1, values_SR.shape[1])]
            for name, values_SR in self.values.items()
        }


def _known(ends: Interval) -> Interval | None:
    return ends if all(map(math.isfinite, ends)) else None


def findings(runs: Sequence[RunFolder], folder: Path) -> Findings:
    """What the predictions of these runs tell; the pictures go to images/ in this folder."""
    if not same_pictures(differing_settings(runs)):
        return Findings(remarks=["The runs were judged on different pictures, so no interval can be told."])
    try:
        records, closed = open_split(runs[0].experiment, "val"), ""
    except (Refusal, OSError) as error:
        records, closed = None, error.problems[0] if isinstance(error, Refusal) else str(error)
    try:
        if is_detector(runs[0].experiment):
            found = _of_detectors(runs, records, folder)
            lost = "intervals and pictures are left out"
        else:
            found = _of_classifiers(runs, records, folder)
            lost = "no pictures are shown"
    except DataError as error:
        return Findings(remarks=[f"Intervals and pictures are left out: {error.problems[0]}"])
    if closed:
        found.remarks.append(f"The validation pictures cannot be opened, so {lost}: {closed}")
    return found


def _of_detectors(runs: Sequence[RunFolder], records: Records | None, folder: Path) -> Findings:
    """Raises: DataError where predictions are missing or about other pictures."""
    if records is None:
        return Findings()
    assert isinstance(records, DetectionRecords)
    truth = GroundTruth.of(records)
    founds = [read_results(run.path / "predictions.json", truth) for run in runs]
    once_SI = np.ones((1, len(records)), dtype=np.uint16)
    _check(runs, "val/map", resampled_precision(truth, founds, once_SI).map_SR[0])
    if len(records) > 1:
        log.info(f"Judging {len(runs)} runs again on pictures drawn from {len(records)}.")
    precisions = resampled_precision(truth, founds, resamples(len(records)))
    errors_IR = np.stack([picture_errors(truth, found) for found in founds], axis=1)
    tallies_RI3 = [_tallies(truth, found) for found in founds]
    return Findings(
        {"val/map": precisions.map_SR, "val/map_50": precisions.map_50_SR},
        [
            _dispute(
                folder,
                rank,
                records.paths[index],
                _panels(records, index, founds, [tallies_I3[index] for tallies_I3 in tallies_RI3]),
            )
            for rank, index in enumerate(_most_different(errors_IR, np.diff(records.starts)), start=1)
        ],
        len(records),
    )


def _most_different(errors_IR: NDArray[np.float64], boxes_I: NDArray[np.int64]) -> list[int]:
    """The pictures whose errors lie furthest apart, each way of disagreeing in turn.

    A way is which run errs least, which errs most, and whether there is anything to find: else a run that sees things
    on empty pictures would be all there is to see.
    """
    spread_I = np.ptp(errors_IR, axis=1)
    ways: dict[tuple[int, int, bool], int] = {}
    turns: list[tuple[int, int]] = []
    for index in np.lexsort((-boxes_I, -spread_I)).tolist():
        if spread_I[index] > 0:
            way = int(errors_IR[index].argmin()), int(errors_IR[index].argmax()), bool(boxes_I[index])
            ways[way] = ways.get(way, 0) + 1
            turns.append((ways[way], index))
    return [index for _, index in sorted(turns, key=lambda turn: turn[0])[:DISPUTES]]


def _tallies(truth: GroundTruth, found: DetectionArrays) -> NDArray[np.int64]:
    """Of each picture, what is to be found, what was, and what is wrong. Shapes: (I, 3)."""
    run = judged(truth, DetectionArrays(*(column[found.scores_D >= MIN_SCORE] for column in found)))
    hits_D = run.hits_TD[0]  # at IoU 0.5
    num_pictures = len(truth.image_ids_I)
    place_of = {number: place for place, number in enumerate(truth.image_ids_I.tolist())}
    pictures_N = np.array(
        [place_of[number] for number in truth.box_image_ids_N[~truth.crowd_N].tolist()], dtype=np.int64
    )
    wrong_D = ~hits_D & ~run.ignored_TD[0]
    columns = (pictures_N, run.pictures_D[hits_D], run.pictures_D[wrong_D])
    return np.stack([np.bincount(pictures, minlength=num_pictures) for pictures in columns], axis=1)


@dataclass(frozen=True)
class Answers:
    """A predictions.csv: what a classifier said of each picture, best first."""

    images: list[str]
    labels: list[str]  # empty where unknown
    best: list[list[tuple[str, float]]]


def _of_classifiers(runs: Sequence[RunFolder], records: Records | None, folder: Path) -> Findings:
    """Raises: DataError where predictions are missing or about other pictures."""
    answers = [_read_answers(run.path / "predictions.csv") for run in runs]
    first = answers[0]
    for run, other in zip(runs, answers, strict=True):
        if (other.images, other.labels) != (first.images, first.labels):
            raise DataError(f"{run.path} judged other pictures or labels than {runs[0].path}.")
    labelled = [index for index, label in enumerate(first.labels) if label]
    if not labelled:
        return Findings()
    right_RIC = [[[name == first.labels[i] for name, _ in other.best[i]] for i in labelled] for other in answers]
    top1_IR: NDArray[np.bool_] = np.array([[bests[0] for bests in right] for right in right_RIC], dtype=np.bool_).T
    top5_IR: NDArray[np.bool_] = np.array([[any(bests) for bests in right] for right in right_RIC], dtype=np.bool_).T
    _check(runs, "val/top1", top1_IR.mean(axis=0))
    times_SI = resamples(len(labelled))
    found = Findings(
        {"val/top1": resampled_accuracy(top1_IR, times_SI), "val/top5": resampled_accuracy(top5_IR, times_SI)},
        judged_on=len(labelled),
    )
    if records is None:
        return found
    assert isinstance(records, ClassificationRecords)
    index_of = {path: index for index, path in enumerate(records.paths)}
    sure_IR = np.array([[other.best[i][0][1] for other in answers] for i in labelled])
    # A dispute is as sure as the less sure of its sides.
    sides_I2 = np.stack([np.where(right_IR, sure_IR, 0.0).max(axis=1) for right_IR in (top1_IR, ~top1_IR)], axis=1)
    sure_I = sides_I2.min(axis=1)
    for place in np.argsort(-sure_I, kind="stable").tolist():
        index = labelled[place]
        if sure_I[place] == 0 or len(found.disputes) == DISPUTES:
            break
        if first.images[index] not in index_of:
            continue
        panels = _answer_panels(records, index_of[first.images[index]], first.labels[index], answers, index)
        found.disputes.append(
            _dispute(folder, len(found.disputes) + 1, first.images[index], panels, first.labels[index])
        )
    return found


def _check(runs: Sequence[RunFolder], metric: str, values_R: NDArray[np.float64]) -> None:
    """Predictions and pictures are those that gave the metrics; else intervals would be of something else."""
    for run, value in zip(runs, np.nan_to_num(values_R, nan=-1.0).tolist(), strict=True):
        if metric in run.metrics and not math.isclose(run.metrics[metric], value, abs_tol=SAME):
            raise DataError(
                f"{run.path} has {metric} {decimal(run.metrics[metric])}, but its predictions give {decimal(value)} "
                "on the validation pictures of today."
            )


def _read_answers(path: Path) -> Answers:
    """Raises: DataError where the file is missing or is not what a run writes."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))[1:]
        best = [
            [(name, float(probability)) for name, probability in zip(row[2::2], row[3::2], strict=True) if name]
            for row in rows
        ]
        return Answers([row[0] for row in rows], [row[1] for row in rows], best)
    except OSError:
        raise DataError(f"{path} is not there.") from None
    except (ValueError, IndexError, csv.Error) as error:
        raise DataError(f"{path} cannot be read ({error}).") from None


Panels = list[tuple[str, str, Image.Image]]  # "truth" or a letter, the caption, the picture


def _panels(
    records: DetectionRecords, index: int, founds: Sequence[DetectionArrays], tallies_R3: Sequence[NDArray[np.int64]]
) -> Panels:
    image = records.pictures.read(index).permute(1, 2, 0).numpy()
    mine = records.boxes_of(index)
    boxes_N4, labels_N = records.boxes_N4[mine], records.labels_N[mine]
    truth = draw_boxes(image, boxes_N4, None, labels_N, records.class_names)
    panels: Panels = [("truth", "the truth" if len(boxes_N4) else "the truth: nothing to find", truth)]
    for letter, found, tally in zip(letters(len(founds)), founds, tallies_R3, strict=True):
        mine_D = (found.image_ids_D == records.image_ids[index]) & (found.scores_D >= MIN_SCORE)
        drawn = draw_boxes(
            image,
            found.boxes_D4[mine_D],
            found.scores_D[mine_D],
            found.labels_D[mine_D],
            records.class_names,
            ground_truth=boxes_N4,
            min_score=MIN_SCORE,
        )
        panels.append((letter, f"{letter}: {_told_of(*tally.tolist())}", drawn))
    return panels


def _told_of(to_find: int, hits: int, wrong: int) -> str:
    """
    >>> _told_of(5, 3, 2), _told_of(5, 5, 0), _told_of(0, 0, 0)
    ('3 of 5 found, 2 wrong', '5 of 5 found', 'nothing found')
    """
    said = [*([f"{hits} of {to_find} found"] if to_find else []), *([f"{wrong} wrong"] if wrong else [])]
    return ", ".join(said) or "nothing found"


def _answer_panels(
    records: ClassificationRecords, index: int, label: str, answers: Sequence[Answers], row: int
) -> Panels:
    image = records.pictures.read(index).permute(1, 2, 0).numpy()
    panels: Panels = []
    for letter, answer in zip(letters(len(answers)), answers, strict=True):
        name, probability = answer.best[row][0]
        judged = "right" if name == label else "wrong"
        caption = f"{letter}: {name} ({probability:.2f}), {judged}"
        panels.append((letter, caption, draw_labels(image, answer.best[row], label)))
    return panels


def _dispute(folder: Path, rank: int, image: str, panels: Panels, label: str = "") -> Dispute:
    """The pictures as files, images/RANK_NAME_LETTER.jpg."""
    target = folder / "images"
    target.mkdir(parents=True, exist_ok=True)
    files: list[tuple[str, Path]] = []
    for what, caption, picture in panels:
        path = target / f"{rank:02}_{Path(image).stem}_{what}.jpg"
        picture.save(path, quality=90)
        files.append((caption, path))
    name = Path(image).name
    return Dispute(image, f"{name}: {label}" if label else name, tuple(files))
