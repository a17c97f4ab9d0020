"""Where a data set's files lie. No torch and no pictures here: a missing folder is refused at once."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, assert_never

from effdet_lab.data.releases import RELEASES
from effdet_lab.data.wording import listed, nearest
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
)

Split = Literal["train", "val"]

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
SPLIT_NAMES: dict[Split, tuple[str, ...]] = {
    "train": ("train", "train2017", "train2014"),
    "val": ("val", "val2017", "val2014", "valid", "validation", "test"),
}
CIFAR10_FOLDER = "cifar-10-batches-py"
CIFAR10_ARCHIVE = "cifar-10-python.tar.gz"
DIGIT_SCENES_ANNOTATIONS = "annotations/instances_{split}.json"


@dataclass(frozen=True)
class Place:
    """The files of one split."""

    pictures: Path  # their folder; or the folder of a data set as it is released, or CIFAR-10's archive
    annotations: Path | None = None  # COCO's JSON or VOC's list of names; None where the folders tell the class


Places = dict[Split, Place]


class _Absent(Exception):
    """What is not there, as a sentence."""


def splits_of(spec: ExperimentSpec) -> tuple[Split, ...]:
    """The splits of the data set that the task reads; folds are cut from the training one."""
    if spec.data.is_cut:
        return ("train",)
    return ("val",) if spec.task == "evaluate" else ("train", "val")


def locate(data: DataSpec, splits: tuple[Split, ...] = ("train", "val")) -> Places:
    """Where the wanted splits lie; relative paths count from `data.root`.

    Raises: DataError with everything that is missing.
    """
    if isinstance(data.source, DigitsSource):
        return {split: Place(Path()) for split in splits}
    if not data.root:
        raise DataError(f"data.root: not set. data={data.name} needs the folder of the data set.")
    root = Path(data.root).expanduser()
    if isinstance(data.source, DigitScenesSource):
        return {split: Place(root / split, root / DIGIT_SCENES_ANNOTATIONS.format(split=split)) for split in splits}
    if not root.is_dir() and not _may_be_fetched(data.source):
        raise DataError(absent("data.root", root))
    places: Places = {}
    problems: dict[str, None] = {}  # ordered, and both splits may lack the same thing
    for split in splits:
        try:
            places[split] = _place(root, data.source, split)
        except _Absent as absence:
            problems[str(absence)] = None
    if problems:
        raise DataError(problems)
    return places


def is_picture(path: Path) -> bool:
    """Whether the name is a picture's; hidden files are not."""
    return path.suffix.lower() in PICTURE_SUFFIXES and not path.name.startswith(".")


def absent(setting: str, path: Path, kind: str = "folder") -> str:
    """The sentence for a path that does not exist, with the nearest one that does."""
    missing = path
    while missing.parent != missing and not missing.parent.is_dir():
        missing = missing.parent
    parent = missing.parent
    if path.is_file():
        return f"{setting}={path}: is a file, not a folder."
    guess = nearest(missing.name, _names(parent))
    hint = f"Nearest: {parent / guess}." if guess else f"{parent} holds {_contents(parent)}."
    return f"{setting}={path}: no such {kind}. {hint}"


def _may_be_fetched(source: object) -> bool:
    if isinstance(source, TransferSource):
        return source.download and bool(RELEASES[source.name].fetched)
    return isinstance(source, Cifar10Source) and source.download


def _place(
    root: Path, source: CocoSource | VocSource | FolderSource | Cifar10Source | TransferSource, split: Split
) -> Place:
    match source:
        case CocoSource():
            return _coco(root, source, split)
        case VocSource():
            return _voc(root, source, split)
        case FolderSource():
            return Place(_class_folders(root, source, split))
        case Cifar10Source():
            return Place(_cifar10(root, source, split))
        case TransferSource():
            return Place(_released(root, source, split))
        case _:
            assert_never(source)


def _coco(root: Path, source: CocoSource, split: Split) -> Place:
    if split == "train":
        annotations, pictures = source.train_annotations, source.train_images
    else:
        annotations, pictures = source.val_annotations, source.val_images
    if annotations:
        file = root / annotations
        if not file.is_file():
            raise _Absent(absent(f"data.{split}_annotations", file, kind="file"))
    else:
        file = _first(_usual_coco_files(root, split), Path.is_file)
        if file is None:
            raise _Absent(
                f"data.root={root}: no annotations/instances_{split}.json below it, nor instances_{split}2017.json. "
                f"data.{split}_annotations names another file. {root} holds {_contents(root)}."
            )
    if pictures:
        folder = root / pictures
        if not folder.is_dir():
            raise _Absent(absent(f"data.{split}_images", folder))
    else:
        folder = _first(_usual_coco_folders(root, file, split), Path.is_dir)
        if folder is None:
            raise _Absent(
                f"data.root={root}: no picture folder {split}, {split}2017 or images for {file}. "
                f"data.{split}_images names another. {root} holds {_contents(root)}."
            )
    return Place(folder, file)


def _usual_coco_files(root: Path, split: Split) -> Iterator[Path]:
    for name in SPLIT_NAMES[split]:
        yield root / "annotations" / f"instances_{name}.json"
    for name in SPLIT_NAMES[split]:
        yield root / "annotations" / f"{name}.json"
        yield root / name / "_annotations.coco.json"
    if split == "val":
        yield root / "annotations.json"  # a lone file is for evaluation


def _usual_coco_folders(root: Path, annotations: Path, split: Split) -> Iterator[Path]:
    if annotations.name == "_annotations.coco.json":
        yield annotations.parent
    said = annotations.stem.removeprefix("instances_")
    for name in dict.fromkeys((said, *SPLIT_NAMES[split])):
        yield root / name
        yield root / "images" / name
    yield root / "images"


def _voc(root: Path, source: VocSource, split: Split) -> Place:
    homes = sorted(path.parents[1] for pattern in ("", "*/", "*/*/") for path in root.glob(f"{pattern}ImageSets/Main"))
    if not homes:
        raise _Absent(
            f"data.root={root}: no ImageSets/Main below it, which a Pascal VOC data set has. "
            f"{root} holds {_contents(root)}."
        )
    if len(homes) > 1:
        raise _Absent(
            f"data.root={root}: several data sets below it. Choose one: {listed([str(home) for home in homes])}."
        )
    home = homes[0]
    lists = home / "ImageSets" / "Main"
    wanted = source.train_split if split == "train" else source.val_split
    names = lists / f"{wanted}.txt"
    missing = [name for name in ("Annotations", "JPEGImages") if not (home / name).is_dir()]
    if missing:
        raise _Absent(f"data.root={root}: no folder {listed(missing)} in {home}, which a Pascal VOC data set has.")
    if not names.is_file():
        known = sorted(path.stem for path in lists.glob("*.txt"))
        raise _Absent(f"data.{split}_split={wanted}: no {names}. The lists there: {listed(known)}.")
    return Place(home / "JPEGImages", names)


def _class_folders(root: Path, source: FolderSource, split: Split) -> Path:
    named = source.train_folder if split == "train" else source.val_folder
    if named:
        if not (root / named).is_dir():
            raise _Absent(absent(f"data.{split}_folder", root / named))
        return root / named
    found = [
        folder
        for base in (root, *sorted(path for path in root.iterdir() if path.is_dir()))
        if (folder := _first((base / name for name in SPLIT_NAMES[split]), Path.is_dir))
    ]
    if found and (found[0].parent == root or len(found) == 1):
        return found[0]
    if found:
        raise _Absent(
            f"data.root={root}: several folders could be the {split} split. "
            f"data.{split}_folder names the right one of {listed([str(folder) for folder in found])}."
        )
    if source.class_pattern and split == "val" and any(map(is_picture, root.iterdir())):
        return root  # a lone flat folder is for evaluation
    raise _Absent(
        f"data.root={root}: no folder {split} in it, nor one level below. It holds {_contents(root)}. "
        f"data.{split}_folder names another."
    )


def _cifar10(root: Path, source: Cifar10Source, split: Split) -> Path:
    folders = {"train": ("train",), "val": ("test", "val")}[split]
    usual = (root / CIFAR10_FOLDER, root / CIFAR10_ARCHIVE, *(root / name for name in folders))
    found = _first(usual, Path.exists)
    if found is None and not source.download:
        raise _Absent(
            f"data.root={root}: no {CIFAR10_FOLDER}, {CIFAR10_ARCHIVE} or folder {folders[0]} in it. "
            "data.download=true fetches the archive (170 MB)."
        )
    return found or root / CIFAR10_ARCHIVE


def _released(root: Path, source: TransferSource, split: Split) -> Path:
    release = RELEASES[source.name]
    folders = {"train": ("train",), "val": ("test", "val")}[split]
    found = _first((root / name for name in (release.folder, *folders)), Path.is_dir)
    if found is None and root.name == release.folder:
        found = root
    if _may_be_fetched(source):
        return found or root / release.folder
    if found is None:
        fetching = f"data.download=true fetches it ({release.fetched})." if release.fetched else release.otherwise
        raise _Absent(
            f"data.root={root}: no {release.folder} in it, as {release.title} is released, nor train and test "
            f"with one folder a class. It holds {_contents(root)}. {fetching}"
        )
    if found.name == release.folder and (lacking := release.lacking(found, split)):
        raise _Absent(
            f"data.root={root}: no {listed(lacking)} in {found}, which {release.title} has. "
            f"It holds {_contents(found)}."
        )
    return found


def _first(paths: Iterable[Path], holds: Callable[[Path], bool]) -> Path | None:
    return next((path for path in paths if holds(path)), None)


def _names(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    except OSError:
        return []


def _contents(folder: Path) -> str:
    return listed(_names(folder))
