"""How the data sets that EfficientNet was transferred to lie on disk. No torch and no pictures here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from effdet_lab.spec import TransferName


@dataclass(frozen=True)
class Release:
    """A data set as its authors release it: what lies in its own folder."""

    title: str
    folder: str
    both: tuple[str, ...]  # what either split reads
    train: tuple[str, ...]
    val: tuple[str, ...]  # the official test split evaluates
    fetched: str  # how much `data.download=true` fetches; empty: nothing
    otherwise: str = ""  # what stands where nothing can be fetched

    def lacking(self, folder: Path, split: Literal["train", "val"]) -> list[str]:
        """What is not there of what a split reads."""
        own = self.train if split == "train" else self.val
        return [name for name in (*self.both, *own) if not (folder / name).exists()]


# Names of folders and files: torchvision.datasets; Birdsnap's: the readme.txt of its release 1.1.
RELEASES: dict[TransferName, Release] = {
    "cifar100": Release("CIFAR-100", "cifar-100-python", ("meta",), ("train",), ("test",), "170 MB"),
    "birdsnap": Release(
        title="Birdsnap",
        folder="birdsnap",
        both=("species.txt", "images.txt", "test_images.txt"),
        train=(),
        val=(),
        fetched="",
        otherwise="Its release has only the addresses of the pictures; its own get_birdsnap.py fetches them.",
    ),
    "stanford_cars": Release(
        title="Stanford Cars",
        folder="stanford_cars",
        both=("devkit/cars_meta.mat",),
        train=("devkit/cars_train_annos.mat", "cars_train"),
        val=("cars_test_annos_withlabels.mat", "cars_test"),
        fetched="",
        otherwise="Its official address is gone, so data.download cannot fetch it.",
    ),
    "flowers102": Release(
        "Oxford Flowers-102", "flowers-102", ("jpg", "imagelabels.mat", "setid.mat"), (), (), "345 MB"
    ),
    "fgvc_aircraft": Release(
        title="FGVC Aircraft",
        folder="fgvc-aircraft-2013b",
        both=("data/images", "data/variants.txt"),
        train=("data/images_variant_trainval.txt",),
        val=("data/images_variant_test.txt",),
        fetched="2.8 GB",
    ),
    "oxford_pets": Release(
        title="Oxford-IIIT Pets",
        folder="oxford-iiit-pet",
        both=("images",),
        train=("annotations/trainval.txt",),
        val=("annotations/test.txt",),
        fetched="810 MB",
    ),
    "food101": Release("Food-101", "food-101", ("images",), ("meta/train.json",), ("meta/test.json",), "5 GB"),
}
