"""Pictures as tensors: whatever the file, uint8 RGB, turned the way its EXIF says.

I pictures of a split, C channels, H W size
"""

import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from effdet_lab.errors import DataError

WHOLE = ((b"\xff\xd8", b"\xff\xd9"), (b"\x89PNG", b"IEND"))  # how a whole file starts, and what it has near its end
TAIL = 1024  # bytes that count as near
EXIF_ORIENTATION = 0x0112
SIDEWAYS = (5, 6, 7, 8)  # orientations that swap height and width
EXAMINED_AT_MOST = 50_000  # files whose headers are read before training; of more, only their existence is checked
WORTH_A_WORD = 5_000  # files; fewer are checked in a moment
THREADS = 8

log = logging.getLogger("effdet_lab")


@dataclass(frozen=True, eq=False)
class PictureFiles:
    """Pictures on disk; one flat array of names, so that worker processes share its memory."""

    folder: Path
    names_I: np.ndarray  # bytes, relative to the folder

    @classmethod
    def of(cls, folder: Path, names: Sequence[str]) -> "PictureFiles":
        """From names as strings."""
        return cls(folder, np.array([os.fsencode(name) for name in names], dtype=np.bytes_))

    def __len__(self) -> int:
        return len(self.names_I)

    def path(self, index: int) -> str:
        """Where one picture lies."""
        return os.path.join(self.folder, os.fsdecode(self.names_I[index]))

    def read(self, index: int) -> Tensor:
        """One picture, uint8 RGB CHW."""
        return read_picture(self.path(index))

    def select(self, keep_I: np.ndarray) -> "PictureFiles":
        """Those that are kept."""
        return PictureFiles(self.folder, self.names_I[keep_I])


@dataclass(frozen=True, eq=False)
class PictureArray:
    """Pictures in memory, all of one size."""

    name: str
    images_IHWC: np.ndarray  # uint8 RGB
    numbers_I: np.ndarray  # what tells them apart

    @classmethod
    def of(cls, name: str, images_IHWC: np.ndarray) -> "PictureArray":
        """Numbered from 0."""
        return cls(name, images_IHWC, np.arange(len(images_IHWC)))

    def __len__(self) -> int:
        return len(self.images_IHWC)

    def path(self, index: int) -> str:
        """A name to speak of one picture."""
        return f"{self.name}/{self.numbers_I[index]:05d}"

    def read(self, index: int) -> Tensor:
        """One picture, uint8 RGB CHW."""
        return torch.from_numpy(self.images_IHWC[index]).permute(2, 0, 1).contiguous()

    def select(self, keep_I: np.ndarray) -> "PictureArray":
        """Those that are kept, under their old names."""
        return PictureArray(self.name, self.images_IHWC[keep_I], self.numbers_I[keep_I])


Pictures = PictureFiles | PictureArray


def read_picture(path: str | Path) -> Tensor:
    """One picture, uint8 RGB CHW, turned as its EXIF says; what is transparent shows white, 16 bits become 8.

    Raises: DataError with the file and the reason.
    """
    with _complaints(path), Image.open(path) as image:
        rgb = _rgb(ImageOps.exif_transpose(image))
        # Faster than numpy.array(rgb), which asks PIL for the same bytes piece by piece.
        pixels_HWC = torch.frombuffer(bytearray(rgb.tobytes()), dtype=torch.uint8).view(rgb.height, rgb.width, 3)
        return pixels_HWC.permute(2, 0, 1)


def picture_size(path: str | Path) -> tuple[int, int]:
    """Height and width after the EXIF turn, from the header; a file that is not whole is refused.

    Raises: DataError with the file and the reason.
    """
    with _complaints(path), open(path, "rb") as file:
        start = file.read(4)
        file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
        end = file.read()
        file.seek(0)
        with Image.open(file) as image:
            size = _turned_size(image)
            # What does not end as a JPEG or PNG ends is decoded: PIL tells whether it is whole.
            if not any(start.startswith(first) and last in end for first, last in WHOLE):
                _rgb(image)
            return size


def check_pictures(pictures: Pictures, sizes_I2: np.ndarray) -> tuple[np.ndarray, dict[int, str]]:
    """The sizes as the files have them, and what is wrong with which picture.

    `sizes_I2` is what the annotations say, height and width, 0 where they do not say. A picture of another size is
    wrong: its boxes would lie elsewhere.
    """
    if isinstance(pictures, PictureArray):
        return np.tile(np.array(pictures.images_IHWC.shape[1:3]), (len(pictures), 1)), {}
    check = _compare if len(pictures) <= EXAMINED_AT_MOST else _exists
    if len(pictures) >= WORTH_A_WORD:
        log.info("Checking %d pictures before the start.", len(pictures))
    with ThreadPoolExecutor(THREADS) as pool:
        paths = (pictures.path(index) for index in range(len(pictures)))
        found = list(pool.map(check, paths, map(tuple, sizes_I2.tolist())))
    sizes_I2 = np.array([size for size, _ in found], dtype=np.int64).reshape(-1, 2)
    return sizes_I2, {index: problem for index, (_, problem) in enumerate(found) if problem}


def _compare(path: str, said: tuple[int, int]) -> tuple[tuple[int, int], str]:
    try:
        size = picture_size(path)
    except DataError as error:
        return said, error.problems[0]
    if any(said) and size != said:
        (height, width), (said_height, said_width) = size, said
        return size, f"{path}: is {width}x{height} as it is shown, but annotated as {said_width}x{said_height}."
    return size, ""


def _exists(path: str, said: tuple[int, int]) -> tuple[tuple[int, int], str]:
    return said, "" if os.path.exists(path) else f"{path}: no such file."


@contextmanager
def _complaints(path: str | Path) -> Iterator[None]:
    """Whatever a decoder complains of, as a DataError that names the file."""
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"{path}: no such file.") from None
    except Image.UnidentifiedImageError:  # its own words name a place in memory
        reason = "not a picture that can be read" if os.path.getsize(path) else "the file is empty"
        raise DataError(f"{path}: {reason}.") from None
    except Exception as error:  # decoders raise many kinds
        raise DataError(f"{path}: cannot be read ({error}).") from None


def _turned_size(image: Image.Image) -> tuple[int, int]:
    width, height = image.size
    return (width, height) if image.getexif().get(EXIF_ORIENTATION) in SIDEWAYS else (height, width)


def _rgb(image: Image.Image) -> Image.Image:
    """The decoded picture in the one mode that networks take."""
    image.load()
    if image.mode == "F":
        raise ValueError("its pixels are 32-bit fractions of an unknown range; save it with 8 bits")
    if image.mode.startswith("I"):  # 16 bits, as scanners and microscopes write them
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 0xFFFF:
            raise ValueError("its pixels are 32-bit numbers of an unknown range; save it with 8 bits")
        return Image.fromarray((values >> 8).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")
