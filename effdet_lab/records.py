"""The records that travel: data -> model -> detection -> metrics. Named tuples, so loaders and devices move them.

B batch, C channels, H W size, N boxes of a picture, M boxes padded to the most in a batch, A anchors, K classes,
D detections
"""

from typing import NamedTuple

from torch import Tensor


class Sample(NamedTuple):
    """One picture with its boxes, both in the same frame."""

    image_CHW: Tensor  # uint8, RGB
    boxes_N4: Tensor  # float32, x1 y1 x2 y2 in pixels of image_CHW
    labels_N: Tensor  # int64, from 0
    image_id: int
    scale: float  # pixels of image_CHW per pixel of the file
    file_size: tuple[int, int]  # height and width of the file after its EXIF turn


class DetectionBatch(NamedTuple):
    """Letterboxed pictures of one size; the picture lies top left."""

    images_BCHW: Tensor  # uint8
    boxes_BM4: Tensor  # float32, x1 y1 x2 y2 in input pixels; zeros pad
    labels_BM: Tensor  # int64; -1 pads
    image_id_B: Tensor  # int64
    scale_B: Tensor  # float32, input pixels per file pixel
    file_size_B2: Tensor  # int64, height and width of the file


class ClassificationBatch(NamedTuple):
    """Pictures with one label each."""

    images_BCHW: Tensor  # uint8
    labels_B: Tensor  # int64; -1 where unknown
    image_id_B: Tensor  # int64, the index in its split


class RawDetections(NamedTuple):
    """What the heads say; anchors ordered level, y, x, anchor."""

    class_logits_BAK: Tensor
    box_deltas_BA4: Tensor  # dy, dx, log dh, log dw


class Targets(NamedTuple):
    """What each anchor should say."""

    labels_BA: Tensor  # int64; -1 background
    box_deltas_BA4: Tensor  # zeros where background


class LossTerms(NamedTuple):
    """Scalars, before the box term's weight."""

    class_loss: Tensor
    box_loss: Tensor


class Detections(NamedTuple):
    """The detections of any number of pictures, flat; within a picture by falling score."""

    image_id_D: Tensor  # int64
    boxes_D4: Tensor  # float32, x1 y1 x2 y2 in pixels of the file
    scores_D: Tensor  # float32
    labels_D: Tensor  # int64, from 0
