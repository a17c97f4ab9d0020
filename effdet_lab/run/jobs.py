"""From the command line to jobs: each one a settled experiment and the folder it will live in."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from effdet_lab.errors import ConfigError, MachineError, Refusal
from effdet_lab.run.afford import afford, show_answer, without_budget
from effdet_lab.run.budget import Answer
from effdet_lab.run.folder import spec_behind
from effdet_lab.run.machine import check_machine
from effdet_lab.settings.compose import compose_config, expand, is_swept, key_of, settle_config, split_space, sweep_of
from effdet_lab.settings.option_files import names_file
from effdet_lab.settings.rules import space_problems
from effdet_lab.spec import ExperimentSpec
from effdet_lab.sweep_spec import SweepSpec

# Settings of a saved run that say how it was trained, not what it is.
NOT_INHERITED = (
    "task",
    "checkpoint",
    "init",
    "input",
    "predictions",
    "trainer",
    "logger",
    "optim",
    "hydra",
    "seed",
    "plan",
)
NOT_OF_A_JOB = ("hydra", "sweep", "cluster", "search", "space", "budget")  # they say where and how jobs are run
TASK = "task=search"
SHAPING = ("model", "backbone", "bifpn", "head", "phi", "scaling", "experiment")


class Job(NamedTuple):
    """One experiment to run."""

    spec: ExperimentSpec
    folder: Path


class Sweep(NamedTuple):
    """Jobs that were asked for together, and how they are to be run."""

    jobs: list[Job]
    folder: Path
    spec: SweepSpec


def single(overrides: Sequence[str]) -> Job:
    """The one job of a command.

    Raises: ConfigError or MachineError with every problem.
    """
    spec, config = _settled(overrides, show_answer)
    axes = _own_axes(overrides) if spec.task == "train" and not spec.checkpoint else []
    if axes:
        raise ConfigError(f"sweep.over: this recipe has several values for {', '.join(map(key_of, axes))}. Add -m.")
    check_machine(spec)
    return Job(spec, _resolved(config, "run", overrides))


def sweep(overrides: Sequence[str]) -> Sweep:
    """The jobs of a multirun, refused whole when one of them cannot run."""
    jobs, problems = [], []
    folder, how = None, None
    combinations = expand([*overrides, *_own_axes(overrides)])
    for number, choice in enumerate(combinations):
        try:
            spec, config = _settled(choice)
            folder = folder or _resolved(config, "sweep", overrides)
            how = sweep_of(config)
            check_machine(spec, how.cluster.is_elsewhere)
            jobs.append(Job(spec, folder / str(number)))
        except Refusal as refusal:
            varied = [text for text in choice if text not in overrides]
            problems += [f"job {number} ({' '.join(varied)}): {problem}" for problem in refusal.problems]
    if problems:
        refused = len(combinations) - len(jobs)
        raise ConfigError([*dict.fromkeys(problems), f"{refused} of {len(combinations)} jobs; none was started."])
    assert folder is not None
    assert how is not None
    return Sweep(jobs, folder, how)


def _own_axes(overrides: Sequence[str]) -> list[str]:
    """What a recipe sweeps over, but for what was typed.

    Raises: ConfigError where the recipe cannot be composed.
    """
    plain = [text for text in overrides if not is_swept(text)]
    typed = {key_of(text) for text in overrides}
    return [text for text in compose_config(plain).sweep.over if key_of(text) not in typed]


class Searched(NamedTuple):
    """A search that was asked for: what is settled of its jobs, and how they are to be found and run."""

    base: tuple[str, ...]
    folder: Path
    spec: SweepSpec


def is_search(overrides: Sequence[str]) -> bool:
    """Whether a search was asked for."""
    return TASK in overrides or any(key_of(text) == "search" and not text.endswith("=none") for text in overrides)


def search(overrides: Sequence[str], folder: Path | None = None) -> Searched:
    """A search, in a new folder or in one that has begun, whose every end of every dimension can run.

    Raises: ConfigError or MachineError with every problem; no trial is started.
    """
    base, typed = split_space([text for text in overrides if text != TASK])  # each trial is a training
    spec, config = _settled(base)
    how = sweep_of(config)
    if how.search.name == "none":
        raise ConfigError(
            "search=none: there is nothing to search. Give search=tpe, grid, ... or a recipe that has one."
        )
    check_machine(spec, how.cluster.is_elsewhere)
    how = dataclasses.replace(how, search=dataclasses.replace(how.search, space=(*how.search.space, *typed)))
    problems = space_problems(how.search)
    for dimension in how.search.space:
        for value in dimension.ends():
            try:
                spec_of(base, {dimension.setting: value})
            except Refusal as refusal:
                problems += [f"space: {problem}" for problem in refusal.problems]
    if problems:
        raise ConfigError(dict.fromkeys(problems))
    return Searched(base, folder or _resolved(config, "sweep", overrides), how)


def spec_of(base: Sequence[str], chosen: Mapping[str, object]) -> ExperimentSpec:
    """The experiment of a trial.

    Raises: ConfigError with every problem.
    """
    return _settled([*base, *(f"{setting}={written(value)}" for setting, value in chosen.items())])[0]


def written(value: object) -> str:
    """A value as it is typed on the command line."""
    return str(value).lower() if isinstance(value, bool) else repr(value) if isinstance(value, float) else str(value)


def still_said(before: Sequence[str], overrides: Sequence[str]) -> list[str]:
    """What was typed for an old sweep and is not said anew: another cluster takes its settings with it."""
    said = {key_of(text) for text in overrides}
    return [
        text for text in before if key_of(text) not in said and not ("cluster" in said and _group_of(text) == "cluster")
    ]


def how_to_resume(before: Sequence[str], overrides: Sequence[str]) -> SweepSpec:
    """How the jobs of an old sweep are to be run now: where they ran `before`, where nothing else is said.

    Raises: ConfigError with every problem.
    """
    where = [text for text in still_said(before, overrides) if _group_of(text) == "cluster"]
    return sweep_of(compose_config([*where, *overrides]))


def _group_of(override: str) -> str:
    return key_of(override).partition(".")[0]


def sweep_folder(overrides: Sequence[str]) -> Path:
    """An existing sweep's folder: `hydra.sweep.dir` where it was typed, else the latest where a new one would be.

    Raises: ConfigError with every problem; MachineError where there is none.
    """
    config = compose_config(overrides)
    HydraConfig.instance().set_config(config)
    folder = Path(str(config.hydra.sweep.dir))
    if any(key_of(text) == "hydra.sweep.dir" for text in overrides):
        return folder
    found = [path.parent for path in folder.parent.glob("*/sweep.json")]
    if not found:
        raise MachineError(f"hydra.sweep.dir: there is no sweep in {folder.parent}. Name its folder.")
    return max(found, key=lambda path: (path / "sweep.json").stat().st_mtime)


def _settled(
    overrides: Sequence[str], tell: Callable[[Answer], None] = lambda answer: None
) -> tuple[ExperimentSpec, DictConfig]:
    """The experiment and its configuration; `tell` hears what a budget found."""
    saved = _saved_spec(overrides)
    if saved is not None:
        overrides = [*_inherited(saved, overrides), *overrides]
    config = compose_config(overrides)
    answer = afford(overrides, config)
    if answer is not None:
        tell(answer)
        overrides = without_budget(overrides, answer)
        config = compose_config(overrides)
    spec = settle_config(config, [text for text in overrides if _group_of(text) not in NOT_OF_A_JOB])
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
        gone = names_file(text) and not Path(text.partition("=")[2].strip("'\"")).is_file()
        if not replaced and not gone and _group_of(key) not in NOT_INHERITED:
            kept.append(text)
    return kept


def _as_trained(spec: ExperimentSpec, saved: ExperimentSpec, overrides: Sequence[str]) -> ExperimentSpec:
    """The network as it was trained, and the classes it knows, whatever today's tables say."""
    typed = {_group_of(text) for text in overrides if text not in saved.overrides}
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
        trained = (folder / "checkpoints").is_dir() or (folder / "sweep.json").exists()
        if trained and config.task == "train":
            raise ConfigError(f"hydra.{kind}.dir={folder}: holds trained weights, which would be lost. Name another.")
        return folder
    number = 2
    candidate = folder
    while candidate.exists():
        candidate = folder.with_name(f"{folder.name}_{number}")
        number += 1
    return candidate
