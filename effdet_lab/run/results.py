"""What a run leaves for people and scripts: predictions.json or predictions.csv, and pictures with what was seen.

D detections, I pictures
"""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from effdet_lab.data.splits import ClassificationRecords, DetectionRecords
from effdet_lab.data.wording import unique
from effdet_lab.metrics.ground_truth import DetectionArrays, write_results
from effdet_lab.metrics.topk import CLASSES_KEPT, BestClasses
from effdet_lab.records import Detections
from effdet_lab.run.drawing import contact_sheet, draw_boxes, draw_labels
from effdet_lab.run.folder import write_text

SHEET = "contact_sheet.jpg"


def write_detections(folder: Path, found: DetectionArrays, category_ids: Sequence[int]) -> None:
    """predictions.json, a COCO results list."""
    write_results(folder / "predictions.json", found, category_ids)


def write_classes(folder: Path, best: BestClasses, records: ClassificationRecords) -> None:
    """predictions.csv: image, label, then the five best classes with their probabilities."""
    names = records.class_names
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    ranks = range(1, CLASSES_KEPT + 1)
    writer.writerow(["image", "label", *(f"{what}_{rank}" for rank in ranks for what in ("class", "probability"))])
    for index, label, classes_C, probabilities_C in zip(*best, strict=True):
        pairs = [
            value
            for chosen, probability in zip(classes_C.tolist(), probabilities_C.tolist(), strict=True)
            for value in (names[chosen], f"{probability:.6f}")
        ]
        writer.writerow([records.paths[index], names[label] if label >= 0 else "", *pairs])
    write_text(folder / "predictions.csv", text.getvalue())


def merged_detections(outputs: Sequence[Detections]) -> DetectionArrays:
    """The detections of all batches."""
    columns = [torch.cat(parts).cpu().numpy() for parts in zip(*outputs, strict=True)]
    image_ids_D, boxes_D4, scores_D, labels_D = columns
    return DetectionArrays(image_ids_D, boxes_D4.astype(np.float64), scores_D.astype(np.float64), labels_D)


def merged_classes(outputs: Sequence[torch.Tensor]) -> BestClasses:
    """The best classes of all batches of probabilities, whose pictures are numbered from 0."""
    probabilities_IK = torch.cat(list(outputs)).cpu()
    best = probabilities_IK.topk(min(CLASSES_KEPT, probabilities_IK.shape[1]))
    count = len(probabilities_IK)
    return BestClasses(np.arange(count), np.full(count, -1), best.indices.numpy(), best.values.numpy())


def draw_detections(records: DetectionRecords, found: DetectionArrays, indices: Sequence[int]) -> list[Image.Image]:
    """Pictures with what was found, over what should have been."""
    drawn = []
    for index in indices:
        mine_D = found.image_ids_D == records.image_ids[index]
        truth = records.boxes_of(index)
        drawn.append(
            draw_boxes(
                _image(records, index),
                found.boxes_D4[mine_D],
                found.scores_D[mine_D],
                found.labels_D[mine_D],
                records.class_names,
                ground_truth=records.boxes_N4[truth],
            )
        )
    return drawn


def draw_classes(records: ClassificationRecords, best: BestClasses, indices: Sequence[int]) -> list[Image.Image]:
    """Pictures over their best classes."""
    names, row_of = records.class_names, {image_id: row for row, image_id in enumerate(best.image_ids_I.tolist())}
    drawn = []
    for index in indices:
        row = row_of[int(records.image_ids[index])]
        classes_C, probabilities_C = best.classes_IC[row].tolist(), best.probabilities_IC[row].tolist()
        pairs = [(names[chosen], share) for chosen, share in zip(classes_C, probabilities_C, strict=True)]
        label = int(best.labels_I[row])
        drawn.append(draw_labels(_image(records, index), pairs, names[label] if label >= 0 else None))
    return drawn


def save_pictures(folder: Path, pictures: Sequence[Image.Image], names: Sequence[str]) -> None:
    """images/NAME.jpg, and all of them on one sheet."""
    target = folder / "images"
    target.mkdir(parents=True, exist_ok=True)
    for picture, name in zip(pictures, unique(names), strict=True):
        picture.save(target / f"{name}.jpg", quality=90)
    if len(pictures) > 1:
        contact_sheet(pictures).save(target / SHEET, quality=90)


def spread(count: int, wanted: int) -> list[int]:
    """Indices evenly over a split."""
    return np.unique(np.linspace(0, count - 1, min(count, wanted)).round().astype(int)).tolist() if count else []


def _image(records: DetectionRecords | ClassificationRecords, index: int) -> np.ndarray:
    return records.pictures.read(index).permute(1, 2, 0).numpy()
