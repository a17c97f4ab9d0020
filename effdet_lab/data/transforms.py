"""Pictures become the size the network wants; boxes move with their pixels.

All pictures are uint8 RGB tensors CHW, all sizes (height, width), all boxes x1 y1 x2 y2 in pixels.
Random numbers come from torch's own generator: the caller seeds it.

C channels, H W size, N boxes
"""

import math
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as F

from effdet_lab.spec import ClassificationAugment, Colour, DetectionAugment, Size

STILL_SEEN = 0.25  # share of a box that a crop must leave for it to be asked for
SMALLEST_BOX = 1.0  # pixels of the input; source: google/automl drops what has no area after clipping
CROP_ASPECT = (3 / 4, 4 / 3)  # source: tensorflow/tpu efficientnet/preprocessing.py
RANDAUGMENT_STEPS = 31  # magnitudes 0 to 30


class View(NamedTuple):
    """A picture ready for the network."""

    image_CHW: Tensor
    boxes_N4: Tensor
    labels_N: Tensor
    scale: float  # pixels of the view per pixel of the file


def fill_of(mean: Colour) -> tuple[int, int, int]:
    """The mean colour as a pixel: after normalisation it is 0.

    >>> fill_of((0.485, 0.456, 0.406))
    (124, 116, 104)
    """
    red, green, blue = (round(share * 255) for share in mean)
    return red, green, blue


def letterbox_size(file_size: Size, image_size: Size) -> tuple[float, Size]:
    """The scale that fits the picture into the input, and its size then, rounded down.

    Source: google/automl efficientdet/dataloader.py, set_scale_factors_to_output_size.
    """
    (height, width), (input_height, input_width) = file_size, image_size
    scale = min(input_height / height, input_width / width)
    return scale, (max(1, int(height * scale)), max(1, int(width * scale)))


def fit(image_CHW: Tensor, image_size: Size) -> Tensor:
    """The picture at its letterbox size, without the border."""
    _, size = letterbox_size((image_CHW.shape[1], image_CHW.shape[2]), image_size)
    return resize(image_CHW, size)


def letterbox(
    fitted_CHW: Tensor,
    boxes_N4: Tensor,
    labels_N: Tensor,
    file_size: Size,
    image_size: Size,
    fill: tuple[int, int, int],
) -> View:
    """A fitted picture in the top left corner, its boxes (pixels of the file) moved along."""
    scale, _ = letterbox_size(file_size, image_size)
    boxes_N4, keep_N = _clip(boxes_N4 * scale, image_size)
    return View(paste(fitted_CHW, image_size, fill), boxes_N4[keep_N], labels_N[keep_N], scale)


def augment_detection(
    image_CHW: Tensor,
    boxes_N4: Tensor,
    labels_N: Tensor,
    image_size: Size,
    fill: tuple[int, int, int],
    augment: DetectionAugment,
) -> View:
    """Random size, crop, mirror and colours, in the top left corner.

    Source: google/automl efficientdet/dataloader.py: scale jitter with a random crop, then a flip.
    """
    zoom = float(torch.empty(()).uniform_(*augment.scale))
    share_y, share_x = torch.rand(2).tolist()
    image_CHW, boxes_N4, keep_N, scale = zoom_crop(image_CHW, boxes_N4, image_size, zoom, (share_y, share_x))
    if torch.rand(()) < augment.flip:
        image_CHW, boxes_N4 = flip(image_CHW, boxes_N4)
    if augment.colour:
        image_CHW = v2.ColorJitter(augment.colour, augment.colour, augment.colour)(image_CHW)
    return View(paste(image_CHW, image_size, fill), boxes_N4[keep_N], labels_N[keep_N], scale)


def zoom_crop(
    image_CHW: Tensor, boxes_N4: Tensor, image_size: Size, zoom: float, share: tuple[float, float]
) -> tuple[Tensor, Tensor, Tensor, float]:
    """The picture `zoom` times its letterbox size, cut to the input where it is larger; `share` says where.

    Gives picture, clipped boxes, which of them are still seen, and the scale. Pixels that are cut away are never
    resized: the cut is made in the file's pixels and boxes follow it exactly.
    """
    height, width = image_CHW.shape[1:]
    scale = zoom * min(image_size[0] / height, image_size[1] / width)
    top, cut_height, new_height = _window(height, image_size[0], scale, share[0])
    left, cut_width, new_width = _window(width, image_size[1], scale, share[1])
    cut_CHW = image_CHW[:, top : top + cut_height, left : left + cut_width]
    factor = torch.tensor([new_width / cut_width, new_height / cut_height]).repeat(2)
    inside_N4, _ = _clip(boxes_N4, (height, width))
    moved_N4 = (inside_N4 - torch.tensor([left, top, left, top])) * factor
    clipped_N4, keep_N = _clip(moved_N4, (new_height, new_width))
    keep_N &= _area(clipped_N4) >= STILL_SEEN * _area(moved_N4)
    return resize(cut_CHW, (new_height, new_width)), clipped_N4, keep_N, scale


def _window(extent: int, wanted: int, scale: float, share: float) -> tuple[int, int, int]:
    """First pixel and length of the cut in the file, and its length in the input."""
    scaled = max(1, int(extent * scale))
    if scaled <= wanted:
        return 0, extent, scaled
    length = min(extent, max(1, round(wanted / scale)))
    return int(share * (extent - length + 1)), length, wanted


def flip(image_CHW: Tensor, boxes_N4: Tensor) -> tuple[Tensor, Tensor]:
    """The mirror image."""
    x1_N, y1_N, x2_N, y2_N = boxes_N4.unbind(1)
    width = image_CHW.shape[2]
    return image_CHW.flip(2), torch.stack([width - x2_N, y1_N, width - x1_N, y2_N], dim=1)


def resize(image_CHW: Tensor, size: Size, interpolation: str = "bilinear") -> Tensor:
    """Smoothed where it shrinks; one kernel for training, evaluation and prediction."""
    if image_CHW.shape[1:] == size:
        return image_CHW
    return F.resize(image_CHW, list(size), InterpolationMode(interpolation), antialias=True)


def paste(image_CHW: Tensor, image_size: Size, fill: tuple[int, int, int]) -> Tensor:
    """The picture in the top left corner of one that has the input's size."""
    height, width = image_CHW.shape[1:]
    canvas_CHW = torch.empty((3, *image_size), dtype=torch.uint8)
    if (height, width) != image_size:
        canvas_CHW.copy_(torch.tensor(fill, dtype=torch.uint8)[:, None, None])
    canvas_CHW[:, :height, :width] = image_CHW
    return canvas_CHW


def training_view(augment: ClassificationAugment, image_size: Size, interpolation: str, mean: Colour) -> v2.Compose:
    """Random crop, mirror, then RandAugment on the small picture.

    Source: EfficientNet's preprocessing (tensorflow/tpu); RandAugment as torchvision has it, magnitudes 0 to 30.
    """
    steps = [
        v2.RandomResizedCrop(image_size, augment.crop_scale, CROP_ASPECT, InterpolationMode(interpolation)),
        v2.RandomHorizontalFlip(augment.flip),
    ]
    if augment.randaugment_layers:
        layers, magnitude = augment.randaugment_layers, augment.randaugment_magnitude
        # PIL changes a small picture several times faster than torch does.
        steps += [
            v2.ToPILImage(),
            v2.RandAugment(layers, magnitude, RANDAUGMENT_STEPS, fill=list(fill_of(mean))),
            v2.PILToTensor(),
        ]
    return v2.Compose(steps)


def centre_view(image_CHW: Tensor, image_size: Size, crop_fraction: float, interpolation: str) -> Tensor:
    """The centre of the picture, of which a square input sees `crop_fraction` of the shorter side.

    PIL resizes, and sizes round down, as in timm's evaluation: accuracies published with it repeat to the picture.
    """
    height, width = image_CHW.shape[1:]
    wanted = [math.floor(extent / crop_fraction) for extent in image_size]
    scale = max(wanted[0] / height, wanted[1] / width)
    size = [max(extent, int(side * scale + 1e-6)) for extent, side in zip(image_size, (height, width), strict=True)]
    picture = Image.fromarray(image_CHW.permute(1, 2, 0).numpy())
    resized = picture.resize((size[1], size[0]), Image.Resampling[interpolation.upper()])
    return F.center_crop(F.pil_to_tensor(resized), list(image_size)).contiguous()


def _clip(boxes_N4: Tensor, size: Size) -> tuple[Tensor, Tensor]:
    """The boxes inside a picture of this size, and which of them are still at least a pixel wide and high."""
    height, width = size
    clipped_N4 = boxes_N4.clamp(min=0).minimum(torch.tensor([width, height, width, height]))
    return clipped_N4, (clipped_N4[:, 2:] - clipped_N4[:, :2] >= SMALLEST_BOX).all(dim=1)


def _area(boxes_N4: Tensor) -> Tensor:
    return (boxes_N4[:, 2] - boxes_N4[:, 0]) * (boxes_N4[:, 3] - boxes_N4[:, 1])
