"""Loaders of uint8 batches for training, evaluation and prediction."""

import logging
import sys
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader, Sampler

from effdet_lab.data.cache import Memory
from effdet_lab.data.datasets import (
    DetectionSet,
    EpochSampler,
    PictureSet,
    collate_classification,
    collate_detection,
    evaluation_set,
    training_set,
)
from effdet_lab.data.epochs import batch_size
from effdet_lab.data.opening import fetch, learn_classes, name_classes, open_split, without_broken
from effdet_lab.data.pictures import PictureFiles
from effdet_lab.data.places import Split, splits_of
from effdet_lab.data.splits import ClassificationRecords, DetectionRecords, Records, unlabelled, unlabelled_boxes
from effdet_lab.errors import DataError
from effdet_lab.spec import ExperimentSpec, is_detector

__all__ = [
    "ClassificationData",
    "DetectionData",
    "PictureData",
    "build_data",
    "learn_classes",
    "name_classes",
    "open_split",
    "picture_loader",
]

CACHE_BYTES = 4 * 1024**3  # of decoded pictures a process

log = logging.getLogger("effdet_lab")


class PictureData(LightningDataModule):
    """The splits of an experiment that has learned its classes; after `setup` they lie in `records`."""

    records: dict[Split, Any]

    def __init__(self, spec: ExperimentSpec) -> None:
        super().__init__()
        self.spec = spec
        self.records = {}
        self.memory = Memory(CACHE_BYTES if spec.data.cache else 0)

    def prepare_data(self) -> None:
        """Draw or download, once a machine."""
        fetch(self.spec.data, splits_of(self.spec))

    def setup(self, stage: str | None = None) -> None:
        """Read and check what the stage needs.

        Raises: DataError with everything that is missing or broken in any split.
        """
        wanted: tuple[Split, ...] = ("train", "val") if stage in ("fit", None) else ("val",)
        missing: list[Split] = [split for split in wanted if split not in self.records]
        problems: list[str] = []
        for split in missing:
            try:
                self.records[split] = open_split(self.spec, split)
            except DataError as error:
                problems += error.problems
        if problems:
            raise DataError(dict.fromkeys(problems))
        if "train" in missing:
            _check_training(self.records["train"], self.records["val"])

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffled and augmented; an incomplete last batch is left out where there are others."""
        processes, rank = (self.trainer.world_size, self.trainer.global_rank) if self.trainer else (1, 0)
        dataset = training_set(self.records["train"], self.spec, self.memory)
        share = EpochSampler(dataset, processes, rank, shuffle=True, seed=self.spec.seed)
        return _loader(dataset, self.spec, share, drop_last=len(share) > batch_size(self.spec))

    def val_dataloader(self) -> DataLoader[Any]:
        """Every picture of the evaluation split, in order."""
        return _loader(self._evaluated, self.spec)

    def test_dataloader(self) -> DataLoader[Any]:
        """The evaluation split once more."""
        return self.val_dataloader()

    @cached_property
    def _evaluated(self) -> PictureSet:
        return evaluation_set(self.records["val"], self.spec, self.memory)


class DetectionData(PictureData):
    """Pictures with boxes, as DetectionBatch."""

    records: dict[Split, DetectionRecords]


class ClassificationData(PictureData):
    """Pictures with one label each, as ClassificationBatch."""

    records: dict[Split, ClassificationRecords]


def build_data(spec: ExperimentSpec) -> DetectionData | ClassificationData:
    """The data for the model."""
    return DetectionData(spec) if is_detector(spec) else ClassificationData(spec)


def picture_loader(paths: list[Path], spec: ExperimentSpec) -> tuple[Records, DataLoader[Any]]:
    """Plain picture files in their order, without boxes or labels, and their batches.

    Raises: DataError with every file that is broken; with `data.on_error=skip` those are left out.
    """
    data = spec.data
    records: Records
    if is_detector(spec):
        records = without_broken(unlabelled_boxes(paths, data.classes, data.category_ids), data.on_error)
    else:
        records = without_broken(unlabelled(paths, data.classes), data.on_error)
    return records, _loader(evaluation_set(records, spec, Memory(0)), spec)


def _check_training(train: Records, val: Records) -> None:
    """Refuse what cannot be learned from; say so if evaluation would see what was trained on."""
    if isinstance(train, DetectionRecords) and train.crowd_N.all():
        raise DataError(f"{train.pictures.folder}: not one box to train on in {len(train)} pictures.")
    if not (isinstance(train.pictures, PictureFiles) and isinstance(val.pictures, PictureFiles)):
        return
    if train.pictures.folder == val.pictures.folder:
        shared = np.intersect1d(train.pictures.names_I, val.pictures.names_I)
        if len(shared):
            log.warning("%d pictures are in both splits, so the evaluation will flatter.", len(shared))


def _loader(
    dataset: PictureSet, spec: ExperimentSpec, sampler: Sampler | None = None, drop_last: bool = False
) -> DataLoader[Any]:
    """Batches, made by `data.workers` processes or by this one."""
    batch = batch_size(spec)
    workers = min(spec.data.workers, -(-len(dataset) // batch))  # a worker without a batch is only started
    return DataLoader(
        dataset,
        batch_size=batch,
        sampler=sampler,
        num_workers=workers,
        collate_fn=collate_detection if isinstance(dataset, DetectionSet) else collate_classification,
        drop_last=drop_last,
        pin_memory=spec.trainer.gpus > 0,
        persistent_workers=workers > 0,
        # Forked workers share records and remembered pictures; only on Linux is a fork safe.
        multiprocessing_context="fork" if workers and sys.platform == "linux" else None,
    )
