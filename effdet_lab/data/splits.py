"""One split of a data set as flat arrays: worker processes share them, for no picture has an object of its own.

I pictures, N boxes of all pictures, K classes
"""

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self, TypeVar

import numpy as np

from effdet_lab.data.pictures import PictureFiles, Pictures


@dataclass(frozen=True, eq=False)
class DetectionRecords:
    """Pictures and their boxes; those of picture i lie at `starts[i]:starts[i + 1]`."""

    pictures: PictureFiles
    image_ids: np.ndarray  # int64 (I), the file's own
    sizes_I2: np.ndarray  # int64, height and width; 0 where unknown
    starts: np.ndarray  # int64 (I + 1)
    boxes_N4: np.ndarray  # float64, x1 y1 x2 y2 in pixels of the file, as annotated: they may leave the picture
    labels_N: np.ndarray  # int64, from 0
    crowd_N: np.ndarray  # bool: not trained on; a detection there is neither right nor wrong
    areas_N: np.ndarray  # float64, square pixels, of the object where the file says so, else of its box
    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]  # the file's id of each label

    def __len__(self) -> int:
        return len(self.pictures)

    @cached_property
    def paths(self) -> list[str]:
        """Where each picture lies."""
        return [self.pictures.path(index) for index in range(len(self))]

    def boxes_of(self, index: int) -> slice:
        """Where one picture's boxes are."""
        return slice(self.starts[index], self.starts[index + 1])

    def select(self, keep_I: np.ndarray) -> Self:
        """Without the pictures that are not kept, and their boxes."""
        counts_I = np.diff(self.starts)
        keep_N = np.repeat(keep_I, counts_I)
        return dataclasses.replace(
            self,
            pictures=self.pictures.select(keep_I),
            image_ids=self.image_ids[keep_I],
            sizes_I2=self.sizes_I2[keep_I],
            starts=starts_of(counts_I[keep_I]),
            boxes_N4=self.boxes_N4[keep_N],
            labels_N=self.labels_N[keep_N],
            crowd_N=self.crowd_N[keep_N],
            areas_N=self.areas_N[keep_N],
        )


@dataclass(frozen=True, eq=False)
class ClassificationRecords:
    """Pictures with one label each."""

    pictures: Pictures
    labels: np.ndarray  # int64 (I), from 0; -1 where unknown
    sizes_I2: np.ndarray  # int64, height and width; 0 where unknown
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.pictures)

    @cached_property
    def paths(self) -> list[str]:
        """Where each picture lies."""
        return [self.pictures.path(index) for index in range(len(self))]

    @property
    def image_ids(self) -> np.ndarray:
        """Positions in these records."""
        return np.arange(len(self))

    def select(self, keep_I: np.ndarray) -> Self:
        """Without the pictures that are not kept."""
        return dataclasses.replace(
            self,
            pictures=self.pictures.select(keep_I),
            labels=self.labels[keep_I],
            sizes_I2=self.sizes_I2[keep_I],
        )

    @classmethod
    def of(
        cls, pictures: Pictures, labels: np.ndarray, class_names: tuple[str, ...], size: tuple[int, int] = (0, 0)
    ) -> Self:
        """A whole split; `size` where all pictures have one."""
        sizes_I2 = np.tile(np.array(size, dtype=np.int64), (len(labels), 1))
        return cls(pictures, labels, sizes_I2, class_names)


Records = DetectionRecords | ClassificationRecords
R = TypeVar("R", bound=Records)


def starts_of(counts_I: np.ndarray) -> np.ndarray:
    """Where each picture's boxes begin, and the end."""
    return np.concatenate([[0], np.cumsum(counts_I)]).astype(np.int64)


def unlabelled_boxes(
    paths: list[Path], class_names: tuple[str, ...], category_ids: tuple[int, ...]
) -> DetectionRecords:
    """Pictures to predict on, numbered from 0."""
    count = len(paths)
    return DetectionRecords(
        pictures=PictureFiles.of(Path(), [str(path) for path in paths]),
        image_ids=np.arange(count),
        sizes_I2=np.zeros((count, 2), np.int64),
        starts=np.zeros(count + 1, np.int64),
        boxes_N4=np.zeros((0, 4)),
        labels_N=np.zeros(0, np.int64),
        crowd_N=np.zeros(0, bool),
        areas_N=np.zeros(0),
        class_names=class_names,
        category_ids=category_ids,
    )


def unlabelled(paths: list[Path], class_names: tuple[str, ...]) -> ClassificationRecords:
    """Pictures to predict on, numbered from 0."""
    pictures = PictureFiles.of(Path(), [str(path) for path in paths])
    return ClassificationRecords.of(pictures, np.full(len(paths), -1), class_names)
