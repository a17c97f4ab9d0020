"""COCO files as flat arrays: annotations in, results in and out.

I pictures, N boxes of the ground truth, D detections; boxes are x1 y1 x2 y2 in pixels of the picture's file.
"""

import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self, TypeGuard

import numpy as np
from numpy.typing import NDArray

from effdet_lab.errors import DataError

PROBLEMS_SHOWN = 20
WIDTH_DECIMALS = 9


class DetectionArrays(NamedTuple):
    """Detections of any number of pictures, flat: what evaluators and results files take."""

    image_ids_D: NDArray[np.int64]
    boxes_D4: NDArray[np.float64]
    scores_D: NDArray[np.float64]
    labels_D: NDArray[np.int64]  # from 0


class BoxesOfASplit(Protocol):
    """What a data set's records tell of its boxes; those of a picture lie between its start and the next one's."""

    image_ids: np.ndarray
    starts: np.ndarray
    boxes_N4: np.ndarray
    labels_N: np.ndarray
    crowd_N: np.ndarray
    areas_N: np.ndarray
    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """The boxes to be found, and every picture they are looked for in, those without boxes too."""

    image_ids_I: NDArray[np.int64]
    box_image_ids_N: NDArray[np.int64]
    boxes_N4: NDArray[np.float64]
    labels_N: NDArray[np.int64]
    crowd_N: NDArray[np.bool_]
    areas_N: NDArray[np.float64]  # of the object's outline where the file says so, else of its box
    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]  # the file's id of each label

    def __post_init__(self) -> None:
        num_boxes = len(self.box_image_ids_N)
        columns = (self.boxes_N4, self.labels_N, self.crowd_N, self.areas_N)
        assert all(len(column) == num_boxes for column in columns), "one row a box in every array"
        assert self.boxes_N4.shape == (num_boxes, 4)
        assert len(self.class_names) == len(self.category_ids)
        assert len(np.unique(self.image_ids_I)) == len(self.image_ids_I)

    @classmethod
    def of(cls, split: "BoxesOfASplit") -> "GroundTruth":
        """A split's boxes as the evaluators take them."""
        return cls(
            image_ids_I=split.image_ids,
            box_image_ids_N=np.repeat(split.image_ids, np.diff(split.starts)),
            boxes_N4=split.boxes_N4.astype(np.float64),
            labels_N=split.labels_N,
            crowd_N=split.crowd_N,
            areas_N=split.areas_N.astype(np.float64),
            class_names=split.class_names,
            category_ids=split.category_ids,
        )

    @classmethod
    def from_coco_json(
        cls, path: str | Path, category_ids: Sequence[int] | None = None, class_names: Sequence[str] | None = None
    ) -> Self:
        """Read an annotation file.

        Labels number the file's category ids in rising order. `category_ids` with `class_names` fix another layout,
        such as COCO's 90 ids of which 80 are used.
        Raises: DataError naming record and field, all problems at once.
        """
        path = Path(path)
        content = _read_json(path)
        if not isinstance(content, dict):
            raise DataError(
                f"{path}: holds {_kind(content)}. An annotation file is an object of images, annotations, categories."
            )
        problems: list[str] = []
        if category_ids is None:
            categories = dict(_categories(content, problems))
            category_ids, class_names = sorted(categories), [categories[key] for key in sorted(categories)]
        assert class_names is not None, "category_ids and class_names come together"
        image_ids = list(_image_ids(content, problems))
        known_images, label_of = set(image_ids), {key: label for label, key in enumerate(category_ids)}
        rows: list[tuple[int, int, float, float, float, float, bool, float]] = []
        for place, record in _records(content, "annotations", problems):
            before = len(problems)
            problems.extend(_box_problems(place, record, known_images, label_of))
            area = record.get("area")
            if area is not None and not _is_number(area):
                problems.append(f"{place}.area={area!r}: must be a finite number of square pixels.")
            if record.get("iscrowd", 0) not in (0, 1):
                problems.append(f"{place}.iscrowd={record['iscrowd']!r}: must be 0 or 1.")
            if len(problems) == before:
                x, y, width, height = record["bbox"]
                area = width * height if area is None else area
                label, crowd = label_of[record["category_id"]], bool(record.get("iscrowd", 0))
                rows.append((record["image_id"], label, x, y, x + width, y + height, crowd, area))
        _refuse(path, problems)
        columns = list(zip(*rows, strict=True)) or [()] * 8
        return cls(
            image_ids_I=np.array(image_ids, dtype=np.int64),
            box_image_ids_N=np.array(columns[0], dtype=np.int64),
            boxes_N4=np.array(columns[2:6], dtype=np.float64).T.reshape(-1, 4),
            labels_N=np.array(columns[1], dtype=np.int64),
            crowd_N=np.array(columns[6], dtype=np.bool_),
            areas_N=np.array(columns[7], dtype=np.float64),
            class_names=tuple(class_names),
            category_ids=tuple(category_ids),
        )

    def only(self, image_ids: NDArray[np.int64]) -> "GroundTruth":
        """The same ground truth for some of its pictures."""
        kept_I, kept_N = np.isin(self.image_ids_I, image_ids), np.isin(self.box_image_ids_N, image_ids)
        return GroundTruth(
            image_ids_I=self.image_ids_I[kept_I],
            box_image_ids_N=self.box_image_ids_N[kept_N],
            boxes_N4=self.boxes_N4[kept_N],
            labels_N=self.labels_N[kept_N],
            crowd_N=self.crowd_N[kept_N],
            areas_N=self.areas_N[kept_N],
            class_names=self.class_names,
            category_ids=self.category_ids,
        )


def xywh(boxes_N4: NDArray[np.floating]) -> NDArray[np.float64]:
    """Corners to COCO's x, y, width, height."""
    boxes_N4 = np.asarray(boxes_N4, dtype=np.float64).reshape(-1, 4)
    # A file's width 12.1 comes back from x + 12.1 - x as 12.100000000000001, enough to cross an IoU or area limit.
    sizes_N2 = np.round(boxes_N4[:, 2:] - boxes_N4[:, :2], WIDTH_DECIMALS)
    return np.concatenate([boxes_N4[:, :2], sizes_N2], axis=1)


def read_results(path: str | Path, truth: GroundTruth) -> DetectionArrays:
    """Read a COCO results list about the pictures of `truth`.

    Raises: DataError naming record and field, all problems at once.
    """
    path = Path(path)
    content = _read_json(path)
    if not isinstance(content, list):
        raise DataError(
            f"{path}: holds {_kind(content)}. A results file is a list of objects with image_id, category_id, bbox "
            "and score; an annotation file belongs in data.annotations."
        )
    problems: list[str] = []
    known_images = set(truth.image_ids_I.tolist())
    label_of = {key: label for label, key in enumerate(truth.category_ids)}
    rows: list[tuple[int, int, float, float, float, float, float]] = []
    for place, record in _records({"results": content}, "results", problems):
        before = len(problems)
        problems.extend(_box_problems(place, record, known_images, label_of))
        score = record.get("score")
        if not _is_number(score):
            problems.append(f"{place}.score={score!r}: must be a finite number.")
        if len(problems) == before:
            x, y, width, height = record["bbox"]
            rows.append(
                (record["image_id"], label_of[record["category_id"]], x, y, x + width, y + height, record["score"])
            )
    _refuse(path, problems)
    columns = list(zip(*rows, strict=True)) or [()] * 7
    return DetectionArrays(
        image_ids_D=np.array(columns[0], dtype=np.int64),
        boxes_D4=np.array(columns[2:6], dtype=np.float64).T.reshape(-1, 4),
        scores_D=np.array(columns[6], dtype=np.float64),
        labels_D=np.array(columns[1], dtype=np.int64),
    )


def write_results(path: str | Path, detections: DetectionArrays, category_ids: Sequence[int]) -> None:
    """Write a COCO results list, whole or not at all.

    Numbers are written in full, so evaluating the file repeats the metrics of the run that wrote it.
    """
    path = Path(path)
    image_ids_D, boxes_D4, scores_D, labels_D = detections
    results = [
        {"image_id": image_id, "category_id": category_ids[label], "bbox": box, "score": score}
        for image_id, label, box, score in zip(
            image_ids_D.tolist(), labels_D.tolist(), xywh(boxes_D4).tolist(), scores_D.tolist(), strict=True
        )
    ]
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_text(json.dumps(results, allow_nan=False), encoding="utf-8")
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}). Give the path of a COCO JSON file.") from None
    except ValueError as error:
        raise DataError(f"{path}: is not JSON ({error}).") from None


def _records(content: dict[str, Any], key: str, problems: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each record of a list under a key, with its place in the file."""
    records = content.get(key)
    if not isinstance(records, list):
        found = _kind(records) if key in content else "missing"
        problems.append(f"{key}: must be a list of objects; it is {found}.")
        return
    for index, record in enumerate(records):
        if isinstance(record, dict):
            yield f"{key}[{index}]", record
        else:
            problems.append(f"{key}[{index}]: must be an object; it is {_kind(record)}.")


def _image_ids(content: dict[str, Any], problems: list[str]) -> Iterator[int]:
    known: set[int] = set()
    for place, record in _records(content, "images", problems):
        image_id = record.get("id")
        if not _is_whole(image_id):
            problems.append(f"{place}.id={image_id!r}: must be a whole number.")
        elif image_id in known:
            problems.append(f"{place}.id={image_id}: another image has this id. Ids must differ.")
        else:
            known.add(image_id)
            yield image_id


def _categories(content: dict[str, Any], problems: list[str]) -> Iterator[tuple[int, str]]:
    known_ids: set[int] = set()
    known_names: set[str] = set()
    for place, record in _records(content, "categories", problems):
        category_id, name = record.get("id"), record.get("name")
        if not _is_whole(category_id):
            problems.append(f"{place}.id={category_id!r}: must be a whole number.")
        elif category_id in known_ids:
            problems.append(f"{place}.id={category_id}: another category has this id. Ids must differ.")
        elif not isinstance(name, str) or not name:
            problems.append(f"{place}.name={name!r}: must be a word.")
        elif name in known_names:
            problems.append(f"{place}.name={name!r}: another category has this name. Names must differ.")
        else:
            known_ids.add(category_id)
            known_names.add(name)
            yield category_id, name


def _box_problems(
    place: str, record: dict[str, Any], known_images: set[int], label_of: dict[int, int]
) -> Iterator[str]:
    """What is wrong with the three fields that annotations and results share."""
    image_id, category_id, box = record.get("image_id"), record.get("category_id"), record.get("bbox")
    if not _is_whole(image_id) or image_id not in known_images:
        yield f"{place}.image_id={image_id!r}: no image of the annotation file has this id."
    if not _is_whole(category_id) or category_id not in label_of:
        yield f"{place}.category_id={category_id!r}: no such category. {_known_ids(label_of)}"
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
        yield f"{place}.bbox={box!r}: must be four finite numbers, x, y, width, height."
    elif box[2] < 0 or box[3] < 0:
        yield f"{place}.bbox={box!r}: width and height cannot be negative. The order is x, y, width, height."


def _known_ids(label_of: dict[int, int]) -> str:
    if not label_of:
        return "The file names no categories."
    return f"The {len(label_of)} known ids lie between {min(label_of)} and {max(label_of)}."


def _refuse(path: Path, problems: list[str]) -> None:
    if not problems:
        return
    shown = [f"{path}: {problem}" for problem in problems[:PROBLEMS_SHOWN]]
    if len(problems) > PROBLEMS_SHOWN:
        shown.append(f"{path}: {len(problems) - PROBLEMS_SHOWN} more problems like these.")
    raise DataError(shown)


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _kind(value: object) -> str:
    """JSON's word for a value's type."""
    names = {
        dict: "an object",
        list: "a list",
        str: "a string",
        bool: "a truth value",
        int: "a number",
        float: "a number",
    }
    return names.get(type(value), "null")
