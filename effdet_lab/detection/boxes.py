"""Boxes: areas, overlaps, the offsets between boxes and anchors, and the way back to the file.

Every box is float32 x1 y1 x2 y2 in pixels of one frame; leading dimensions (...) are free.

B batch, N M boxes
"""

import torch
from torch import Tensor

SMALLEST_SIDE = 1e-7  # pixels; keeps a flat box's logarithm finite. Source: rwightman/efficientdet-pytorch box_coder.py
SMALLEST_UNION = 1e-9  # square pixels; two flat boxes overlap by nothing


def area_N(boxes_N4: Tensor) -> Tensor:
    """Width times height.

    Shapes: (..., N, 4) -> (..., N).
    """
    left, top, right, bottom = boxes_N4.unbind(-1)
    return (right - left) * (bottom - top)


def planes_5N(boxes_N4: Tensor) -> Tensor:
    """Left, top, right, bottom and area, each contiguous: broadcasting strided columns is several times slower.

    Shapes: (..., N, 4) -> (5, ..., N).
    """
    return torch.stack([*boxes_N4.unbind(-1), area_N(boxes_N4)])


def iou_of_planes(planes_5N: Tensor, others_5N: Tensor) -> Tensor:
    """Intersection over union in [0, 1] of boxes laid side by side or broadcast; without gradient, as it saves memory.

    Shapes: (5, ...) and (5, ...), as `planes_5N` makes them -> the shape they broadcast to, without the 5.
    """
    left, top, right, bottom, area = planes_5N
    lefts, tops, rights, bottoms, areas = others_5N
    width = torch.minimum(right, rights).sub_(torch.maximum(left, lefts)).clamp_(min=0)
    height = torch.minimum(bottom, bottoms).sub_(torch.maximum(top, tops)).clamp_(min=0)
    shared = height.mul_(width)
    union = (area + areas).sub_(shared).clamp_(min=SMALLEST_UNION)
    return shared.div_(union)


def iou_NM(boxes_N4: Tensor, others_M4: Tensor) -> Tensor:
    """Intersection over union of every pair, in [0, 1]; without gradient.

    Shapes: (..., N, 4) and (..., M, 4), whose leading dimensions broadcast -> (..., N, M).
    """
    return iou_of_planes(planes_5N(boxes_N4.unsqueeze(-2)), planes_5N(others_M4.unsqueeze(-3)))


def _centres_and_sides(boxes_N4: Tensor) -> tuple[Tensor, Tensor]:
    """Both (..., N, 2), y before x as the offsets are."""
    low_N2, high_N2 = boxes_N4[..., [1, 0]], boxes_N4[..., [3, 2]]
    return (low_N2 + high_N2) / 2, high_N2 - low_N2


def encode(boxes_N4: Tensor, anchors_N4: Tensor) -> Tensor:
    """Offsets (dy, dx, log dh, log dw) that move each anchor onto its box, without variances.

    Source: Ren et al., Faster R-CNN (2015), equation 2; the order y before x as in google/automl.
    Units: pixels in; the offsets are fractions of the anchor's sides and logarithms of ratios.
    """
    centre_N2, side_N2 = _centres_and_sides(boxes_N4)
    anchor_centre_N2, anchor_side_N2 = _centres_and_sides(anchors_N4)
    shift_N2 = (centre_N2 - anchor_centre_N2) / anchor_side_N2
    stretch_N2 = (side_N2.clamp(min=SMALLEST_SIDE) / anchor_side_N2).log()
    return torch.cat([shift_N2, stretch_N2], dim=-1)


def decode(deltas_N4: Tensor, anchors_N4: Tensor) -> Tensor:
    """The boxes that the offsets make of the anchors: the inverse of `encode`.

    The exponential is not clamped, so the sides of a wild prediction may be infinite; `clip` brings them back.
    """
    anchor_centre_N2, anchor_side_N2 = _centres_and_sides(anchors_N4)
    shift_N2, stretch_N2 = deltas_N4.split(2, dim=-1)
    centre_N2 = shift_N2 * anchor_side_N2 + anchor_centre_N2
    half_N2 = stretch_N2.exp() * anchor_side_N2 / 2
    return torch.cat([(centre_N2 - half_N2).flip(-1), (centre_N2 + half_N2).flip(-1)], dim=-1)


def clip(boxes_N4: Tensor, height: Tensor | float, width: Tensor | float) -> Tensor:
    """Boxes moved inside a frame.

    Shapes: height and width broadcast over (..., N): numbers, or (B, 1) for the boxes (B, N, 4) of a batch.
    """
    sides = (torch.as_tensor(side, dtype=boxes_N4.dtype, device=boxes_N4.device) for side in (width, height))
    return boxes_N4.clamp(min=0).minimum(torch.stack([*sides] * 2, dim=-1))


def to_file_frame(boxes_N4: Tensor, scale_N: Tensor, file_size_N2: Tensor) -> Tensor:
    """Boxes of letterboxed inputs (each picture lies top left) in pixels of their files, and inside them.

    Shapes: scales (..., N) and file sizes (..., N, 2), height before width, broadcast over the boxes (..., N, 4).
    """
    height_N, width_N = file_size_N2.unbind(-1)
    return clip(boxes_N4 / scale_N.unsqueeze(-1), height_N, width_N)
