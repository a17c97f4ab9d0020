"""From records to samples and batches.

A training sample depends on the seed, the epoch and its index, on nothing else: any number of workers gives the same.

B batch, C channels, H W size, N boxes of a picture, M boxes padded to the batch's largest
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset, DistributedSampler

from effdet_lab.data.cache import Memory, Picture, Read
from effdet_lab.data.pictures import PictureFiles, Pictures
from effdet_lab.data.splits import ClassificationRecords, DetectionRecords, Records
from effdet_lab.data.transforms import (
    augment_detection,
    centre_view,
    fill_of,
    fit,
    letterbox,
    letterbox_size,
    training_view,
)
from effdet_lab.errors import DataError
from effdet_lab.records import ClassificationBatch, DetectionBatch, Sample
from effdet_lab.spec import ClassificationAugment, DetectionAugment, ExperimentSpec, InputSpec, Size

Key = int | tuple[int, int]  # an index, or epoch and index

log = logging.getLogger("effdet_lab")


class Labelled(NamedTuple):
    """One picture with its label."""

    image_CHW: Tensor
    label: int
    image_id: int


def read_whole(pictures: Pictures, index: int) -> Picture:
    """As the file has it."""
    image_CHW = pictures.read(index)
    return Picture(image_CHW, (image_CHW.shape[1], image_CHW.shape[2]))


def read_fitted(pictures: Pictures, image_size: Size, index: int) -> Picture:
    """At its letterbox size."""
    image_CHW, file_size = read_whole(pictures, index)
    return Picture(fit(image_CHW, image_size), file_size)


def read_centre(pictures: Pictures, image_size: Size, crop_fraction: float, interpolation: str, index: int) -> Picture:
    """The centre that a classifier sees."""
    image_CHW, file_size = read_whole(pictures, index)
    return Picture(centre_view(image_CHW, image_size, crop_fraction, interpolation), file_size)


class EpochSampler(DistributedSampler):
    """This process's share of the pictures in an order that depends on seed and epoch; a key tells its epoch."""

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return ((self.epoch, index) for index in super().__iter__())


class DetectionSet(Dataset[Sample]):
    """Pictures with their boxes, crowds left out. `read` gives whole pictures to `augment`, else fitted ones."""

    def __init__(
        self,
        records: DetectionRecords,
        read: Read,
        seen: InputSpec,
        augment: DetectionAugment | None = None,
        seed: int = 0,
        skip: bool = False,
    ) -> None:
        self.records, self.read, self.augment, self.seed, self.skip = records, read, augment, seed, skip
        self.image_size, self.fill = seen.image_size, fill_of(seen.mean)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, key: Key) -> Sample:
        epoch, index = key if isinstance(key, tuple) else (0, key)
        index, (image_CHW, file_size) = readable(self.read, index, len(self), self.skip)
        boxes_N4, labels_N = _trained_boxes(self.records, index)
        if self.augment is None:
            view = letterbox(image_CHW, boxes_N4, labels_N, file_size, self.image_size, self.fill)
        else:
            with seeded(self.seed, epoch, index):
                view = augment_detection(image_CHW, boxes_N4, labels_N, self.image_size, self.fill, self.augment)
        image_id = int(self.records.image_ids[index])
        return Sample(view.image_CHW, view.boxes_N4, view.labels_N, image_id, view.scale, file_size)


class ClassificationSet(Dataset[Labelled]):
    """Pictures with their label. `read` gives whole pictures to `augment`, else their centre."""

    def __init__(
        self,
        records: ClassificationRecords,
        read: Read,
        seen: InputSpec,
        interpolation: str,
        augment: ClassificationAugment | None = None,
        seed: int = 0,
        skip: bool = False,
    ) -> None:
        self.records, self.read, self.seed, self.skip = records, read, seed, skip
        self.view = augment and training_view(augment, seen.image_size, interpolation, seen.mean)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, key: Key) -> Labelled:
        epoch, index = key if isinstance(key, tuple) else (0, key)
        index, (image_CHW, _) = readable(self.read, index, len(self), self.skip)
        if self.view is not None:
            with seeded(self.seed, epoch, index):
                image_CHW = self.view(image_CHW)
        return Labelled(image_CHW, int(self.records.labels[index]), index)


PictureSet = DetectionSet | ClassificationSet


def training_set(records: Records, spec: ExperimentSpec, memory: Memory) -> PictureSet:
    """Augmented samples; whole pictures are remembered."""
    data, seen, skip = spec.data, spec.model.input, spec.data.on_error == "skip"
    read: Read = partial(read_whole, records.pictures)
    if isinstance(records.pictures, PictureFiles):
        read = memory.keep(read, records.sizes_I2, records.sizes_I2)
    if isinstance(records, DetectionRecords):
        assert isinstance(data.augment, DetectionAugment), "settled with the model"
        return DetectionSet(records, read, seen, data.augment, spec.seed, skip)
    assert isinstance(data.augment, ClassificationAugment), "settled with the model"
    return ClassificationSet(records, read, seen, data.interpolation, data.augment, spec.seed, skip)


def evaluation_set(records: Records, spec: ExperimentSpec, memory: Memory) -> PictureSet:
    """Samples as the network sees them in use; pictures are remembered at the network's size."""
    data, image_size, skip = spec.data, spec.model.input.image_size, spec.data.on_error == "skip"
    if isinstance(records, DetectionRecords):
        fitted_I2 = [letterbox_size(size, image_size)[1] if all(size) else size for size in records.sizes_I2.tolist()]
        read = partial(read_fitted, records.pictures, image_size)
        kept_I2 = np.array(fitted_I2, dtype=np.int64).reshape(-1, 2)
        return DetectionSet(records, memory.keep(read, records.sizes_I2, kept_I2), spec.model.input, skip=skip)
    read = partial(read_centre, records.pictures, image_size, data.crop_fraction, data.interpolation)
    kept_I2 = np.tile(np.array(image_size), (len(records), 1))
    read = memory.keep(read, records.sizes_I2, kept_I2)
    return ClassificationSet(records, read, spec.model.input, data.interpolation, skip=skip)


def collate_detection(samples: Sequence[Sample]) -> DetectionBatch:
    """One batch, its boxes padded to the most any of its pictures has."""
    return DetectionBatch(
        images_BCHW=torch.stack([sample.image_CHW for sample in samples]),
        boxes_BM4=pad_sequence([sample.boxes_N4 for sample in samples], batch_first=True),
        labels_BM=pad_sequence([sample.labels_N for sample in samples], batch_first=True, padding_value=-1),
        image_id_B=torch.tensor([sample.image_id for sample in samples]),
        scale_B=torch.tensor([sample.scale for sample in samples], dtype=torch.float32),
        file_size_B2=torch.tensor([sample.file_size for sample in samples]),
    )


def collate_classification(samples: Sequence[Labelled]) -> ClassificationBatch:
    """One batch."""
    return ClassificationBatch(
        images_BCHW=torch.stack([sample.image_CHW for sample in samples]),
        labels_B=torch.tensor([sample.label for sample in samples]),
        image_id_B=torch.tensor([sample.image_id for sample in samples]),
    )


def readable(read: Read, index: int, count: int, skip: bool) -> tuple[int, Picture]:
    """The picture; with `skip`, where it turns out broken only now, the next one that is not."""
    for candidate in range(index, index + (count if skip else 1)):
        try:
            return candidate % count, read(candidate % count)
        except DataError as error:
            if not skip:
                raise
            log.warning("Left out: %s", error.problems[0])
    raise DataError("None of the pictures can be read.")


@contextmanager
def seeded(seed: int, epoch: int, index: int) -> Iterator[None]:
    """Random numbers of torch that belong to one sample; afterwards its generator is where it was."""
    before = torch.get_rng_state()
    word = np.random.SeedSequence((seed, epoch, index)).generate_state(1, np.uint64)[0]
    torch.default_generator.manual_seed(int(word))
    try:
        yield
    finally:
        torch.set_rng_state(before)


def _trained_boxes(records: DetectionRecords, index: int) -> tuple[Tensor, Tensor]:
    """Boxes and labels of one picture without its crowds."""
    where = records.boxes_of(index)
    single_N = ~records.crowd_N[where]
    boxes_N4, labels_N = records.boxes_N4[where][single_N], records.labels_N[where][single_N]
    return torch.from_numpy(boxes_N4).float(), torch.from_numpy(labels_N)
