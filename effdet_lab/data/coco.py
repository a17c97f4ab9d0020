"""COCO's annotation file: names and ids travel as the file has them.

I pictures, N boxes
"""

import json
import logging
import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from effdet_lab.data.classes import ids_for, labels_of, layout_of
from effdet_lab.data.pictures import PictureFiles
from effdet_lab.data.splits import DetectionRecords, starts_of
from effdet_lab.data.wording import listed, shortened
from effdet_lab.errors import DataError

LEAVE_AT_MOST = 0.5  # share of boxes that may leave their picture before the format itself is doubted
EDGE = 2.0  # pixels beyond the picture that rounding explains

log = logging.getLogger("effdet_lab")


@dataclass(frozen=True, eq=False)
class _Parsed:
    """The file's content, boxes grouped by picture."""

    names: tuple[str, ...]
    image_ids_I: np.ndarray
    sizes_I2: np.ndarray
    starts: np.ndarray
    boxes_N4: np.ndarray  # x1 y1 x2 y2
    category_ids_N: np.ndarray
    crowd_N: np.ndarray
    areas_N: np.ndarray
    categories: dict[int, str]


def read_coco(annotations: Path, pictures: Path, classes: tuple[str, ...] = ()) -> DetectionRecords:
    """One split. Without `classes` the file's own, by `layout_of`.

    Raises: DataError with what is wrong in the file, or has a class that `classes` lack.
    """
    parsed = _parse_current(annotations)
    names, ids = layout_of(parsed.categories)
    if classes:
        names, ids = classes, ids_for(classes, parsed.categories)
    used = sorted(set(parsed.category_ids_N.tolist()))
    label_of_used = labels_of([parsed.categories[number] for number in used], names, str(annotations))
    return DetectionRecords(
        pictures=PictureFiles.of(pictures, parsed.names),
        image_ids=parsed.image_ids_I,
        sizes_I2=parsed.sizes_I2,
        starts=parsed.starts,
        boxes_N4=parsed.boxes_N4,
        labels_N=label_of_used[np.searchsorted(used, parsed.category_ids_N)] if used else np.zeros(0, np.int64),
        crowd_N=parsed.crowd_N,
        areas_N=parsed.areas_N,
        class_names=names,
        category_ids=ids,
    )


def coco_categories(annotations: Path) -> dict[int, str]:
    """The file's category names by id."""
    return _parse_current(annotations).categories


def _parse_current(annotations: Path) -> _Parsed:
    """Parsed once as long as the file does not change: COCO's own takes many seconds."""
    stat = annotations.stat()
    return _parse(annotations, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=4)
def _parse(path: Path, _changed: int, _bytes: int) -> _Parsed:
    content = _load(path)
    images, image_problems = _images(content["images"], path)
    categories, category_problems = _categories(content["categories"], content["annotations"], path)
    index_of = {image[0]: index for index, image in enumerate(images)}
    rows, box_problems = _boxes(content["annotations"], index_of, categories, path)
    problems = image_problems + category_problems + box_problems
    if problems:
        raise DataError(problems)
    image_N = np.array([row[0] for row in rows], dtype=np.int64)
    boxes_N4 = np.array([row[2] for row in rows], dtype=np.float64).reshape(-1, 4)
    boxes_N4[:, 2:] += boxes_N4[:, :2]
    sizes_I2 = np.array([image[2] for image in images], dtype=np.int64).reshape(-1, 2)
    keep_N = (boxes_N4[:, 2] > boxes_N4[:, 0]) & (boxes_N4[:, 3] > boxes_N4[:, 1])
    _speak_of(path, boxes_N4[keep_N], sizes_I2[image_N[keep_N]], int((~keep_N).sum()))
    order_N = np.flatnonzero(keep_N)[np.argsort(image_N[keep_N], kind="stable")]
    return _Parsed(
        names=tuple(image[1] for image in images),
        image_ids_I=np.array([image[0] for image in images], dtype=np.int64),
        sizes_I2=sizes_I2,
        starts=starts_of(np.bincount(image_N[keep_N], minlength=len(images))),
        boxes_N4=boxes_N4[order_N],
        category_ids_N=np.array([row[1] for row in rows], dtype=np.int64)[order_N],
        crowd_N=np.array([row[3] for row in rows], dtype=bool)[order_N],
        areas_N=np.array([row[4] for row in rows], dtype=np.float64)[order_N],
        categories=categories,
    )


def _load(path: Path) -> dict[str, list[dict[str, Any]]]:
    try:
        content = json.loads(path.read_bytes())
    except UnicodeDecodeError:
        raise DataError(f"{path}: is not text in UTF-8, so not JSON.") from None
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: is not JSON (line {error.lineno}, column {error.colno}: {error.msg}).") from None
    if isinstance(content, list):
        raise DataError(f"{path}: is a list, as results are. Annotations have images, annotations and categories.")
    if not isinstance(content, dict):
        raise DataError(f"{path}: holds a single value. Annotations have images, annotations and categories.")
    problems = []
    for key in ("images", "annotations", "categories"):
        value = content.get(key)
        if value is None:
            problems.append(f"{path}: has no {key!r}, which COCO's annotations have. It has {listed(list(content))}.")
        elif not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            problems.append(f"{path}: {key!r} is not a list of records.")
    if not problems and not content["images"]:
        problems.append(f"{path}: has no pictures.")
    if not problems and not content["categories"]:
        problems.append(f"{path}: has no categories.")
    if problems:
        raise DataError(problems)
    return content


def _images(items: list[dict[str, Any]], path: Path) -> tuple[list[tuple[int, str, tuple[int, int]]], list[str]]:
    """Id, file name and size of each picture; and what is wrong."""
    images, problems, seen = [], [], set()
    for position, item in enumerate(items):
        number, name = item.get("id"), item.get("file_name")
        size = item.get("height") or 0, item.get("width") or 0
        if not _is_id(number):
            problems.append(f"{path}: images[{position}].id={number!r}: must be a whole number.")
        elif not isinstance(name, str) or not name:
            problems.append(f"{path}: image {number} has file_name={name!r}. It must name the picture.")
        elif number in seen:
            problems.append(f"{path}: image id {number} stands twice.")
        elif not all(_is_number(extent) and extent >= 0 for extent in size):
            problems.append(f"{path}: image {number} has height, width={size!r}. They must be pixels.")
        else:
            images.append((number, name, (int(size[0]), int(size[1]))))
        seen.add(number if _is_id(number) else None)
    return images, shortened(problems, "pictures")


def _categories(
    items: list[dict[str, Any]], annotations: list[dict[str, Any]], path: Path
) -> tuple[dict[int, str], list[str]]:
    """Names by id; and what is wrong."""
    names: dict[int, str] = {}
    problems = []
    for position, item in enumerate(items):
        number, name = item.get("id"), item.get("name")
        if not _is_id(number):
            problems.append(f"{path}: categories[{position}].id={number!r}: must be a whole number.")
        elif not isinstance(name, str) or not name.strip():
            problems.append(f"{path}: category {number} has name={name!r}. It must be a word.")
        elif number in names:
            problems.append(f"{path}: category id {number} stands twice: {names[number]} and {name}.")
        else:
            names[number] = name
    doubled = {name for name in names.values() if list(names.values()).count(name) > 1}
    if doubled:
        # Some exports put the data set's own name first, as a category that no box has.
        used = {item.get("category_id") for item in annotations if _is_id(item.get("category_id"))}
        names = {number: name for number, name in names.items() if name not in doubled or number in used}
        problems += [
            f"{path}: categories {[n for n, other in names.items() if other == name]} are all called {name!r}."
            for name in sorted(doubled)
            if list(names.values()).count(name) > 1
        ]
    return names, shortened(problems, "categories")


def _boxes(
    items: list[dict[str, Any]], index_of: dict[int, int], categories: dict[int, str], path: Path
) -> tuple[list[tuple[int, int, list[float], bool, float]], list[str]]:
    """Picture index, category, box (x y width height), crowd and area of each annotation; and what is wrong."""
    rows, problems = [], []
    for position, item in enumerate(items):
        where = f"{path}: annotation {item.get('id', f'[{position}]')}"
        image, category, box = item.get("image_id"), item.get("category_id"), item.get("bbox")
        if not _is_id(image) or image not in index_of:
            problems.append(f"{where} is of image {image!r}, which is not among the images.")
        elif not _is_id(category) or category not in categories:
            problems.append(f"{where} has category_id={category!r}, which is not among the categories.")
        elif not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
            problems.append(f"{where} has bbox={box!r}. It must be four numbers: x, y, width, height.")
        else:
            area = item.get("area")
            area = area if _is_number(area) and area > 0 else box[2] * box[3]  # own data sets often leave it out
            rows.append((index_of[image], category, box, bool(item.get("iscrowd", 0)), area))
    return rows, shortened(problems, "annotations")


def _speak_of(path: Path, boxes_N4: np.ndarray, sizes_N2: np.ndarray, without_area: int) -> None:
    if without_area:
        log.warning("%s: boxes without area are left out: %d.", path, without_area)
    known_N = (sizes_N2 > 0).all(axis=1)
    leaves_N = known_N & (boxes_N4[:, 2:] > sizes_N2[:, ::-1] + EDGE).any(axis=1)
    if leaves_N.any():
        log.warning("%s: %d of %d boxes leave their picture; training clips them.", path, leaves_N.sum(), len(boxes_N4))
    if len(boxes_N4) and leaves_N.mean() > LEAVE_AT_MOST:
        log.warning("%s: are its boxes [x1, y1, x2, y2]? COCO's are [x, y, width, height].", path)


def _is_id(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
