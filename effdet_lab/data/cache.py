"""Decoded pictures kept in memory that all worker processes share.

I pictures, C channels, H W size
"""

import logging
import mmap
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from effdet_lab.spec import Size


class Picture(NamedTuple):
    """A picture as it is needed every epoch."""

    image_CHW: Tensor  # uint8 RGB
    file_size: Size  # before anything was cut or resized


Read = Callable[[int], Picture]

log = logging.getLogger("effdet_lab")


class PictureCache:
    """A picture is read once, whichever worker asks first; those that do not fit are read each time.

    The memory is reserved before the workers fork and filled by them; a page that is never written costs nothing.
    """

    def __init__(self, read: Read, file_sizes_I2: np.ndarray, kept_sizes_I2: np.ndarray, limit: int) -> None:
        bytes_I = 3 * kept_sizes_I2.prod(axis=1)
        ends_I = np.cumsum(bytes_I)
        self.read = read
        self.file_sizes_I2 = file_sizes_I2
        self.kept_sizes_I2 = kept_sizes_I2
        self.starts_I = ends_I - bytes_I
        self.fits_I = (ends_I <= limit) & (bytes_I > 0)
        self.nbytes = int(bytes_I[self.fits_I].sum())
        if not self.fits_I.all():
            words = "data.cache=true: %d of %d pictures fit into %.1f GB; the others are read every time."
            log.warning(words, self.fits_I.sum(), len(self.fits_I), limit / 1e9)
        self._reserve()

    def __call__(self, index: int) -> Picture:
        """One picture. It lies in the cache's own memory: change a copy."""
        if not self.fits_I[index]:
            return self.read(index)
        height, width = self.kept_sizes_I2[index].tolist()
        start = int(self.starts_I[index])
        kept_HWC = self.memory[start : start + 3 * height * width].reshape(height, width, 3)
        if not self.filled_I[index]:
            kept_HWC[:] = self.read(index).image_CHW.permute(1, 2, 0).numpy()
            self.filled_I[index] = 1
        return Picture(torch.from_numpy(kept_HWC).permute(2, 0, 1), tuple(self.file_sizes_I2[index].tolist()))

    def _reserve(self) -> None:
        self.memory = np.frombuffer(mmap.mmap(-1, max(1, self.nbytes)), dtype=np.uint8)
        self.filled_I = np.frombuffer(mmap.mmap(-1, max(1, len(self.fits_I))), dtype=np.uint8)

    def __getstate__(self) -> dict[str, Any]:
        """Where workers do not fork, each one fills a memory of its own."""
        return {name: value for name, value in self.__dict__.items() if name not in ("memory", "filled_I")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reserve()


class Memory:
    """How much of a process's memory decoded pictures may still take."""

    def __init__(self, limit: int) -> None:
        self.left = limit

    def keep(self, read: Read, file_sizes_I2: np.ndarray, kept_sizes_I2: np.ndarray) -> Read:
        """The same pictures, remembered as far as there is room; sizes of 0 are unknown and not remembered."""
        if not self.left:
            return read
        cache = PictureCache(read, file_sizes_I2, kept_sizes_I2, self.left)
        self.left -= cache.nbytes
        return cache
