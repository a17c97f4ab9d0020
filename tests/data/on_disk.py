"""Small data sets written to disk, whole or with one thing wrong."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import effdet_lab
from effdet_lab.spec import ExperimentSpec


def detector(*overrides: str) -> ExperimentSpec:
    """A detector's experiment at 64 pixels."""
    return effdet_lab.compose("model=efficientdet", "phi=-4", "logger=csv", "data.workers=0", *overrides)


def classifier(*overrides: str) -> ExperimentSpec:
    """A small classifier's experiment."""
    return effdet_lab.compose("model=efficientnet", "phi=-6", "logger=csv", "data.workers=0", *overrides)


def picture(path: Path, size: tuple[int, int] = (40, 60), seed: int = 0) -> Path:
    """A noisy picture of this height and width."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, quality=95)
    return path


def coco_content() -> dict[str, Any]:
    """Two pictures; the second has a crowd and no single object."""
    return {
        "images": [
            {"id": 7, "file_name": "a.jpg", "height": 40, "width": 60},
            {"id": 3, "file_name": "b.jpg", "height": 40, "width": 60},
        ],
        "annotations": [
            {"id": 1, "image_id": 3, "category_id": 4, "bbox": [0, 0, 60, 40], "iscrowd": 1, "area": 1000.5},
            {"id": 2, "image_id": 7, "category_id": 9, "bbox": [10.5, 5, 20, 30], "iscrowd": 0, "area": 512.25},
            {"id": 3, "image_id": 7, "category_id": 4, "bbox": [1, 2, 3, 4]},
        ],
        "categories": [{"id": 9, "name": "dog"}, {"id": 4, "name": "cat"}],
    }


def coco(root: Path, content: Any = None, splits: tuple[str, ...] = ("train", "val")) -> Path:
    """A COCO data set with the usual names."""
    content = coco_content() if content is None else content
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    for split in splits:
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
        for seed, name in enumerate(("a.jpg", "b.jpg")):
            picture(root / split / name, seed=seed)
    return root


def voc_object(name: str = "cat", box: tuple = (11, 6, 30, 35), difficult: int = 0) -> str:
    """One object's XML."""
    corners = "".join(f"<{c}>{v}</{c}>" for c, v in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
    return f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox>{corners}</bndbox></object>"


def voc(root: Path, objects: str | None = None, splits: tuple[str, ...] = ("train", "val")) -> Path:
    """A VOC data set, one picture a split."""
    objects = voc_object() + voc_object("dog", (1, 1, 60, 40), 1) if objects is None else objects
    for folder in ("ImageSets/Main", "Annotations"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    size = "<size><width>60</width><height>40</height></size>"
    for split in splits:
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text(f"{split}_1\n\n")
        text = f"<annotation><filename>{split}_1.jpg</filename>{size}{objects}</annotation>"
        (root / "Annotations" / f"{split}_1.xml").write_text(text)
        picture(root / "JPEGImages" / f"{split}_1.jpg")
    return root


def folders(
    root: Path, classes: tuple[str, ...] = ("ants", "bees"), splits: tuple[str, ...] = ("train", "val")
) -> Path:
    """Class folders, two pictures each."""
    for split in splits:
        for seed, name in enumerate(classes):
            picture(root / split / name / "1.jpg", seed=seed)
            picture(root / split / name / "2.png", size=(30, 30), seed=seed + 10)
    return root
