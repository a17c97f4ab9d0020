"""Whether another library's network gives the maps that a detector's anchors lie on.

C channels, H W image or feature size
"""

from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches

import torch
from torch import nn

from effdet_lab.errors import ConfigError
from effdet_lab.models.counting import meta_copy

# A detector pools P6 and P7 from these; finer maps come along where a network has them.
NEEDED_STRIDES = (8, 16, 32)


def extents_at(stride: int, image_size: tuple[int, int]) -> tuple[int, int]:
    """Height and width of a pyramid's map.

    >>> extents_at(32, (512, 520))
    (16, 17)
    """
    height, width = image_size
    return -(-height // stride), -(-width // stride)


def check_extents(backbone: nn.Module, setting: str, image_size: tuple[int, int], advice: str) -> None:
    """Runs the backbone without numbers on a picture of this height and width.

    Raises: ConfigError if it takes no such picture, or if a map that a detector needs has other extents.
    """
    height, width = image_size
    with torch.no_grad(), refusing_sizes(setting, image_size, advice):
        maps = meta_copy(backbone).eval().features(torch.empty(1, 3, height, width, device="meta"))
    for stride, map_BCHW in zip(backbone.strides, maps, strict=True):
        expected = extents_at(stride, image_size)
        if stride in NEEDED_STRIDES and tuple(map_BCHW.shape[2:]) != expected:
            found = "x".join(map(str, map_BCHW.shape[2:]))
            raise ConfigError(
                f"{setting}: its map of stride {stride} is {found} for pictures of {height}x{width}, "
                f"where the anchors lie on {expected[0]}x{expected[1]}. {advice}."
            )


@contextmanager
def refusing_sizes(setting: str, image_size: tuple[int, int], advice: str) -> Iterator[None]:
    """Turns what a network says of a picture's size into a sentence about the setting."""
    try:
        yield
    except (AssertionError, RuntimeError, ValueError) as error:
        size = "{}x{}".format(*image_size)
        reason = str(error).rstrip(".") or type(error).__name__
        raise ConfigError(f"{setting}: refuses pictures of {size}: {reason}. {advice}.") from error


def did_you_mean(name: str, known: list[str], otherwise: str) -> str:
    """The nearest names, or where all of them are printed."""
    close = get_close_matches(name, known, n=3)
    return f"Did you mean {' or '.join(close)}?" if close else otherwise
