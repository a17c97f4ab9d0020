"""The tasks: train, evaluate, predict. Every rank of a job runs the same lines; only the first one writes."""

from pathlib import Path
from typing import NamedTuple

import torch
from pytorch_lightning import LightningDataModule, Trainer, seed_everything
from torch import nn

from effdet_lab.data.datamodule import build_data, learn_classes, picture_loader
from effdet_lab.data.splits import ClassificationRecords, DetectionRecords, Records
from effdet_lab.errors import DataError
from effdet_lab.metrics.evaluators import evaluate as evaluate_arrays
from effdet_lab.metrics.ground_truth import DetectionArrays, GroundTruth, read_results
from effdet_lab.metrics.topk import BestClasses
from effdet_lab.models.build import build_model
from effdet_lab.run.folder import weights_of
from effdet_lab.run.machine import pictures_of
from effdet_lab.run.next import next_command
from effdet_lab.run.ranks import is_first
from effdet_lab.run.record import write_metrics
from effdet_lab.run.results import (
    draw_classes,
    draw_detections,
    merged_classes,
    merged_detections,
    save_pictures,
    spread,
    write_classes,
    write_detections,
)
from effdet_lab.run.say import log, show
from effdet_lab.run.tables import metrics_table
from effdet_lab.run.tracking import build_logger, finish, log_pictures
from effdet_lab.run.trainer import build_evaluator, build_trainer
from effdet_lab.spec import ExperimentSpec
from effdet_lab.tasks.base import ExperimentTask
from effdet_lab.tasks.build import build_task
from effdet_lab.weights.load import load_trained, load_weights


class Judged(NamedTuple):
    """What an evaluation found."""

    metrics: dict[str, float]
    predictions: DetectionArrays | BestClasses


def prepare(spec: ExperimentSpec, folder: Path) -> ExperimentSpec:
    """What must be known before the ranks start: the data is there, and tells its classes.

    Raises: DataError naming every file that cannot be used.
    """
    if spec.task == "predict" or spec.predictions:
        return spec
    return learn_classes(spec)


def run(spec: ExperimentSpec, folder: Path) -> dict[str, float]:
    """The task's metrics, which metrics.json holds too."""
    seed_everything(spec.seed, workers=True, verbose=False)
    match spec.task:
        case "train":
            metrics = train(spec, folder)
        case "evaluate":
            metrics = evaluate_results(spec) if spec.predictions else evaluate(spec, folder)
        case _:
            return predict(spec, folder)
    if is_first():
        write_metrics(folder, metrics)
        show(metrics_table(metrics))
        log.info(f"Everything is in {folder}.")
        if spec.task == "train":
            log.info(next_command(spec, folder))
    return metrics


def train(spec: ExperimentSpec, folder: Path) -> dict[str, float]:
    """Fit, then judge the best weights."""
    model = build_model(spec)
    if spec.init:
        show(load_weights(model, spec.init))
    data = build_data(spec)
    data.setup("fit")
    records = data.records["val"]
    task = build_task(spec, model, records)
    logger = build_logger(spec, folder)
    try:
        trainer = build_trainer(spec, folder, logger)
        trainer.fit(task, datamodule=data)
        trained = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("train/")}
        load_trained(task.model, weights_of(folder))
        judged = _judge(spec, folder, task, data, records, logger)
    finally:
        finish(logger)
    return {**judged.metrics, **trained}


def evaluate(spec: ExperimentSpec, folder: Path) -> dict[str, float]:
    """Judge trained weights on the validation split."""
    model = _trained_model(spec)
    data = build_data(spec)
    data.setup("validate")
    records = data.records["val"]
    logger = build_logger(spec, folder)
    try:
        return _judge(spec, folder, build_task(spec, model, records), data, records, logger).metrics
    finally:
        finish(logger)


def evaluate_results(spec: ExperimentSpec) -> dict[str, float]:
    """Judge a COCO results file."""
    truth = GroundTruth.from_coco_json(spec.annotations)
    found = read_results(spec.predictions, truth)
    scores = evaluate_arrays(truth, *found, backend=spec.evaluator)
    return {f"val/{name}": value for name, value in scores.items()}


def predict(spec: ExperimentSpec, folder: Path) -> dict[str, float]:
    """Draw what the model sees on any pictures, and write it down."""
    model = _trained_model(spec)
    records, loader = picture_loader([Path(path) for path in pictures_of(spec.input)], spec)
    outputs = build_evaluator(spec, folder, False).predict(build_task(spec, model, None), loader)
    if isinstance(records, DetectionRecords):
        found = merged_detections(outputs)
        write_detections(folder, found, records.category_ids)
        pictures = draw_detections(records, found, range(len(records)))
        log.info(f"{len(found.scores_D)} detections on {len(records)} pictures.")
    else:
        best = merged_classes(outputs)
        write_classes(folder, best, records)
        pictures = draw_classes(records, best, range(len(records)))
    save_pictures(folder, pictures, records.paths)
    log.info(f"Pictures are in {folder / 'images'}.")
    return {}


def _trained_model(spec: ExperimentSpec) -> nn.Module:
    if not spec.data.num_classes:
        raise DataError(
            f"checkpoint={spec.checkpoint or spec.init}: does not tell its classes. Give data.classes=[...]."
        )
    model = build_model(spec)
    load_trained(model, weights_of(Path(spec.checkpoint or spec.init)))
    return model.eval()


def _judge(
    spec: ExperimentSpec, folder: Path, task: ExperimentTask, data: LightningDataModule, records: Records, logger
) -> Judged:
    """Metrics, predictions and pictures of a validation split."""
    evaluator: Trainer = build_evaluator(spec, folder, logger)
    with torch.inference_mode():
        evaluator.validate(task, datamodule=data, verbose=False)
    metrics = {name: float(value) for name, value in evaluator.callback_metrics.items() if name.startswith("val/")}
    predictions = task.predictions
    assert predictions is not None
    if is_first():
        indices = spread(len(records), spec.logger.images)
        if isinstance(records, ClassificationRecords):
            write_classes(folder, predictions, records)
            pictures = draw_classes(records, predictions, indices)
        else:
            write_detections(folder, predictions, records.category_ids)
            pictures = draw_detections(records, predictions, indices)
        names = [records.paths[index] for index in indices]
        save_pictures(folder, pictures, names)
        log_pictures(logger, records, predictions, indices, pictures)
    return Judged(metrics, predictions)
