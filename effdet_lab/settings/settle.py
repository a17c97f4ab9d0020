"""Settings become one settled experiment: what phi implies is filled in, problems are told together. No torch here."""

import os
from collections.abc import Iterable, Mapping
from typing import Any

from effdet_lab import classes
from effdet_lab import spec as settled
from effdet_lab.errors import ConfigError
from effdet_lab.settings import schema
from effdet_lab.settings.judge import judge
from effdet_lab.settings.network import base_of, coefficients_of, left_of_scaling, settle_model
from effdet_lab.settings.rules import budget_problems, cluster_problems, contradictions, search_problems
from effdet_lab.sweep_spec import ClusterSpec, Dimension, SearchSpec, SweepSpec

MOST_WORKERS = 8
# What weights bring along where they tell; else these.
CROP_FRACTION, INTERPOLATION = 0.875, "bicubic"
BELONG_TO_WEIGHTS = (
    *("model.norm_eps", "model.mean", "model.std", "backbone.padding"),
    *("data.crop_fraction", "data.interpolation"),
)


def settle(settings: Mapping[str, Any], overrides: Iterable[str] = ()) -> settled.ExperimentSpec:
    """The experiment these settings describe.

    Raises: ConfigError with every problem found.
    """
    experiment = judge(settings)
    problems = contradictions(experiment)
    if problems:
        raise ConfigError(problems)
    return _fill(experiment, tuple(overrides))


def settle_sweep(settings: Mapping[str, Any]) -> SweepSpec:
    """How these settings want the jobs of a sweep to be run.

    Raises: ConfigError with every problem found.
    """
    experiment = judge(settings)
    problems = [*search_problems(experiment), *cluster_problems(experiment)]
    if problems:
        raise ConfigError(problems)
    resume, retries = experiment.sweep.name == "resume", experiment.sweep.retries
    return SweepSpec(resume, retries, _cluster(experiment.cluster), _search(experiment))


def settle_budget(settings: Mapping[str, Any]) -> settled.BudgetSpec:
    """What these settings let the network cost.

    Raises: ConfigError with every problem found.
    """
    experiment = judge(settings)
    budget = experiment.budget
    found = settled.BudgetSpec(
        macs=budget.macs or 0,
        growth=budget.growth or 0.0,
        params=budget.params or 0,
        latency_ms=budget.latency_ms or 0.0,
        memory=budget.memory or 0,
        free=tuple(dict.fromkeys(budget.free)),
    )
    problems = budget_problems(experiment) if found.is_given else []
    if not found.is_given and budget.free:
        problems.append(
            "budget.free: there is nothing to spend. Give budget.macs, growth, params, latency_ms or memory."
        )
    if problems:
        raise ConfigError(problems)
    return found


def _cluster(cluster: schema.AnyCluster) -> ClusterSpec:
    if isinstance(cluster, schema.RayCluster):
        return ClusterSpec(
            cluster.name, cluster.at_once, cpus_per_task=cluster.cpus_per_task or 0, address=cluster.address or ""
        )
    if not isinstance(cluster, schema.SlurmCluster):
        return ClusterSpec(cluster.name, cluster.at_once or 0)
    return ClusterSpec(
        name=cluster.name,
        at_once=cluster.at_once,
        partition=cluster.partition or "",
        account=cluster.account or "",
        hours=cluster.hours,
        memory_gb=cluster.memory_gb or 0.0,
        cpus_per_task=cluster.cpus_per_task or 0,
        requeues=cluster.requeues,
        dry=cluster.dry,
    )


def _search(experiment: schema.Experiment) -> SearchSpec:
    search = experiment.search
    return SearchSpec(
        name=search.name,
        trials=search.trials,
        metric=search.metric or "",
        against=search.against or "" if search.name == "nsga2" else "",
        prune=search.prune,
        seed=search.seed,
        storage=search.storage or "",
        warm_start=tuple(search.warm_start),
        space=tuple(_dimension(dimension) for dimension in experiment.space.settings),
        agent=search.agent,
        min_epochs=search.min_epochs,
        target=search.target or 0,
        exponent=search.exponent,
        tolerance=search.tolerance or 0.0,
    )


def _dimension(dimension: schema.SearchDimension) -> Dimension:
    return Dimension(
        setting=dimension.setting,
        choices=tuple(dimension.choices or ()),
        low=dimension.low or 0.0,
        high=dimension.high or 0.0,
        step=dimension.step or 0.0,
        log=dimension.log,
    )


def _fill(experiment: schema.Experiment, overrides: tuple[str, ...]) -> settled.ExperimentSpec:
    left = left_of_scaling(experiment)
    model = settle_model(experiment, left)
    return settled.ExperimentSpec(
        name=_name(experiment),
        task=experiment.task,
        phi=experiment.phi,
        scaling=experiment.scaling.mode,
        coefficients=coefficients_of(experiment.scaling),
        base=base_of(experiment.scaling),
        seed=experiment.seed,
        model=model,
        data=_data(experiment),
        optim=_optim(experiment),
        trainer=_trainer(experiment.trainer),
        logger=_logger(experiment.logger),
        evaluator=experiment.evaluator,
        checkpoint=experiment.checkpoint or "",
        init=experiment.init or "",
        predictions=experiment.predictions or "",
        annotations=getattr(experiment.data, "annotations", None) or "",
        input=experiment.input or "",
        off_table=tuple(left),
        overrides=overrides,
        init_classes=experiment.init_classes,
        export=settled.ExportSpec(experiment.export.grammar, experiment.export.hub or ""),
        target=experiment.target,
        runs=tuple(experiment.runs),
        published=tuple(experiment.published),
        left_to_weights=tuple(where for where in BELONG_TO_WEIGHTS if _is_open(experiment, where)),
        plan=settled.PlanSpec(experiment.plan.probe, experiment.plan.memory or 0),
    )


def _is_open(experiment: schema.Experiment, where: str) -> bool:
    """Whether a setting is there and nobody wrote it."""
    group, _, name = where.partition(".")
    return getattr(getattr(experiment, group), name, ...) is None


def _data(experiment: schema.Experiment) -> settled.DataSpec:
    data = experiment.data
    names, count = _known_classes(data)
    classifies = isinstance(data, schema.ClassificationData)
    return settled.DataSpec(
        name=data.name,
        root=data.root or "",
        source=_source(data),
        augment=_augment(data.augment),
        classes=names,
        num_classes=count,
        category_ids=(),
        batch_size=data.batch_size,
        workers=data.workers if data.workers is not None else _workers(experiment.trainer),
        on_error=data.on_error,
        cache=data.cache,
        crop_fraction=(data.crop_fraction or CROP_FRACTION) if classifies else 1.0,
        interpolation=(data.interpolation or INTERPOLATION) if classifies else "bilinear",
        fold=-1 if data.fold is None else data.fold,
        folds=data.folds,
    )


def _workers(trainer: schema.Trainer) -> int:
    """Each device's share of the cores; half of it where the network computes on them too."""
    share = (os.cpu_count() or 1) // max(trainer.gpus, trainer.processes)
    return min(MOST_WORKERS, max(1, share if trainer.gpus else share // 2))


def _known_classes(data: schema.AnyData) -> tuple[tuple[str, ...], int]:
    """Names and number as far as they are known before the data is read."""
    if data.classes:
        return tuple(data.classes), len(data.classes)
    match data:
        case schema.DigitScenes() | schema.Digits():
            return classes.DIGITS, len(classes.DIGITS)
        case schema.Cifar10():
            return classes.CIFAR10, len(classes.CIFAR10)
        case schema.TransferSet():
            return (), classes.TRANSFER_CLASSES[data.name]
        case schema.Coco():
            return (), classes.COCO_CLASSES
        case schema.ImageNet():
            return (), classes.IMAGENET_CLASSES
        case _:
            return (), 0


def _source(data: schema.AnyData) -> settled.DetectionSource | settled.ClassificationSource:
    match data:
        case schema.DigitScenes():
            return settled.DigitScenesSource(data.canvas, data.train_images, data.val_images, data.seed)
        case schema.Coco():
            return settled.CocoSource(
                data.train_annotations or "", data.train_images or "", data.val_annotations or "", data.val_images or ""
            )
        case schema.Voc():
            return settled.VocSource(data.train_split, data.val_split, data.keep_difficult)
        case schema.Digits():
            return settled.DigitsSource()
        case schema.ImageFolder():
            return settled.FolderSource(data.train_folder or "", data.val_folder or "", data.class_pattern or "")
        case schema.Cifar10():
            return settled.Cifar10Source(data.download)
        case schema.TransferSet():
            return settled.TransferSource(data.name, data.download)
        case schema.ImageNet():
            return settled.FolderSource("train", "val", "")


def _augment(
    augment: schema.DetectionAugmentation | schema.ClassificationAugmentation,
) -> settled.DetectionAugment | settled.ClassificationAugment:
    if isinstance(augment, schema.DetectionAugmentation):
        return settled.DetectionAugment(**augment.model_dump())
    return settled.ClassificationAugment(**augment.model_dump())


def _optim(experiment: schema.Experiment) -> settled.OptimSpec:
    optim = experiment.optim
    batch = experiment.data.batch_size * experiment.trainer.accumulate
    scale = batch / optim.reference_batch if optim.reference_batch else 1.0
    fields = optim.model_dump(exclude={"reference_batch", "learning_rate", "freeze"})
    return settled.OptimSpec(learning_rate=optim.learning_rate * scale, freeze=tuple(optim.freeze), **fields)


def _trainer(trainer: schema.Trainer) -> settled.TrainerSpec:
    return settled.TrainerSpec(**trainer.model_dump())


def _logger(logger: schema.Logger) -> settled.LoggerSpec:
    fields = logger.model_dump()
    return settled.LoggerSpec(**{**fields, "group": fields["group"] or ""})


def _name(experiment: schema.Experiment) -> str:
    """efficientdet-d4, efficientdet-lite0, efficientnet-b1, efficientdet-resnet50-d0."""
    backbone = experiment.backbone
    letter = "d" if experiment.model.name == "efficientdet" else "b"
    if backbone.name == "efficientnet_lite":
        letter = "lite"
    elif backbone.name != "efficientnet":
        letter = f"{getattr(backbone, 'architecture', backbone.name)}-{letter}"
    return f"{experiment.model.name}-{letter}{experiment.phi:g}"
