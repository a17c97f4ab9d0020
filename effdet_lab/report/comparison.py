"""Runs beside one another: which settings differ, what that did to the metrics, and what to say of it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from effdet_lab.report.reading import REPEATS, RunFolder, higher_is_better, main_metric
from effdet_lab.report.run import TILES
from effdet_lab.report.settings import written
from effdet_lab.report.statistics import deviation, mean
from effdet_lab.report.wording import NOTHING, decimal
from effdet_lab.spec import to_dict

# What says where a run lies or what it is called, or only follows from what else was set.
SAYS_NOTHING = ("name", "task", "overrides", "off_table", "left_to_weights", "input", "target", "plan")
SAYS_NOTHING += ("predictions", "annotations", "logger", "export", "data.root")
# Settings below these decide which pictures a run is judged on; those of the training pictures do not.
JUDGED_ON = ("data.fold", "data.folds", "data.name", "data.classes", "data.category_ids", "data.source")
TRAINED_ON = ("train", "download")
TYPED_AS = {  # as spec.yaml nests them -> as they are typed
    "model.input": "model",
    "model.backbone": "backbone",
    "model.bifpn": "bifpn",
    "model.head": "head",
    "model.loss": "head.loss",
    "model.postprocess": "head.postprocess",
    "model.dropout": "head.dropout",
    "model.label_smoothing": "head.label_smoothing",
    "data.source": "data",
}
PLUS_MINUS = "\N{PLUS-MINUS SIGN}"


@dataclass(frozen=True)
class Setting:
    """One settled number that is not the same in every run."""

    name: str  # as it is typed
    path: str  # as spec.yaml nests it
    values: tuple[str, ...]  # one a run; a dash where it has no such setting
    typed: bool  # else it follows from what was typed


@dataclass(frozen=True)
class Difference:
    """How much more a run has of a metric than the first run; `low` and `high` are the 95 % interval's, if known."""

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def excludes_zero(self) -> bool:
        """Whether an interval leaves no doubt about the sign."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)

    @property
    def turned(self) -> "Difference":
        """The first run against this one."""
        low, high = (None if end is None else -end for end in (self.high, self.low))
        return Difference(-self.value, low, high)


@dataclass(frozen=True)
class Dispute:
    """A picture that the runs judge differently."""

    image: str  # its file, or what it is called
    name: str  # what to say above it
    panels: tuple[tuple[str, Path], ...]  # what to say below it, and the file: the truth, then a panel a run


@dataclass(frozen=True)
class Compared:
    """Runs beside one another; the first one is what the others are measured against."""

    runs: tuple[RunFolder, ...]
    settings: tuple[Setting, ...]
    metric: str  # what they are judged by
    differences: Mapping[str, tuple[Difference | None, ...]]  # by metric, one for each run after the first
    disputes: tuple[Dispute, ...] = ()
    judged_on: int | None = None  # pictures behind the intervals
    notes: tuple[str, ...] = ()

    @property
    def letters(self) -> tuple[str, ...]:
        """What the runs are called."""
        return letters(len(self.runs))

    @property
    def repeated(self) -> bool:
        """Whether nothing differs but what repeats an experiment."""
        return all(setting.path in REPEATS for setting in self.settings)

    @property
    def causes(self) -> tuple[Setting, ...]:
        """The settings that somebody chose; all of them where nobody knows."""
        return tuple(setting for setting in self.settings if setting.typed) or self.settings


Intervals = Mapping[str, Sequence[tuple[float, float] | None]]  # by metric, one for each run after the first


def letters(number: int) -> tuple[str, ...]:
    """
    >>> letters(3)
    ('A', 'B', 'C')
    """
    return tuple(chr(ord("A") + index) for index in range(number))


def common_metric(runs: Sequence[RunFolder]) -> str | None:
    """What all runs measured and can be judged by."""
    shared = {name: value for name, value in runs[0].metrics.items() if all(is_measured(run, name) for run in runs)}
    return main_metric([shared])


def is_measured(run: RunFolder, metric: str) -> bool:
    """COCO writes -1 where there was nothing to measure."""
    return run.metrics.get(metric, -1) != -1


def compared(
    runs: Sequence[RunFolder],
    intervals: Intervals | None = None,
    disputes: Sequence[Dispute] = (),
    judged_on: int | None = None,
    remarks: Sequence[str] = (),
) -> Compared:
    """What the runs' folders tell, and what was found out about their pictures."""
    metric = common_metric(runs)
    assert metric is not None, "the runs have a metric in common to be judged by"
    said = [f"{letter}: {note}" for letter, run in zip(letters(len(runs)), runs, strict=True) for note in run.notes]
    return Compared(
        tuple(runs),
        differing_settings(runs),
        metric,
        _differences(runs, intervals or {}),
        tuple(disputes),
        judged_on,
        (*remarks, *said),
    )


def differing_settings(runs: Sequence[RunFolder]) -> tuple[Setting, ...]:
    """In spec.yaml's order, without what says nothing."""
    # A run of an earlier version lacks settings that its understood experiment has.
    flat = [dict(_flat(to_dict(run.spec) if run.spec else run.settings)) for run in runs]
    typed = [_typed(run) for run in runs]
    varied = {name for each in typed for name in each if len({other.get(name) for other in typed}) > 1}
    found = []
    for path in dict.fromkeys(path for each in flat for path in each):
        values = tuple(written(each[path]) if path in each else NOTHING for each in flat)
        if len(set(values)) > 1 and not _below(path, SAYS_NOTHING):
            name = _name(path)
            found.append(Setting(name, path, values, any(_names(key, name, path) for key in varied)))
    return tuple(found)


def same_pictures(settings: Sequence[Setting]) -> bool:
    """Whether none of these settings changes what a run is judged on."""
    return not any(
        _below(setting.path, JUDGED_ON) and not setting.path.split(".")[-1].startswith(TRAINED_ON)
        for setting in settings
    )


def _flat(settings: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Every settled value by its path; records that stand in a list become one list for each of their fields."""
    for name, value in settings.items():
        path = f"{above}{name}"
        if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            fields = dict.fromkeys(field for item in value for field in item)
            value = {field: [item.get(field) for item in value] for field in fields}
        if isinstance(value, dict):
            yield from _flat(value, f"{path}.")
        else:
            yield path, value


def _below(path: str, places: Sequence[str]) -> bool:
    return any(path == place or path.startswith(f"{place}.") for place in places)


def _name(path: str) -> str:
    place = next((place for place in TYPED_AS if _below(path, (place,))), "")
    return TYPED_AS[place] + path.removeprefix(place) if place else path


def _typed(run: RunFolder) -> dict[str, str]:
    pairs = (str(text).lstrip("+~").partition("=") for text in run.settings.get("overrides") or ())
    return {name: value for name, _, value in pairs}


def _names(typed: str, name: str, path: str) -> bool:
    """Whether what was typed sets this: itself, a group it is in, or the same word deeper in its group."""
    *groups, last = typed.split(".")
    *above, setting = path.split(".")
    if groups:
        return typed == name or (last == setting and set(groups) <= set(above))
    return last in ("experiment", path, name.split(".")[0], *above)


def _differences(runs: Sequence[RunFolder], intervals: Intervals) -> dict[str, tuple[Difference | None, ...]]:
    first, *others = runs
    found: dict[str, tuple[Difference | None, ...]] = {}
    for name in dict.fromkeys(name for run in runs for name in run.metrics):
        ends = intervals.get(name) or [None] * len(others)
        found[name] = tuple(
            _difference(first.metrics.get(name), run.metrics.get(name), end)
            for run, end in zip(others, ends, strict=True)
        )
    return found


def _difference(first: float | None, other: float | None, ends: tuple[float, float] | None) -> Difference | None:
    """None where one was not measured; COCO writes that as -1."""
    if first in (None, -1) or other in (None, -1):
        return None
    return Difference(other - first, *(ends or (None, None)))


def verdict(compared: Compared) -> str:
    """Which run is better, by how much, and whether that could be chance; in plain words."""
    metric, runs = compared.metric, compared.runs
    said = said_of(metric)
    values = [run.metrics[metric] for run in runs]
    if compared.repeated:
        spread = deviation(values)
        assert spread is not None
        what = f"only {listed([setting.name for setting in compared.settings])} differs" if compared.settings else ""
        return (
            f"The same experiment, repeated: {what or 'not one setting differs'}. {said} is {decimal(mean(values))} "
            f"{PLUS_MINUS} {decimal(spread)} over {len(runs)} runs. What lies between them is chance, also where an "
            "interval excludes zero."
        )
    sign = 1 if higher_is_better(metric) else -1
    order = sorted(range(len(runs)), key=lambda index: -sign * values[index])
    best, second = order[0], order[1]
    other = second if best == 0 else 0  # differences are known against the first run alone
    difference = compared.differences[metric][max(best, other) - 1]
    assert difference is not None
    difference = difference.turned if best == 0 else difference
    best_letter, other_letter = compared.letters[best], compared.letters[other]
    if difference.value == 0:
        return f"{best_letter} and {other_letter} have the same {said}, {decimal(values[best])}."
    amount = f"{decimal(abs(difference.value))} {said}"
    if difference.low is None:
        return f"{best_letter} is better than {other_letter} by {amount}. How certain that is, is not known."
    low, high = ends_of(difference if sign > 0 else difference.turned)
    if difference.excludes_zero:
        return (
            f"{best_letter} is better than {other_letter} by {amount} (95 % interval {low} to {high}). The interval "
            f"excludes zero: other pictures of this kind would hardly turn it around."
        )
    return (
        f"{best_letter} is ahead of {other_letter} by {amount}, but the 95 % interval, {low} to {high}, includes zero: "
        f"on other pictures of this kind {other_letter} could be as good or better."
    )


def said_of(metric: str) -> str:
    """What a metric is called among people."""
    return dict(TILES).get(metric, metric)


def listed(names: Sequence[str]) -> str:
    """
    >>> listed(["a", "b", "c"])
    'a, b and c'
    """
    *before, last = names
    return f"{', '.join(before)} and {last}" if before else last


def ends_of(difference: Difference) -> tuple[str, str]:
    """Of its interval, which is known."""
    assert difference.low is not None
    assert difference.high is not None
    return decimal(difference.low), decimal(difference.high)
