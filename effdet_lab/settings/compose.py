"""From what was typed to settled experiments: Hydra composes, and every mistake becomes a sentence of ours."""

import fnmatch
import itertools
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Glob, IntervalSweep, Override, RangeSweep
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from effdet_lab.errors import ConfigError
from effdet_lab.settings.judge import did_you_mean
from effdet_lab.settings.option_files import from_files
from effdet_lab.settings.settle import settle, settle_budget, settle_sweep
from effdet_lab.spec import BudgetSpec, ExperimentSpec
from effdet_lab.sweep_spec import Dimension, SweepSpec

HIDDEN = ("base", "hydra")  # folders of conf/ that are no option


def config_folder() -> Path:
    """conf/ of an installed wheel, or of the checkout."""
    package = Path(__file__).parents[1]
    installed = package / "conf"
    return installed if installed.is_dir() else package.parent / "conf"


def compose(*overrides: str) -> ExperimentSpec:
    """The settled experiment of these overrides, as they are typed after run.py.

    Raises: ConfigError with every problem found.
    """
    return settle_config(compose_config(overrides), overrides)


def settle_config(config: DictConfig, overrides: Iterable[str]) -> ExperimentSpec:
    """What Hydra composed, judged and filled."""
    return settle(settings_of(config), overrides)


def sweep_of(config: DictConfig) -> SweepSpec:
    """How what Hydra composed wants the jobs of a sweep to be run."""
    return settle_sweep(settings_of(config))


def budget_of(config: DictConfig) -> BudgetSpec:
    """What the network may cost, as Hydra composed it."""
    return settle_budget(settings_of(config))


def settings_of(config: DictConfig) -> dict[str, Any]:
    """What Hydra composed, as plain values."""
    settings = OmegaConf.to_container(without_hydra(config), resolve=True)
    assert isinstance(settings, dict)
    return {str(name): value for name, value in settings.items()}


def without_hydra(config: DictConfig) -> DictConfig:
    """The experiment alone."""
    return OmegaConf.masked_copy(config, [str(name) for name in config if name != "hydra"])


def compose_config(overrides: Sequence[str]) -> DictConfig:
    """The composed configuration, Hydra's own part included.

    Raises: ConfigError naming each override that has no place, with the nearest one that has.
    """
    overrides = from_files(overrides)
    parsed = _parse(overrides)
    problems = [
        f"{override.input_line}: several values need -m." for override in parsed if override.is_sweep_override()
    ]
    if problems:
        raise ConfigError(problems)
    try:
        return _compose(overrides)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(_explain(parsed, error)) from None


def expand(overrides: Sequence[str]) -> list[tuple[str, ...]]:
    """The overrides of each job of a sweep, in the order of the axes as typed."""
    axes = [_values(override) for override in _parse(overrides)]
    return list(itertools.product(*axes))


def split_space(overrides: Sequence[str]) -> tuple[tuple[str, ...], tuple[Dimension, ...]]:
    """The overrides that are settled, and what a search may choose: lists, range(...), interval(...), tag(log, ...).

    Raises: ConfigError for an override that is neither.
    """
    settled, space = [], []
    for override in _parse(overrides):
        if override.is_sweep_override():
            space.append(_dimension(override))
        else:
            settled.append(override.input_line or "")
    return tuple(settled), tuple(space)


def _dimension(override: Override) -> Dimension:
    value, setting = override.value(), override.get_key_element()
    if isinstance(value, IntervalSweep):
        low, high = float(value.start or 0), float(value.end or 0)
        whole = isinstance(value.start, int) and isinstance(value.end, int)
        return Dimension(setting, low=low, high=high, step=1.0 if whole else 0.0, log="log" in value.tags)
    if isinstance(value, RangeSweep):
        step = float(value.step)
        count = math.ceil((float(value.stop or 0) - float(value.start or 0)) / step) - 1
        return Dimension(setting, low=float(value.start or 0), high=float(value.start or 0) + count * step, step=step)
    return Dimension(setting, choices=tuple(_plain_value(text) for text in override.sweep_string_iterator()))


def _plain_value(text: str) -> float | int | str | bool:
    """A choice as YAML reads it."""
    value = yaml.safe_load(text)
    return value if isinstance(value, bool | int | float) else text


def key_of(override: str) -> str:
    """What an override sets: 'data', 'data.root', ...

    >>> key_of("+data.root=x")
    'data.root'
    """
    return override.partition("=")[0].lstrip("+~").partition("@")[0]


def is_swept(override: str) -> bool:
    """Whether an override has several values.

    >>> is_swept("phi=0,1"), is_swept("phi=0")
    (True, False)
    """
    return _parse([override])[0].is_sweep_override()


def options_of(group: str) -> list[str]:
    """The options of a group, by name."""
    return sorted(path.stem for path in (config_folder() / group).glob("*.yaml"))


def groups() -> list[str]:
    """The groups of conf/."""
    return sorted(path.name for path in config_folder().iterdir() if path.is_dir() and path.name not in HIDDEN)


def _compose(overrides: Sequence[str]) -> DictConfig:
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        config = hydra_compose("config", overrides=list(overrides), return_hydra_config=True)
    missing = sorted(OmegaConf.missing_keys(without_hydra(config)))
    if missing:
        raise ConfigError([f"{setting}: must be given, as {setting}=VALUE." for setting in missing])
    return config


def _parse(overrides: Sequence[str]) -> list[Override]:
    parser = OverridesParser.create()
    parsed, problems = [], []
    for text in overrides:
        try:
            parsed.append(parser.parse_override(text))
        except HydraException as error:
            reason = str(error).strip().splitlines()[0]
            problems.append(f"{text}: is not of the form setting=value ({reason}).")
    if problems:
        raise ConfigError(problems)
    return parsed


def _values(override: Override) -> list[str]:
    if not override.is_sweep_override():
        return [override.input_line or ""]
    value = override.value()
    if isinstance(value, IntervalSweep):
        raise ConfigError(f"{override.input_line}: an interval has no end of values. Use choice(...) or range(...).")
    key = override.get_key_element()
    if isinstance(value, Glob):
        names = [name for name in options_of(override.key_or_group) if _in_glob(name, value)]
        return [f"{key}={name}" for name in names]
    assert isinstance(value, ChoiceSweep) or override.is_sweep_override()
    return [f"{key}={text}" for text in override.sweep_string_iterator()]


def _in_glob(name: str, pattern: Glob) -> bool:
    included = any(fnmatch.fnmatch(name, choice) for choice in pattern.include)
    return included and not any(fnmatch.fnmatch(name, choice) for choice in pattern.exclude)


def _explain(parsed: list[Override], error: Exception) -> list[str]:
    """Each override that cannot stand on its own, and what else is wrong with those that can."""
    named = groups()
    choices = [override for override in parsed if override.key_or_group in named]
    problems, standing = [], []
    for override in choices:
        value = override.value()
        options = options_of(override.key_or_group)
        if override.is_delete() or value is None or str(value) in options:
            standing.append(override.input_line or "")
        else:
            problems.append(
                f"{override.key_or_group}={value}: no such option.{did_you_mean(str(value), options)} "
                f"There are: {', '.join(options)}."
            )
    try:
        config = _compose(standing)
    except ConfigError as missing:
        return [*problems, *missing.problems]
    except (HydraException, OmegaConfBaseException) as other:
        return [*problems, _first_line(other)]
    known = _flat_keys(config)
    good = list(standing)
    for override in parsed:
        if override in choices:
            continue
        key = override.key_or_group
        if override.is_add() or key in known or key.startswith("hydra"):
            good.append(override.input_line or "")
        else:
            nearest = did_you_mean(key, [*known, *named])
            problems.append(f"{override.input_line}: no such setting.{nearest}")
    try:
        settle_config(_compose(good), good)
    except ConfigError as more:
        problems.extend(more.problems)
    except (HydraException, OmegaConfBaseException) as other:
        problems.append(_first_line(other))
    return problems or [_first_line(error)]


def _first_line(error: Exception) -> str:
    return " ".join(line.strip() for line in str(error).strip().splitlines()[:2])


def _flat_keys(config: DictConfig) -> list[str]:
    keys: list[str] = []
    stack = [(str(name), value) for name, value in without_hydra(config).items()]
    while stack:
        path, value = stack.pop()
        keys.append(path)
        if isinstance(value, DictConfig):
            stack.extend((f"{path}.{name}", child) for name, child in value.items())
    return keys
