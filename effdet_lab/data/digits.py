"""Handwritten digits that come with scikit-learn: real, small, no download.

Source: Alpaydin and Kaynak, Optical Recognition of Handwritten Digits (UCI, 1998): 1797 pictures of 8 by 8 pixels.
"""

from functools import cache

import numpy as np

from effdet_lab.classes import DIGITS
from effdet_lab.data.classes import labels_of
from effdet_lab.data.pictures import PictureArray
from effdet_lab.data.places import Split
from effdet_lab.data.splits import ClassificationRecords

HELD_OUT = 5  # every fifth digit is for evaluation
DARKEST = 16  # the pictures' largest value


@cache
def handwritten(split: Split) -> tuple[np.ndarray, np.ndarray]:
    """Ink from 0 to 1 (count, 8, 8) and labels; the splits share no digit."""
    from sklearn.datasets import load_digits  # a second to import

    images, labels = load_digits(return_X_y=True)
    held_out = np.arange(len(labels)) % HELD_OUT == HELD_OUT - 1
    chosen = held_out if split == "val" else ~held_out
    return images[chosen].reshape(-1, 8, 8) / DARKEST, labels[chosen].astype(np.int64)


def read_digits(split: Split, classes: tuple[str, ...] = DIGITS) -> ClassificationRecords:
    """White ink on black; the transform makes them larger."""
    ink, labels = handwritten(split)
    grey = np.rint(ink * 255).astype(np.uint8)
    pictures = PictureArray.of(f"digits-{split}", np.repeat(grey[..., None], 3, axis=-1))
    return ClassificationRecords.of(pictures, labels_of(DIGITS, classes, "data.classes")[labels], classes, size=(8, 8))
