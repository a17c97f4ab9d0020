"""Handwritten digits on soft backgrounds, drawn once and kept as a COCO data set: detection without a download.

H W size of a canvas
"""

import json
import logging
import os
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
from PIL import Image

from effdet_lab.classes import DIGITS
from effdet_lab.data.digits import handwritten
from effdet_lab.data.places import DIGIT_SCENES_ANNOTATIONS, Split
from effdet_lab.errors import DataError
from effdet_lab.spec import DigitScenesSource

MARKER = "digit_scenes.json"  # what the folder was drawn with
EDITION = 1  # raise it when the drawing changes, so that old folders are drawn anew
EMPTY = 0.05  # share of pictures without a digit
COUNTS = (2, 8)  # digits of the others
HEIGHTS = (0.125, 0.375)  # of a digit, in canvas sides: 16 to 48 pixels of 128
OVERLAP = 0.1  # intersection over union that two digits stay below
TRIES = 40  # places tried for one digit
CONTRAST = 90  # brightness between ink and background, of 255
INKED = 0.25  # from here on a pixel is ink, and the box holds it
LUMA = np.array([0.299, 0.587, 0.114])

log = logging.getLogger("effdet_lab")


def draw_scenes(root: Path, source: DigitScenesSource) -> None:
    """Fill the folder unless it already holds these very scenes; it is whole or it is not there.

    Raises: DataError if something else lies in the folder.
    """
    settings = {"edition": EDITION, **asdict(source), "canvas": list(source.canvas)}
    if _settings_of(root) == settings:
        return
    if root.exists() and any(root.iterdir()) and _settings_of(root) is None:
        raise DataError(f"data.root={root}: holds other files. data=digit_scenes needs a folder of its own.")
    log.info("Drawing %d scenes of handwritten digits in %s.", source.train_images + source.val_images, root)
    drawing = root.with_name(f".{root.name}-{os.getpid()}")
    try:
        shutil.rmtree(drawing, ignore_errors=True)
        for split in ("train", "val"):
            _draw_split(drawing, split, source)
        (drawing / MARKER).write_text(json.dumps(settings))
        _put_in_place(drawing, root, settings)
    finally:
        shutil.rmtree(drawing, ignore_errors=True)


def _put_in_place(drawing: Path, root: Path, settings: dict) -> None:
    old = root.with_name(f".{root.name}-old-{os.getpid()}")
    if root.exists() and _settings_of(root) != settings:
        os.replace(root, old)
    try:
        os.replace(drawing, root)
    except OSError:
        if _settings_of(root) != settings:  # else another process was faster, with the same bytes
            raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def _settings_of(root: Path) -> dict | None:
    try:
        return json.loads((root / MARKER).read_text())
    except (OSError, ValueError):
        return None


def _draw_split(folder: Path, split: Split, source: DigitScenesSource) -> None:
    (folder / split).mkdir(parents=True)
    ink, labels = handwritten(split)
    height, width = source.canvas
    images, annotations = [], []
    for number in range(1, (source.train_images if split == "train" else source.val_images) + 1):
        random = np.random.default_rng((source.seed, split == "val", number))
        picture_HW3, boxes, chosen = draw_scene(random, ink, source.canvas)
        name = f"{number:05d}.png"
        Image.fromarray(picture_HW3).save(folder / split / name, compress_level=1)
        images.append({"id": number, "file_name": name, "height": height, "width": width})
        for (x1, y1, x2, y2), digit in zip(boxes, chosen, strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": int(labels[digit]),
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1),
                    "iscrowd": 0,
                }
            )
    categories = [{"id": number, "name": name} for number, name in enumerate(DIGITS)]
    file = folder / DIGIT_SCENES_ANNOTATIONS.format(split=split)
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))


def draw_scene(
    random: np.random.Generator, ink: np.ndarray, canvas: tuple[int, int]
) -> tuple[np.ndarray, list[tuple[int, int, int, int]], list[int]]:
    """A picture (H, W, 3), the tight boxes x1 y1 x2 y2, and which of the digits `ink` each one is."""
    picture_HW3 = _background(random, canvas)
    boxes: list[tuple[int, int, int, int]] = []
    chosen: list[int] = []
    count = 0 if random.random() < EMPTY else int(random.integers(COUNTS[0], COUNTS[1] + 1))
    for _ in range(count):
        digit = int(random.integers(len(ink)))
        height = round(min(canvas) * random.uniform(*HEIGHTS))
        alpha_HW = _enlarged(ink[digit], height)
        box = _free_place(random, alpha_HW.shape, canvas, boxes)
        if box is not None:
            x1, y1, x2, y2 = box
            spot_HW3 = picture_HW3[y1:y2, x1:x2]
            colour = _ink_colour(random, float(spot_HW3.mean(axis=(0, 1)) @ LUMA))
            spot_HW3 += alpha_HW[..., None] * (colour - spot_HW3)
            boxes.append(box)
            chosen.append(digit)
    picture_HW3 += random.normal(0, 3, picture_HW3.shape)
    return np.clip(np.rint(picture_HW3), 0, 255).astype(np.uint8), boxes, chosen


def _background(random: np.random.Generator, canvas: tuple[int, int]) -> np.ndarray:
    """A gradient between two soft colours, in any direction, with a few wide clouds."""
    height, width = canvas
    base = random.uniform(40, 215)
    near, far = (np.clip(base + random.uniform(-25, 25, 3) + random.uniform(-20, 20), 15, 240) for _ in range(2))
    angle = random.uniform(0, 2 * np.pi)
    y_H1, x_1W = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)[None]
    share_HW = 0.5 + 0.35 * (np.cos(angle) * x_1W + np.sin(angle) * y_H1)
    clouds = Image.fromarray(random.normal(0, 8, (4, 4)).astype(np.float32))
    clouds_HW = np.asarray(clouds.resize((width, height), Image.Resampling.BICUBIC))
    return near + (far - near) * share_HW[..., None] + clouds_HW[..., None]


def _enlarged(ink: np.ndarray, height: int) -> np.ndarray:
    """One digit's ink from 0 to 1, enlarged and cut to what is ink."""
    rows, columns = ink.any(axis=1), ink.any(axis=0)
    # A margin, so that strokes at the rim are round, too.
    framed = Image.fromarray(np.pad(ink[np.ix_(rows, columns)], 1).astype(np.float32))
    scale = height / rows.sum()
    size = max(1, round(framed.width * scale)), max(1, round(framed.height * scale))
    alpha_HW = np.clip(1.6 * np.asarray(framed.resize(size, Image.Resampling.BICUBIC)) - 0.2, 0, 1)
    inked_HW = alpha_HW >= INKED
    return alpha_HW[np.ix_(inked_HW.any(axis=1), inked_HW.any(axis=0))]


def _free_place(
    random: np.random.Generator, size: tuple[int, int], canvas: tuple[int, int], boxes: list[tuple[int, int, int, int]]
) -> tuple[int, int, int, int] | None:
    height, width = size
    if height > canvas[0] or width > canvas[1]:
        return None
    for _ in range(TRIES):
        y, x = int(random.integers(canvas[0] - height + 1)), int(random.integers(canvas[1] - width + 1))
        box = (x, y, x + width, y + height)
        if all(_overlap(box, other) < OVERLAP for other in boxes):
            return box
    return None


def _overlap(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> float:
    shared = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def _ink_colour(random: np.random.Generator, background: float) -> np.ndarray:
    """Grey or coloured, and far enough from the background's brightness to be read."""
    lighter = background < 128
    low, high = (background + CONTRAST, 255) if lighter else (0, background - CONTRAST)
    brightness = random.uniform(low, high)
    if random.random() < 0.4:
        return np.full(3, brightness)
    colour = random.uniform(0, 255, 3)
    return np.clip(colour + brightness - colour @ LUMA, 0, 255)
