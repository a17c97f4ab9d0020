"""Boxes for the tests to answer about."""

import torch
from hypothesis import strategies as st
from torch import Tensor


def boxes_between(low: float, high: float, *, min_side: float = 1.0):
    """Boxes as tuples of eighths of a pixel, so that no sum of coordinates rounds."""
    corner = st.integers(int(low * 8), int((high - min_side) * 8)).map(lambda eighths: eighths / 8)

    def spread(start: tuple[float, float]):
        sides = st.tuples(*(st.integers(int(min_side * 8), int((high - c) * 8)) for c in start))
        return sides.map(lambda s: (start[0], start[1], start[0] + s[0] / 8, start[1] + s[1] / 8))

    return st.tuples(corner, corner).flatmap(spread)


def random_boxes(count: int, size: int, generator: torch.Generator, *, min_side: float = 4, max_side: float = 96):
    """Boxes (count, 4) whose centres lie in a square picture and whose corners stay inside it."""
    centre = torch.rand(count, 2, generator=generator) * size
    half = (min_side + torch.rand(count, 2, generator=generator) * (max_side - min_side)) / 2
    return torch.cat([centre - half, centre + half], dim=1).clamp(0, size)


def yxyx(boxes: Tensor) -> Tensor:
    """The order of the reference implementation, and back."""
    return boxes[..., [1, 0, 3, 2]]
