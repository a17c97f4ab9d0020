"""The data sets that EfficientNet was transferred to, read as their authors release them, with the official splits.

I pictures
"""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torchvision.datasets import CIFAR100, FGVCAircraft, Flowers102, Food101, OxfordIIITPet, StanfordCars

from effdet_lab.data.classes import labels_of
from effdet_lab.data.folder import folder_classes, read_folder
from effdet_lab.data.pictures import PictureArray, PictureFiles, Pictures
from effdet_lab.data.places import Split
from effdet_lab.data.releases import RELEASES
from effdet_lab.data.splits import ClassificationRecords
from effdet_lab.errors import DataError
from effdet_lab.spec import TransferName, TransferSource

# torchvision's readers of files, and which of their parts train; source of the parts: EfficientNet, table 6.
READERS: dict[TransferName, tuple[Any, tuple[str, ...]]] = {
    "stanford_cars": (StanfordCars, ("train",)),
    "flowers102": (Flowers102, ("train", "val")),
    "fgvc_aircraft": (FGVCAircraft, ("trainval",)),
    "oxford_pets": (OxfordIIITPet, ("trainval",)),
    "food101": (Food101, ("train",)),
}
BIRDSNAP_PICTURES = ("download/images", "images")  # where get_birdsnap.py puts them; source: its --output_dir


class Official(NamedTuple):
    """One split with its classes in the order of the release."""

    pictures: Pictures
    labels: Sequence[int]
    class_names: tuple[str, ...]


def read_transfer_set(
    source: TransferSource, place: Path, split: Split, classes: tuple[str, ...]
) -> ClassificationRecords:
    """One split; the official test split is for evaluation.

    Raises: DataError if the files are not those of the release.
    """
    if place.name != RELEASES[source.name].folder:
        return read_folder(place, classes=classes)
    pictures, labels, names = _official(source.name, place, split)
    return ClassificationRecords.of(pictures, labels_of(names, classes, str(place))[labels], classes)


def transfer_classes(source: TransferSource, place: Path, split: Split) -> tuple[str, ...]:
    """The class names in the order of the release; of class folders sorted."""
    if place.name != RELEASES[source.name].folder:
        return folder_classes(place)
    return _official(source.name, place, split).class_names


def fetch_transfer_set(source: TransferSource, place: Path, split: Split) -> None:
    """Fetch what is not there, if allowed; an archive that lies where torchvision would put it is only unpacked.

    Raises: DataError if it cannot be fetched.
    """
    release = RELEASES[source.name]
    if place.name != release.folder or not (source.download and release.lacking(place, split)):
        return
    kind = CIFAR100 if source.name == "cifar100" else READERS[source.name][0]
    try:
        kind(str(place.parent), download=True)
    except Exception as error:  # the network, archives and readers raise many kinds
        raise DataError(f"data.download=true: {release.title} could not be fetched ({error}).") from None


def _official(name: TransferName, place: Path, split: Split) -> Official:
    """What the release's reader reads, checked."""
    title = RELEASES[name].title
    try:
        official = _read(name, place, split)
        labels = np.array(official.labels, dtype=np.int64)
    except Exception as error:  # readers and parsers raise many kinds
        reason = " ".join(str(error).split())
        raise DataError(f"{place}: is not {title} as it is released ({type(error).__name__}: {reason}).") from None
    count = len(official.class_names)
    if not len(labels):
        raise DataError(f"{place}: lists no picture of the {split} split, which {title} has.")
    if not 0 <= labels.min() <= labels.max() < count:
        raise DataError(
            f"{place}: labels run from {labels.min() + 1} to {labels.max() + 1}, but {count} classes have names."
        )
    return official._replace(labels=labels)


def _read(name: TransferName, place: Path, split: Split) -> Official:
    root = str(place.parent)
    if name == "cifar100":
        official = CIFAR100(root, train=split == "train")
        return Official(PictureArray.of(f"cifar100-{split}", official.data), official.targets, tuple(official.classes))
    if name == "birdsnap":
        return _read_birdsnap(place, split)
    kind, training_parts = READERS[name]
    parts = [kind(root, split=part) for part in (training_parts if split == "train" else ("test",))]
    found = [item for part in parts for item in _items(part)]
    pictures = PictureFiles.of(place, [str(Path(file).relative_to(place)) for file, _ in found])
    return Official(pictures, [label for _, label in found], tuple(parts[0].classes))


def _items(official: Any) -> list[tuple[str | Path, int]]:
    """Files and labels of one part; torchvision has no public name for them."""
    if isinstance(official, StanfordCars):
        return official._samples
    files = official._images if isinstance(official, OxfordIIITPet) else official._image_files
    return list(zip(files, official._labels, strict=True))


def _read_birdsnap(place: Path, split: Split) -> Official:
    """By its own lists: all pictures but the test ones train."""
    species = {int(row["id"]): row["common"] for row in _table(place / "species.txt")}
    tested = {row["path"] for row in _table(place / "test_images.txt")}
    listed = [row for row in _table(place / "images.txt") if (row["path"] in tested) == (split == "val")]
    label = {number: index for index, number in enumerate(sorted(species))}
    folder = next((place / name for name in BIRDSNAP_PICTURES if (place / name).is_dir()), place)
    return Official(
        pictures=PictureFiles.of(folder, [row["path"] for row in listed]),
        labels=[label[int(row["species_id"])] for row in listed],
        class_names=tuple(species[number] for number in sorted(species)),
    )


def _table(path: Path) -> list[dict[str, str]]:
    """Lines of fields between tabs; the first one names them."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
