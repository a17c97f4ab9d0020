"""What a model saw, at the end of an evaluation: pictures, the worst ones first, and where it errs.

D detections, N boxes of one picture, I pictures of a split
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image
from pytorch_lightning.loggers import Logger, TensorBoardLogger, WandbLogger

from effdet_lab.data.splits import DetectionRecords, Records
from effdet_lab.metrics.curves import (
    MIN_SCORE,
    class_errors,
    confusion,
    confusion_of_classes,
    picture_errors,
    precision_recall,
)
from effdet_lab.metrics.ground_truth import DetectionArrays, GroundTruth
from effdet_lab.metrics.topk import BestClasses
from effdet_lab.tracking.charts import BACKGROUND, confusion_chart, precision_recall_chart
from effdet_lab.tracking.describe import panel_names

COLUMNS = ("picture", "file", "wrong", "ground truth", "predicted")


class Seen(NamedTuple):
    """One picture with the truth and the answer, in words and for W&B to draw."""

    picture: Any  # wandb.Image
    truth: str
    predicted: str


def log_predictions(
    logger: Logger | bool,
    records: Records,
    predictions: DetectionArrays | BestClasses,
    indices: Sequence[int],
    drawn: Sequence[Image],
) -> None:
    """Shows the `drawn` pictures, which are those of `indices`; W&B draws a detector's boxes itself.

    W&B also gets a table of as many pictures, the most wrong of the split first, and charts of the whole split.
    """
    if isinstance(logger, WandbLogger):
        # One panel a picture: W&B shows a list of pictures wrongly when they differ in size.
        names = panel_names([records.paths[index] for index in indices])
        pictures = [_seen(records, predictions, index).picture for index in indices]
        shown = dict(zip(names, pictures, strict=True))
        logger.experiment.log({**shown, **_judgement(records, predictions, len(indices))})
    elif isinstance(logger, TensorBoardLogger):
        for name, picture in zip(panel_names([records.paths[index] for index in indices]), drawn, strict=True):
            logger.experiment.add_image(name, np.asarray(picture.convert("RGB")), dataformats="HWC")
        logger.experiment.flush()


def worst_first(errors_I: NDArray[np.float64], wanted: int) -> list[int]:
    """The pictures with the largest errors; those whose truth is unknown are left out."""
    order_I = np.argsort(-errors_I, kind="stable")  # NaN comes last
    return order_I[~np.isnan(errors_I[order_I])][:wanted].tolist()


def _judgement(records: Records, predictions: DetectionArrays | BestClasses, wanted: int) -> dict[str, Any]:
    """The table and the charts; nothing where no truth is known."""
    if isinstance(records, DetectionRecords):
        assert isinstance(predictions, DetectionArrays)
        truth = GroundTruth.of(records)
        if not len(truth.labels_N):
            return {}
        boxes_K = np.bincount(truth.labels_N[~truth.crowd_N], minlength=len(truth.class_names))
        charts = {
            "confusion": confusion_chart(
                confusion(truth, predictions), [*records.class_names, BACKGROUND], "Confusion at IoU 0.5, score 0.3"
            )
        }
        if boxes_K.any():
            curves = precision_recall(truth, predictions)
            charts["precision_recall"] = precision_recall_chart(curves, records.class_names, boxes_K)
        errors_I = picture_errors(truth, predictions)
    else:
        assert isinstance(predictions, BestClasses)
        if not (predictions.labels_I >= 0).any():
            return {}
        names = records.class_names
        charts = {"confusion": confusion_chart(confusion_of_classes(predictions, len(names)), names, "Confusion")}
        errors_I = np.full(len(records), np.nan)
        errors_I[predictions.image_ids_I] = class_errors(predictions)
    return {**charts, **_table(records, predictions, errors_I, wanted)}


def _table(
    records: Records, predictions: DetectionArrays | BestClasses, errors_I: NDArray[np.float64], wanted: int
) -> dict[str, Any]:
    import wandb

    if not wanted:
        return {}
    rows = []
    for index in worst_first(errors_I, wanted):
        seen = _seen(records, predictions, index)
        rows.append([seen.picture, records.paths[index], float(errors_I[index]), seen.truth, seen.predicted])
    return {"predictions": wandb.Table(columns=list(COLUMNS), data=rows)}


def _seen(records: Records, predictions: DetectionArrays | BestClasses, index: int) -> Seen:
    import wandb

    names, caption = records.class_names, panel_names([records.paths[index]])[0].partition("/")[2]
    pixels_HWC = records.pictures.read(index).permute(1, 2, 0).numpy()
    if not isinstance(records, DetectionRecords):
        (row,) = np.flatnonzero(predictions.image_ids_I == records.image_ids[index])
        label = int(predictions.labels_I[row])
        truth = names[label] if label >= 0 else ""
        best = zip(predictions.classes_IC[row].tolist(), predictions.probabilities_IC[row].tolist(), strict=True)
        predicted = ", ".join(_scored(names[chosen], share) for chosen, share in best)
        return Seen(wandb.Image(pixels_HWC, caption=f"{caption}: {predicted}"), truth, predicted)
    mine_D = predictions.image_ids_D == records.image_ids[index]
    found = predictions.boxes_D4[mine_D], predictions.labels_D[mine_D], predictions.scores_D[mine_D]
    truth_N = records.boxes_of(index)
    boxes_N4, labels_N = records.boxes_N4[truth_N], records.labels_N[truth_N]
    boxes = {"predictions": _boxes(names, *found), "ground_truth": _boxes(names, boxes_N4, labels_N)}
    believed = [
        _scored(names[label], score)
        for label, score in zip(found[1].tolist(), found[2].tolist(), strict=True)
        if score >= MIN_SCORE
    ]
    words = ", ".join(names[label] for label in labels_N.tolist())
    return Seen(wandb.Image(pixels_HWC, caption=caption, boxes=boxes), words, ", ".join(believed))


def _scored(name: str, score: float) -> str:
    return f"{name} {score:.2f}"


def _boxes(
    names: Sequence[str], boxes_N4: np.ndarray, labels_N: np.ndarray, scores_N: np.ndarray | None = None
) -> dict[str, Any]:
    """W&B's words for boxes in pixels."""
    return {"box_data": list(_box_data(names, boxes_N4, labels_N, scores_N)), "class_labels": dict(enumerate(names))}


def _box_data(
    names: Sequence[str], boxes_N4: np.ndarray, labels_N: np.ndarray, scores_N: np.ndarray | None
) -> Iterator[dict[str, Any]]:
    for row, (box, label) in enumerate(zip(boxes_N4.tolist(), labels_N.tolist(), strict=True)):
        data = {
            "position": dict(zip(("minX", "minY", "maxX", "maxY"), box, strict=True)),
            "domain": "pixel",
            "class_id": label,
            "box_caption": names[label],
        }
        if scores_N is not None:
            score = float(scores_N[row])
            data |= {"box_caption": _scored(names[label], score), "scores": {"score": score}}
        yield data
