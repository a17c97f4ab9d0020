"""Lightning's trainer for a spec."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import Logger
from pytorch_lightning.strategies import ModelParallelStrategy, Strategy
from torch import Tensor

from effdet_lab.run.progress import RunProgress
from effdet_lab.run.record import MetricsTable
from effdet_lab.run.say import quieten
from effdet_lab.run.stopping import StopWhenAsked
from effdet_lab.run.together import SameExperiment
from effdet_lab.spec import ExperimentSpec, TrainerSpec, is_detector
from effdet_lab.tasks.average import ExponentialAverage

CHECKPOINTS = "checkpoints"
PRECISION = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}
STEPS_PER_POINT = 10  # how often loggers hear of `step/loss`


def build_trainer(
    spec: ExperimentSpec, folder: Path, logger: Logger | bool, callbacks: Sequence[Callback] = ()
) -> Trainer:
    """A trainer that writes into a run's folder; `callbacks` join its own."""
    quieten()  # once more: Lightning turned its own loggers up when it was imported
    average = [ExponentialAverage(spec.optim.ema_decay)] if spec.optim.ema_decay > 0 else []
    return Trainer(
        **lightning_arguments(spec.trainer),
        gradient_clip_val=spec.optim.clip_norm or None,
        default_root_dir=folder,
        logger=logger,
        callbacks=[
            SameExperiment(spec),
            *average,
            EvaluateAtTheEnd(),
            MetricsTable(folder),
            RunProgress(),
            StopWhenAsked(folder),
            *checkpoints(folder / CHECKPOINTS, monitored_metric(spec)),
            *callbacks,
        ],
        log_every_n_steps=STEPS_PER_POINT,
        num_sanity_val_steps=0,
        enable_model_summary=False,
        inference_mode=True,
    )


def build_evaluator(spec: ExperimentSpec, folder: Path, logger: Logger | bool) -> Trainer:
    """A trainer that judges or predicts once and keeps nothing.

    After a training the logger has its curves: a point of this trainer, which starts at step 0, would spoil them.
    """
    quieten()
    whole = replace(spec.trainer, strategy="ddp")  # it judges weights as a run keeps them
    return Trainer(
        **lightning_arguments(whole),
        default_root_dir=folder,
        logger=False if spec.task == "train" else logger,
        callbacks=[SameExperiment(spec)],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        inference_mode=True,
    )


def lightning_arguments(trainer: TrainerSpec) -> dict[str, Any]:
    """Lightning's words for ours: no GPUs are CPU processes, more than one device is DDP or FSDP."""
    return {
        "accelerator": "gpu" if trainer.gpus else "cpu",
        "devices": max(trainer.gpus, trainer.processes),
        "num_nodes": trainer.num_nodes,
        "strategy": _strategy(trainer),
        # Batch norms can share statistics on GPUs only.
        "sync_batchnorm": trainer.gpus > 0 and trainer.world_size > 1,
        "precision": PRECISION[trainer.precision],
        "max_epochs": trainer.max_epochs,
        "max_steps": trainer.max_steps,
        "accumulate_grad_batches": trainer.accumulate,
        "check_val_every_n_epoch": trainer.evaluate_every,
        # Some kernels have no deterministic twin; a warning beats a run that cannot start.
        "deterministic": "warn" if trainer.deterministic else False,
        "benchmark": trainer.gpus > 0 and not trainer.deterministic,
    }


def _strategy(trainer: TrainerSpec) -> Strategy | str:
    if trainer.strategy == "fsdp":
        return ModelParallelStrategy(
            data_parallel_size=trainer.world_size, tensor_parallel_size=1, save_distributed_checkpoint=False
        )
    return "ddp" if trainer.world_size > 1 else "auto"


def monitored_metric(spec: ExperimentSpec) -> str:
    """What decides which weights are the best; higher is better."""
    return "val/map" if is_detector(spec) else "val/top1"


def checkpoints(folder: Path, monitor: str) -> tuple[ModelCheckpoint, ModelCheckpoint]:
    """best.ckpt and last.ckpt, looked after at every validation; best first, so that last knows of it."""

    def checkpoint(filename: str, **what: Any) -> ModelCheckpoint:
        return LaterOfEquals(
            folder,
            filename,
            save_top_k=1,
            auto_insert_metric_name=False,
            enable_version_counter=False,
            save_on_train_epoch_end=False,
            **what,
        )

    return checkpoint("best", monitor=monitor, mode="max"), checkpoint("last")


class LaterOfEquals(ModelCheckpoint):
    """Of weights that score the same it keeps the later ones, which have learned for longer."""

    def check_monitor_top_k(self, trainer: Trainer, current: Tensor | None = None) -> bool:
        equal = current is not None and self.best_model_score is not None and bool(current == self.best_model_score)
        return equal or super().check_monitor_top_k(trainer, current)


class EvaluateAtTheEnd(Callback):
    """The last weights are always evaluated, wherever `evaluate_every` or `max_steps` end the run."""

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.current_epoch + 1 == trainer.max_epochs:
            trainer.check_val_every_n_epoch = 1

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if 0 < trainer.max_steps <= trainer.global_step:
            trainer.check_val_every_n_epoch = 1
            trainer.should_stop = True
