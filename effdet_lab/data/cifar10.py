"""CIFAR-10 from its own archive, or its pictures as folders."""

from pathlib import Path

import numpy as np
from torchvision.datasets import CIFAR10
from torchvision.datasets.utils import check_integrity

from effdet_lab.data.classes import labels_of
from effdet_lab.data.folder import read_folder
from effdet_lab.data.pictures import PictureArray
from effdet_lab.data.places import CIFAR10_ARCHIVE, CIFAR10_FOLDER, Split
from effdet_lab.data.splits import ClassificationRecords
from effdet_lab.errors import DataError


def read_cifar10(place: Path, split: Split, classes: tuple[str, ...], download: bool = False) -> ClassificationRecords:
    """One split; the official test pictures are for evaluation.

    Raises: DataError if the archive is broken or cannot be fetched.
    """
    if place.name not in (CIFAR10_FOLDER, CIFAR10_ARCHIVE):
        return read_folder(place, classes=classes)
    unpack_cifar10(place, download)
    try:
        official = CIFAR10(str(place.parent), train=split == "train")
    except RuntimeError:
        raise DataError(f"{place.parent / CIFAR10_FOLDER}: its files are not CIFAR-10's (another checksum).") from None
    label_of = labels_of(official.classes, classes, str(place))
    pictures = PictureArray.of(f"cifar10-{split}", official.data)
    return ClassificationRecords.of(pictures, label_of[np.array(official.targets)], classes, size=(32, 32))


def unpack_cifar10(place: Path, download: bool) -> None:
    """Fetch the archive if allowed, check it, unpack it."""
    if place.name != CIFAR10_ARCHIVE:
        return
    if place.exists() and not check_integrity(str(place), CIFAR10.tgz_md5):
        raise DataError(f"{place}: is not CIFAR-10's archive, or only part of it: its checksum is another.")
    assert place.exists() or download, "locate gives an archive that is not there only where it may be fetched"
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        CIFAR10(str(place.parent), download=True)  # an archive that is there is only unpacked
    except (OSError, RuntimeError) as error:
        raise DataError(f"data.download=true: CIFAR-10 could not be fetched from {CIFAR10.url} ({error}).") from None
