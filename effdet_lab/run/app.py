"""The tasks. Every rank of a job runs the same lines; only the first one writes."""

import dataclasses
from pathlib import Path

import torch
from pytorch_lightning import LightningDataModule, Trainer, seed_everything
from torch import nn

from effdet_lab.data.datamodule import build_data, learn_classes, name_classes, picture_loader
from effdet_lab.data.epochs import long_enough
from effdet_lab.data.opening import count_pictures
from effdet_lab.data.splits import ClassificationRecords, DetectionRecords, Records
from effdet_lab.metrics.evaluators import evaluate as evaluate_arrays
from effdet_lab.metrics.ground_truth import GroundTruth, read_results
from effdet_lab.models.build import build_model
from effdet_lab.models.counting import count
from effdet_lab.report.run import write_run_report
from effdet_lab.run.export import export
from effdet_lab.run.latency import latency_ms
from effdet_lab.run.machine import pictures_of
from effdet_lab.run.next import next_command
from effdet_lab.run.ranks import is_first
from effdet_lab.run.record import Costs, write_costs, write_metrics
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
from effdet_lab.run.trainer import CHECKPOINTS, build_evaluator, build_trainer
from effdet_lab.spec import ExperimentSpec
from effdet_lab.tasks.base import ExperimentTask
from effdet_lab.tasks.build import build_task
from effdet_lab.tracking.artifacts import log_checkpoints
from effdet_lab.tracking.loggers import build_logger, finish, log_cost
from effdet_lab.tracking.predictions import log_predictions
from effdet_lab.weights.adopt import as_weights_say
from effdet_lab.weights.header import header_of
from effdet_lab.weights.load import load_trained, load_weights
from effdet_lab.weights.published import WEIGHTS
from effdet_lab.weights.save import save_weights


def prepare(spec: ExperimentSpec) -> ExperimentSpec:
    """What must be known before the ranks start: the data is there, tells its classes and how long an epoch is.

    Raises: DataError naming every file that cannot be used.
    """
    if spec.predictions:
        return spec
    spec = as_weights_say(spec)
    if spec.data.root:  # the run's folder must find its data from wherever it is used
        root = str(Path(spec.data.root).expanduser().absolute())
        spec = dataclasses.replace(spec, data=dataclasses.replace(spec.data, root=root))
    if spec.task in ("predict", "verify", "export"):
        return name_classes(spec)
    spec = learn_classes(spec)
    if spec.task == "train" and spec.trainer.min_steps:
        return long_enough(spec, count_pictures(spec, "train"))
    return spec


def run(spec: ExperimentSpec, folder: Path) -> dict[str, float]:
    """The task's metrics, which metrics.json holds too."""
    seed_everything(spec.seed, workers=True, verbose=False)
    if spec.trainer.processes > 1:  # the processes share the cores
        torch.set_num_threads(max(1, torch.get_num_threads() // spec.trainer.processes))
    match spec.task:
        case "train":
            return train(spec, folder)
        case "evaluate":
            return evaluate_results(spec, folder) if spec.predictions else evaluate(spec, folder)
        case "verify":
            from effdet_lab.run.verify import verify_weights  # with the references, which take seconds

            return verify_weights(spec, folder)
        case "export":
            export(spec, folder, _trained_model(spec))
            return {}
        case _:
            return predict(spec, folder)


def train(spec: ExperimentSpec, folder: Path) -> dict[str, float]:
    """Fit, then judge the best weights."""
    model = build_model(spec)
    last = folder / CHECKPOINTS / "last.ckpt"
    if spec.init and not last.exists():
        classes, init_classes = spec.data.classes, spec.init_classes
        show(load_weights(model, spec.init, init_classes=init_classes, classes=classes, set_conventions=False))
    data = build_data(spec)
    data.setup("fit")
    records = data.records["val"]
    task = build_task(spec, model, records)
    logger = build_logger(spec, folder)
    try:
        trainer = build_trainer(spec, folder, logger)
        trainer.fit(task, datamodule=data, ckpt_path=last if last.exists() else None, weights_only=True)
        losses = _metrics(trainer, "train/loss")
        if spec.trainer.strategy == "fsdp":  # its weights are scattered over the processes
            task = build_task(spec, build_model(spec), records)
        load_trained(task.model, folder)
        if is_first():
            save_weights(folder / WEIGHTS, task.model.state_dict(), header_of(spec))
        metrics = {**_judge(spec, folder, task, data, records, logger), **losses}
        if is_first():
            log_checkpoints(logger, spec, folder)
    finally:
        finish(logger)
    _tell(folder, metrics)
    log.info(next_command(folder, records))
    return metrics


def evaluate(spec: ExperimentSpec, folder: Path) -> dict[str, float]:
    """Judge trained weights on the validation split."""
    model = _trained_model(spec)
    data = build_data(spec)
    data.setup("validate")
    records = data.records["val"]
    logger = build_logger(spec, folder)
    try:
        metrics = _judge(spec, folder, build_task(spec, model, records), data, records, logger)
    finally:
        finish(logger)
    _tell(folder, metrics)
    return metrics


def evaluate_results(spec: ExperimentSpec, folder: Path) -> dict[str, float]:
    """Judge a COCO results file."""
    truth = GroundTruth.from_coco_json(spec.annotations)
    found = read_results(spec.predictions, truth)
    scores = evaluate_arrays(truth, *found, backend=spec.evaluator)
    metrics = {f"val/{name}": value for name, value in scores.items()}
    _tell(folder, metrics)
    return metrics


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
    model = build_model(spec)
    load_trained(model, spec.checkpoint or spec.init)
    return model.eval()


def _judge(
    spec: ExperimentSpec, folder: Path, task: ExperimentTask, data: LightningDataModule, records: Records, logger
) -> dict[str, float]:
    """Metrics, predictions and pictures of a validation split."""
    if is_first():
        costs = _costs(spec, task.model)
        write_costs(folder, costs)
        log_cost(logger, costs._asdict())
    evaluator: Trainer = build_evaluator(spec, folder, logger)
    with torch.inference_mode():
        evaluator.validate(task, datamodule=data, verbose=False)
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
        log_predictions(logger, records, predictions, indices, pictures)
    return _metrics(evaluator, "val/")


def _costs(spec: ExperimentSpec, model: nn.Module) -> Costs:
    size = spec.model.input.image_size
    counted = count(model, size)["total"]
    return Costs(*counted, latency_ms(model, size, torch.device("cuda" if spec.trainer.gpus else "cpu")))


def _metrics(trainer: Trainer, prefix: str) -> dict[str, float]:
    return {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith(prefix)}


def _tell(folder: Path, metrics: dict[str, float]) -> None:
    """The numbers, as a file, as a table and as a page."""
    if is_first():
        write_metrics(folder, metrics)
        show(metrics_table(metrics))
        write_run_report(folder)
        log.info(f"Everything is in {folder}; open report.html there.")
