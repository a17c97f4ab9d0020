"""One folder a class, or one flat folder whose file names tell the class."""

import logging
import os
import re
from pathlib import Path

import numpy as np

from effdet_lab.data.classes import labels_of
from effdet_lab.data.pictures import PictureFiles
from effdet_lab.data.places import is_picture
from effdet_lab.data.splits import ClassificationRecords
from effdet_lab.data.wording import listed, shortened
from effdet_lab.errors import DataError

log = logging.getLogger("effdet_lab")


def read_folder(folder: Path, class_pattern: str = "", classes: tuple[str, ...] = ()) -> ClassificationRecords:
    """One split. Without `classes` the sorted names found; pictures are sorted by class, then by name.

    Raises: DataError if the classes or the pictures are missing.
    """
    found = _by_pattern(folder, class_pattern) if class_pattern else _by_folder(folder)
    known = sorted({name for _, name in found})
    names = classes or tuple(known)
    label = dict(zip(known, labels_of(known, names, str(folder)).tolist(), strict=True))
    pictures = PictureFiles.of(folder, [path for path, _ in found])
    return ClassificationRecords.of(pictures, np.array([label[name] for _, name in found], dtype=np.int64), names)


def folder_classes(folder: Path, class_pattern: str = "") -> tuple[str, ...]:
    """The sorted class names; of class folders without a look inside."""
    if class_pattern:
        return tuple(sorted({name for _, name in _by_pattern(folder, class_pattern)}))
    return tuple(_class_folders(folder))


def _class_folders(folder: Path) -> list[str]:
    names = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not names:
        hint = (
            "data.class_pattern tells the class from the file names."
            if any(map(is_picture, folder.iterdir()))
            else f"It holds {listed(sorted(path.name for path in folder.iterdir()))}."
        )
        raise DataError(f"{folder}: no folder for a class in it. {hint}")
    return names


def _by_folder(folder: Path) -> list[tuple[str, str]]:
    found, problems, ignored = [], [], 0
    for name in _class_folders(folder):
        tree = os.walk(folder / name, followlinks=True)
        files = sorted(Path(base, file) for base, _, files in tree for file in files)
        pictures = [file for file in files if is_picture(file)]
        ignored += len(files) - len(pictures)
        found += [(str(file.relative_to(folder)), name) for file in pictures]
        if not pictures:
            problems.append(f"{folder / name}: no picture for class {name!r} in it.")
    if problems:
        raise DataError(shortened(problems, "empty classes"))
    if ignored:
        log.info("%s: %d files that are no pictures were left out.", folder, ignored)
    return found


def _by_pattern(folder: Path, class_pattern: str) -> list[tuple[str, str]]:
    try:
        pattern = re.compile(class_pattern)
    except re.error as error:
        raise DataError(f"data.class_pattern={class_pattern}: is no regular expression ({error}).") from None
    if not pattern.groups:
        raise DataError(f"data.class_pattern={class_pattern}: has no group. Brackets make one, as in ^(.+)_.")
    files = sorted(path.name for path in folder.iterdir() if is_picture(path))
    if not files:
        raise DataError(f"{folder}: no picture in it.")
    matches = [pattern.search(file) for file in files]
    strangers = [
        f"{folder / file}: data.class_pattern={class_pattern} finds no class in this name."
        for file, match in zip(files, matches, strict=True)
        if not (match and match[1])
    ]
    if strangers:
        raise DataError(shortened(strangers, "files"))
    found = [(file, match[1]) for file, match in zip(files, matches, strict=True) if match]
    return sorted(found, key=lambda item: (item[1], item[0]))
