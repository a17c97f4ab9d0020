"""From an experiment to its records: which reader, which classes, which pictures can be used."""

import dataclasses
import logging
from pathlib import Path
from typing import assert_never

import numpy as np

from effdet_lab.classes import CIFAR10, COCO_CATEGORIES, DIGITS, layout_of
from effdet_lab.data.cifar10 import read_cifar10, unpack_cifar10
from effdet_lab.data.classes import ids_for, labels_of
from effdet_lab.data.coco import coco_categories, read_coco
from effdet_lab.data.digit_scenes import draw_scenes
from effdet_lab.data.digits import read_digits
from effdet_lab.data.folder import folder_classes, read_folder
from effdet_lab.data.folds import held_out
from effdet_lab.data.pictures import check_pictures
from effdet_lab.data.places import Place, Split, locate, splits_of
from effdet_lab.data.splits import R, Records
from effdet_lab.data.transfer_sets import fetch_transfer_set, read_transfer_set, transfer_classes
from effdet_lab.data.voc import read_voc, voc_classes
from effdet_lab.data.wording import shortened
from effdet_lab.errors import DataError
from effdet_lab.spec import (
    Cifar10Source,
    CocoSource,
    DataSpec,
    DigitScenesSource,
    DigitsSource,
    ExperimentSpec,
    FolderSource,
    TransferSource,
    VocSource,
    with_classes,
)

log = logging.getLogger("effdet_lab")


def fetch(data: DataSpec, splits: tuple[Split, ...]) -> None:
    """Draw or download what is made on first use."""
    if isinstance(data.source, DigitScenesSource):
        draw_scenes(Path(data.root).expanduser(), data.source)
    elif isinstance(data.source, Cifar10Source):
        for place in locate(data, splits).values():
            unpack_cifar10(place.pictures, data.source.download)
    elif isinstance(data.source, TransferSource):
        for split, place in locate(data, splits).items():
            fetch_transfer_set(data.source, place.pictures, split)


def learn_classes(spec: ExperimentSpec) -> ExperimentSpec:
    """The same experiment with the classes of its data: the training split's, or the evaluated one's.

    Data that are made on first use are made here. A task that reads no data stays as it is.
    Raises: DataError if the data have classes that `data.classes` lack, or another number than `data` promises.
    """
    if spec.task not in ("train", "evaluate"):
        return spec
    data, splits = spec.data, splits_of(spec)
    place = locate(data, splits)[splits[0]]
    fetch(data, splits)
    categories = _categories(data, place, splits[0])
    names, ids = layout_of(categories)
    if data.classes:
        labels_of(names, data.classes, str(place.annotations or place.pictures))
        return with_classes(spec, data.classes, _ids_for(data, categories))
    if isinstance(data.source, FolderSource) and data.num_classes not in (0, len(names)):
        raise DataError(
            f"data.root={data.root}: {place.pictures} has {len(names)} classes, but data={data.name} has "
            f"{data.num_classes}. data=imagefolder takes any number."
        )
    return with_classes(spec, names, ids)


def name_classes(spec: ExperimentSpec) -> ExperimentSpec:
    """The same experiment with names for classes that neither a run nor data tell: COCO's, or numbers.

    Raises: DataError if not even their number is known.
    """
    data = spec.data
    if data.classes:
        ids = data.category_ids or _ids_for(data, {})
        return with_classes(spec, data.classes, ids)
    if not data.num_classes:
        checkpoint = spec.checkpoint or spec.init
        raise DataError(f"checkpoint={checkpoint}: does not tell its classes. Give data.classes=[...].")
    if isinstance(data.source, CocoSource):
        return with_classes(spec, *layout_of(COCO_CATEGORIES))
    return with_classes(spec, *layout_of({number: str(number) for number in range(data.num_classes)}))


def open_split(spec: ExperimentSpec, split: Split) -> Records:
    """One split, or a fold of the training one, with the experiment's classes and the sizes its files have.

    Raises: DataError with what is missing or wrong; with `data.on_error=skip` broken pictures are left out.
    """
    return _cut(spec.data, split, without_broken(_whole(spec, split), spec.data.on_error))


def count_pictures(spec: ExperimentSpec, split: Split) -> int:
    """How many pictures `open_split` gives. They are looked at only where broken ones would be left out."""
    if spec.data.on_error == "skip":
        return len(open_split(spec, split))
    return len(_cut(spec.data, split, _whole(spec, split)))


def without_broken(records: R, on_error: str) -> R:
    """The records with the sizes of their files.

    Raises: DataError with every broken picture; with `on_error` skip those are left out and named.
    """
    sizes_I2, wrong = check_pictures(records.pictures, records.sizes_I2)
    records = dataclasses.replace(records, sizes_I2=sizes_I2)
    if not wrong:
        return records
    problems = shortened(list(wrong.values()), "pictures")
    if len(wrong) == len(records):
        raise DataError([*problems, "Not one picture can be used."])
    if on_error == "refuse":
        raise DataError([*problems, "data.on_error=skip leaves such pictures out."])
    log.warning("%d of %d pictures are left out:\n  %s", len(wrong), len(records), "\n  ".join(problems))
    return records.select(~np.isin(np.arange(len(records)), list(wrong)))


def _whole(spec: ExperimentSpec, split: Split) -> Records:
    """The split that a fold is cut from, or the split itself."""
    data = spec.data
    origin: Split = "train" if data.is_cut else split
    classes = data.classes or learn_classes(spec).data.classes
    return _read(data, locate(data, (origin,))[origin], origin, classes)


def _cut(data: DataSpec, split: Split, records: R) -> R:
    """The part of the records that is the split."""
    if not data.is_cut:
        return records
    held_out_I = held_out(records, data.fold, data.folds)
    return records.select(held_out_I if split == "val" else ~held_out_I)


def _ids_for(data: DataSpec, categories: dict[int, str]) -> tuple[int, ...]:
    """The ids of given classes: COCO files have their own, others count in the given order."""
    if isinstance(data.source, CocoSource | DigitScenesSource):
        return ids_for(data.classes, categories)
    first = 1 if isinstance(data.source, VocSource) else 0
    return tuple(range(first, first + len(data.classes)))


def _categories(data: DataSpec, place: Place, split: Split) -> dict[int, str]:
    """Class names by the file's ids."""
    match data.source:
        case CocoSource():
            assert place.annotations is not None
            return coco_categories(place.annotations)
        case VocSource():
            return dict(enumerate(voc_classes(place), start=1))
        case FolderSource(class_pattern=pattern):
            return dict(enumerate(folder_classes(place.pictures, pattern)))
        case Cifar10Source():
            return dict(enumerate(CIFAR10))
        case TransferSource():
            return dict(enumerate(transfer_classes(data.source, place.pictures, split)))
        case DigitsSource() | DigitScenesSource():
            return dict(enumerate(DIGITS))
        case _:
            assert_never(data.source)


def _read(data: DataSpec, place: Place, split: Split, classes: tuple[str, ...]) -> Records:
    match data.source:
        case DigitScenesSource() | CocoSource():
            fetch(data, (split,))
            assert place.annotations is not None
            return read_coco(place.annotations, place.pictures, classes)
        case VocSource(keep_difficult=keep_difficult):
            return read_voc(place, keep_difficult, classes)
        case DigitsSource():
            return read_digits(split, classes)
        case FolderSource(class_pattern=pattern):
            return read_folder(place.pictures, pattern, classes)
        case Cifar10Source(download=download):
            return read_cifar10(place.pictures, split, classes, download)
        case TransferSource():
            return read_transfer_set(data.source, place.pictures, split, classes)
        case _:
            assert_never(data.source)
