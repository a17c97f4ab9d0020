"""From the command line to jobs: each one a settled experiment and the folder it will live in."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from effdet_lab.errors import ConfigError, Refusal
from effdet_lab.run.folder import spec_behind
from effdet_lab.run.machine import check_machine
from effdet_lab.settings.compose import compose_config, expand, key_of, settle_config
from effdet_lab.spec import ExperimentSpec

# Settings of a saved run that say how it was trained, not what it is.
NOT_INHERITED = ("task", "checkpoint", "init", "input", "predictions", "trainer", "logger", "optim", "hydra", "seed")
SHAPING = ("model", "backbone", "bifpn", "head", "phi", "scaling", "experiment")


class Job(NamedTuple):
    """One experiment to run."""

    spec: ExperimentSpec
    folder: Path


class Sweep(NamedTuple):
    """Jobs that were asked for together."""

    jobs: list[Job]
    folder: Path


def single(overrides: Sequence[str]) -> Job:
    """The one job of a command.

    Raises: ConfigError or MachineError with every problem.
    """
    spec, config = _settled(overrides)
    check_machine(spec)
    return Job(spec, _resolved(config, "run", overrides))


def sweep(overrides: Sequence[str]) -> Sweep:
    """The jobs of a multirun, refused whole when one of them cannot run."""
    jobs, problems = [], []
    folder = Path()
    combinations = expand(overrides)
    for number, choice in enumerate(combinations):
        try:
            spec, config = _settled(choice)
            folder = folder if jobs else _resolved(config, "sweep", overrides)
            check_machine(spec)
            jobs.append(Job(spec, folder / str(number)))
        except Refusal as refusal:
            varied = [text for text in choice if text not in overrides]
            problems += [f"job {number} ({' '.join(varied)}): {problem}" for problem in refusal.problems]
    if problems:
        refused = len(combinations) - len(jobs)
        raise ConfigError([*dict.fromkeys(problems), f"{refused} of {len(combinations)} jobs; none was started."])
    return Sweep(jobs, folder)


def _settled(overrides: Sequence[str]) -> tuple[ExperimentSpec, DictConfig]:
    saved = _saved_spec(overrides)
    if saved is not None:
        overrides = [*_inherited(saved, overrides), *overrides]
    config = compose_config(overrides)
    spec = settle_config(config, [text for text in overrides if key_of(text).split(".")[0] != "hydra"])
    return (spec if saved is None else _as_trained(spec, saved, overrides)), config


def _saved_spec(overrides: Sequence[str]) -> ExperimentSpec | None:
    """The experiment behind `checkpoint=`, where its folder tells."""
    for text in overrides:
        if key_of(text) == "checkpoint":
            return spec_behind(text.partition("=")[2].strip("'\""))
    return None


def _inherited(saved: ExperimentSpec, typed: Sequence[str]) -> list[str]:
    """What was typed for the saved run and is not said anew: a new group takes its settings with it."""
    keys = [key_of(text) for text in typed]
    kept = []
    for text in saved.overrides:
        key = key_of(text)
        replaced = any(key == new or key.startswith(f"{new}.") for new in keys)
        if not replaced and key.split(".")[0] not in NOT_INHERITED:
            kept.append(text)
    return kept


def _as_trained(spec: ExperimentSpec, saved: ExperimentSpec, overrides: Sequence[str]) -> ExperimentSpec:
    """The network as it was trained, and the classes it knows, whatever today's tables say."""
    typed = {key_of(text).split(".")[0] for text in overrides if text not in saved.overrides}
    model = spec.model if typed & set(SHAPING) else saved.model
    data = spec.data if "data" in typed else saved.data
    data = dataclasses.replace(
        data,
        classes=saved.data.classes,
        num_classes=saved.data.num_classes,
        category_ids=saved.data.category_ids if "data" not in typed else data.category_ids,
    )
    return dataclasses.replace(spec, model=model, data=data)


def _resolved(config: DictConfig, kind: str, overrides: Sequence[str]) -> Path:
    """The folder the user named, or a new one that nobody has."""
    HydraConfig.instance().set_config(config)
    folder = Path(str(config.hydra[kind].dir))
    if any(key_of(text) == f"hydra.{kind}.dir" for text in overrides):
        trained = (folder / "checkpoints").is_dir() or (folder / "sweep.csv").exists()
        if trained and config.task == "train":
            raise ConfigError(f"hydra.{kind}.dir={folder}: holds trained weights, which would be lost. Name another.")
        return folder
    number = 2
    candidate = folder
    while candidate.exists():
        candidate = folder.with_name(f"{folder.name}_{number}")
        number += 1
    return candidate
