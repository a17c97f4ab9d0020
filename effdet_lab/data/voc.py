"""Pascal VOC: a list of names, an XML file for each picture.

I pictures, N boxes
"""

import logging
import math
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from effdet_lab.data.classes import labels_of
from effdet_lab.data.pictures import PictureFiles
from effdet_lab.data.places import PICTURE_SUFFIXES, Place
from effdet_lab.data.splits import DetectionRecords, starts_of
from effdet_lab.data.wording import shortened
from effdet_lab.errors import DataError

log = logging.getLogger("effdet_lab")


@dataclass
class _Parsed:
    """What the XML files of a split say."""

    files: list[str] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    boxes: list[tuple[float, float, float, float]] = field(default_factory=list)
    difficult: list[bool] = field(default_factory=list)
    without_area: int = 0


def voc_classes(place: Place) -> tuple[str, ...]:
    """The sorted names of a split's boxes.

    Raises: DataError with everything that is wrong in the files.
    """
    return tuple(sorted(set(_parse(place).names)))


def read_voc(place: Place, keep_difficult: bool = False, classes: tuple[str, ...] = ()) -> DetectionRecords:
    """One split. Without `classes` the sorted names of its boxes; pictures are numbered from 0.

    A VOC box counts its pixels from 1 and holds its last: xmin - 1 and xmax are its edges. A box whose first and last
    row or column is one and the same has no area and is left out. Difficult boxes are as COCO's crowds, unless kept.
    Raises: DataError with everything that is wrong in the files.
    """
    parsed = _parse(place)
    if parsed.without_area:
        log.warning("%s: boxes without area are left out: %d.", place.annotations, parsed.without_area)
    names = classes or tuple(sorted(set(parsed.names)))
    known = sorted(set(parsed.names))
    label_of_known = dict(zip(known, labels_of(known, names, str(place.annotations)).tolist(), strict=True))
    boxes_N4 = np.array(parsed.boxes, dtype=np.float64).reshape(-1, 4)
    difficult_N = np.array(parsed.difficult, dtype=bool)
    return DetectionRecords(
        pictures=PictureFiles.of(place.pictures, parsed.files),
        image_ids=np.arange(len(parsed.files)),
        sizes_I2=np.array(parsed.sizes, dtype=np.int64).reshape(-1, 2),
        starts=starts_of(np.array(parsed.counts, dtype=np.int64)),
        boxes_N4=boxes_N4,
        labels_N=np.array([label_of_known[name] for name in parsed.names], dtype=np.int64),
        crowd_N=np.zeros_like(difficult_N) if keep_difficult else difficult_N,
        areas_N=np.prod(boxes_N4[:, 2:] - boxes_N4[:, :2], axis=1),
        class_names=names,
        category_ids=tuple(range(1, len(names) + 1)),
    )


def _parse(place: Place) -> _Parsed:
    assert place.annotations is not None
    annotations = place.annotations.parents[2] / "Annotations"
    try:
        lines = place.annotations.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise DataError(f"{place.annotations}: is not text in UTF-8.") from None
    stems = list(dict.fromkeys(line.split()[0] for line in lines if line.strip()))  # a class list has a second column
    if not stems:
        raise DataError(f"{place.annotations}: names no picture.")
    present = {path.name for path in place.pictures.iterdir()}
    parsed, problems = _Parsed(), []
    for stem in stems:
        try:
            _add(parsed, stem, annotations / f"{stem}.xml", place.pictures, present)
        except _Wrong as wrong:
            problems.append(str(wrong))
    if problems:
        raise DataError(shortened(problems, "files"))
    return parsed


class _Wrong(Exception):
    """What is wrong with one XML file, as a sentence."""


def _add(parsed: _Parsed, stem: str, path: Path, pictures: Path, present: set[str]) -> None:
    root = _root_of(path)
    boxes = [_box(item, path) for item in root.iter("object")]
    whole = [box for box in boxes if box[1][2] - box[1][0] > 1 and box[1][3] - box[1][1] > 1]
    parsed.files.append(_picture_of(stem, root, pictures, present))
    parsed.sizes.append((_extent(root, "height"), _extent(root, "width")))
    parsed.counts.append(len(whole))
    parsed.without_area += len(boxes) - len(whole)
    for name, corners, difficult in whole:
        parsed.names.append(name)
        parsed.boxes.append(corners)
        parsed.difficult.append(difficult)


def _root_of(path: Path) -> ElementTree.Element:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise _Wrong(f"{path}: no such file, though the split names it.") from None
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:  # entities can grow to any size
        raise _Wrong(f"{path}: declares a document type, which annotations never do.")
    try:
        return ElementTree.fromstring(content)
    except ElementTree.ParseError as error:
        raise _Wrong(f"{path}: is not XML ({error}).") from None


def _box(item: ElementTree.Element, path: Path) -> tuple[str, tuple[float, float, float, float], bool]:
    """Class, corners with edges counted from 0, and whether it is difficult."""
    name = (item.findtext("name") or "").strip()
    if not name:
        raise _Wrong(f"{path}: an object has no name.")
    written = [item.findtext(f"bndbox/{corner}") for corner in ("xmin", "ymin", "xmax", "ymax")]
    x1, y1, x2, y2 = map(_number, written)
    if not math.isfinite(x1 + y1 + x2 + y2):
        raise _Wrong(f"{path}: {name} has bndbox={written}. It must be four numbers: xmin, ymin, xmax, ymax.")
    return name, (x1 - 1, y1 - 1, x2, y2), (item.findtext("difficult") or "0").strip() == "1"


def _picture_of(stem: str, root: ElementTree.Element, pictures: Path, present: set[str]) -> str:
    named = (root.findtext("filename") or "").strip()
    candidates = [f"{stem}{ending}" for suffix in PICTURE_SUFFIXES for ending in (suffix, suffix.upper())]
    found = next((name for name in [*candidates, named] if name in present), None)
    if found is None:
        raise _Wrong(f"{pictures / stem}.jpg: no such picture, though the split names it.")
    return found


def _number(text: str | None) -> float:
    try:
        return float(text or "")
    except ValueError:
        return math.nan


def _extent(root: ElementTree.Element, which: str) -> int:
    """Pixels; 0 where the file does not say."""
    text = (root.findtext(f"size/{which}") or "0").strip()
    return int(text) if text.isdecimal() else 0
