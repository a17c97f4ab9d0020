"""What runs say about scaling: members of families, what they cost, and one dimension against all three."""

import json
import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from effdet_lab.report.comparison import JUDGED_ON, TRAINED_ON, Difference, Setting, differing_settings, is_measured
from effdet_lab.report.ranking import PHI, label_of
from effdet_lab.report.reading import REPEATS, Costs, RunFolder, SweepFolder, main_metric, read_run, read_sweep
from effdet_lab.report.statistics import deviation, interval, mean
from effdet_lab.report.wording import NOTHING, plural, short
from effdet_lab.scaling import backbone_table, detector_table
from effdet_lab.spec import ExperimentSpec, LoggerSpec, is_detector, to_dict

COMPOUND = "compound"
DIMENSIONS = ("depth", "width", "resolution")
DONE = "done"
# Settings that phi and scaling imply; one of them that was set by hand is named in `off_table`.
IMPLIED = ("model.input.image_size", "model.dropout", "model.head.repeats", "model.head.anchor_scale")
IMPLIED += tuple(f"model.bifpn.{name}" for name in ("channels", "repeats", "fusion"))
IMPLIED += tuple(
    f"model.backbone.{name}"
    for name in ("phi", "width", "depth", "stem_channels", "head_channels", "channels", "repeats", "drop_path")
)
IMPLIED += tuple(f"model.backbone.stages.{name}" for name in ("in_channels", "out_channels", "repeats"))
NAMES = {
    "efficientnet": "EfficientNet",
    "efficientnet_lite": "EfficientNet-Lite",
    "mobilenet_v1": "MobileNet V1",
    "mobilenet_v2": "MobileNet V2",
    "staged": "own stages",
}
DETECTORS = {"efficientnet": "EfficientDet", "efficientnet_lite": "EfficientDet-Lite"}
STARTED = " from "  # before the base network's multipliers
OWN_NETWORK = "bifpn"  # the feature network that an EfficientDet has
# What says how a run was priced, exported or asked for; nothing of its network.
BESIDES = ("plan", "target", "runs", "export", "overrides", "left_to_weights")
NO_LOGGER = LoggerSpec("csv", "", "", "auto", 0)  # who keeps the curves says nothing of the network
OWN_BASE = {False: 224, True: 512}  # pixels at phi 0 where no table says: of a classifier, of a detector


@dataclass(frozen=True)
class Member:
    """Runs of one network that differ only in what repeats them."""

    runs: tuple[RunFolder, ...]
    metric: str
    costs: Costs  # of a picture; the mean over the runs that know
    repeats: Mapping[Hashable, float]  # the metric by seed and fold

    @property
    def spec(self) -> ExperimentSpec:
        """Of its first run."""
        return self.runs[0].experiment

    @property
    def phi(self) -> float:
        """As it was asked for."""
        return self.spec.phi

    @property
    def name(self) -> str:
        """What it is called beside its point."""
        return f"{PHI} {short(self.phi)}"

    @property
    def values(self) -> list[float]:
        """Of the metric, one for each repeat."""
        return list(self.repeats.values())

    @property
    def mean(self) -> float:
        """Of the metric."""
        return mean(self.values)

    @property
    def deviation(self) -> float | None:
        """Of the metric over the repeats, the sample's."""
        return deviation(self.values)

    @property
    def multipliers(self) -> tuple[float | None, float | None, float]:
        """Depth, width and resolution against phi = 0."""
        spec, backbone = self.spec, self.spec.model.backbone
        height, width = spec.model.input.image_size
        pixels = math.sqrt(height * width) / _base_size(spec)
        return getattr(backbone, "depth", None), getattr(backbone, "width", None), pixels


@dataclass(frozen=True)
class Family:
    """Members that one line joins: the same networks, scaled the same way."""

    base: str  # what is scaled
    mode: str  # how: compound, depth, width or resolution
    choice: str  # what else sets it apart from another family of the same base and mode
    members: tuple[Member, ...]  # by phi
    differing: tuple[Setting, ...]  # what differs between its members besides phi
    title: str = ""  # the base without where it starts from, where no other needs telling apart
    label: str = ""  # what sets it apart from the others in its picture

    @property
    def is_compound(self) -> bool:
        """Whether all three dimensions grow together."""
        return self.mode not in DIMENSIONS

    def by_cost(self, cost: str) -> list[tuple[float, Member]]:
        """Members whose cost is known, the cheapest first; `cost` is a field of `Costs`."""
        known = [(value, member) for member in self.members if (value := getattr(member.costs, cost))]
        return sorted(known, key=lambda pair: pair[0])


@dataclass(frozen=True)
class Ground:
    """Families that were judged on the same pictures by the same metric, so that one picture can hold them."""

    data: str
    metric: str
    families: tuple[Family, ...]

    @property
    def members(self) -> list[Member]:
        """Of all families."""
        return [member for family in self.families for member in family.members]


@dataclass(frozen=True)
class Meeting:
    """A compound member, and what one dimension would reach for the same multiply-adds."""

    member: Member
    multiply_adds: float
    value: float  # of the dimension, between its neighbouring members
    difference: Difference  # compound - dimension


@dataclass(frozen=True)
class Duel:
    """All three dimensions together against one of them alone."""

    alone: Family
    line: tuple[Member, ...]  # by multiply-adds; the base network stands where every dimension starts
    meetings: tuple[Meeting, ...]
    outside: int  # compound members that the dimension's line does not reach
    overall: Difference | None  # mean over the meetings
    repeats: int  # behind its interval
    differing: tuple[Setting, ...]  # between the members of both, besides phi and scaling

    @property
    def dimension(self) -> str:
        """The one that grows alone."""
        return self.alone.mode


def runs_of(paths: Iterable[Path]) -> tuple[list[RunFolder], list[str]]:
    """Run folders, and the done jobs of sweep folders, each once; what had to be left out, a sentence each.

    Raises: DataError where there is no such folder.
    """
    runs: dict[Path, RunFolder] = {}
    said: list[str] = []
    for path in paths:
        if (path / "sweep.csv").is_file() or (path / "sweep.json").is_file():
            sweep = read_sweep(path)
            found = done_runs(sweep)
            if len(found) < len(sweep.jobs):
                said.append(
                    f"{path}: {len(found)} of {plural(len(sweep.jobs), 'job')} are done; the others are left out."
                )
        else:
            found = [read_run(path)]
        runs.update((run.path.resolve(), run) for run in found)
    return list(runs.values()), said


def done_runs(sweep: SweepFolder) -> list[RunFolder]:
    """The runs of a sweep's done jobs, with the metrics that the sweep's table has of them."""
    return [replace(job.run, metrics={**job.run.metrics, **job.metrics}) for job in sweep.jobs if job.status == DONE]


def grounds_of(runs: Sequence[RunFolder]) -> tuple[list[Ground], list[str]]:
    """Runs by what they were judged on, then by family; what had to be left out, a sentence each."""
    judged: dict[tuple[str, str, str], list[RunFolder]] = {}
    said = []
    for run in runs:
        measured = {name: value for name, value in run.metrics.items() if is_measured(run, name)}
        metric = main_metric([measured])
        if run.spec is None:
            said.append(f"{run.path}: left out, since its settings are not known.")
        elif metric is None:
            said.append(f"{run.path}: left out, since it has no metric to be judged by.")
        else:
            judged.setdefault((run.spec.data.name, _pictures(run.spec), metric), []).append(run)
    grounds = [
        Ground(_ground_name(judged, data, pictures), metric, _families(members, metric))
        for (data, pictures, metric), members in judged.items()
    ]
    return grounds, said


def duels(ground: Ground, compound: Family) -> list[Duel]:
    """This family against each single dimension of the same base."""
    return [
        _duel(compound, family)
        for family in ground.families
        if (family.base, family.choice) == (compound.base, compound.choice) and not family.is_compound
    ]


def _pictures(spec: ExperimentSpec) -> str:
    """What decides on which pictures a run is judged, the fold aside."""
    data = to_dict(spec.data)
    names = [name.removeprefix("data.") for name in JUDGED_ON if name not in (*REPEATS, "data.source")]
    source = {name: value for name, value in data["source"].items() if not name.startswith(TRAINED_ON)}
    judged = {name: data[name] for name in names} | {"source": source, "cut": spec.data.is_cut}
    if not spec.data.is_cut:
        judged.pop("folds")
    return json.dumps(judged, sort_keys=True)


def _ground_name(judged: Mapping[tuple[str, str, str], Sequence[RunFolder]], data: str, pictures: str) -> str:
    """The data set's name, and what sets it apart from another of that name."""
    firsts = {key[1]: runs[0] for key, runs in judged.items() if key[0] == data}
    order = list(firsts).index(pictures)
    apart = [
        f"{setting.name} {setting.values[order]}"
        for setting in (differing_settings(list(firsts.values())) if len(firsts) > 1 else ())
        if setting.path.startswith("data.")
    ]
    return f"{data} ({', '.join(apart)})" if apart else data


def _base_size(spec: ExperimentSpec) -> int:
    """Pixels at phi = 0, as the tables have it."""
    family: Any = getattr(spec.model.backbone, "family", "efficientnet")
    try:
        table = detector_table(family) if is_detector(spec) else backbone_table(family)
    except KeyError:
        return OWN_BASE[is_detector(spec)]
    return table[0].image_size


def base_of(spec: ExperimentSpec) -> str:
    """What is scaled: the backbone, and of a detector the network that its features pass through."""
    backbone = spec.model.backbone
    kind = type(backbone).__name__.removesuffix("Spec")
    family = getattr(backbone, "family", None) or getattr(backbone, "architecture", None) or kind
    name = NAMES.get(family, family)
    started = [f"{axis} {short(value)}" for axis, value in vars(spec.base).items() if value != 1]
    begun = f"{STARTED}{', '.join(started)}" if started else ""
    if not is_detector(spec):
        return f"{name}{begun}"
    network = getattr(getattr(spec.model, "bifpn", None), "topology", OWN_NETWORK)
    through = "" if network == OWN_NETWORK else f" through {network.replace('_', '-')}"
    return f"{DETECTORS.get(family, f'EfficientDet with {name}')}{through}{begun}"


def _families(runs: Sequence[RunFolder], metric: str) -> tuple[Family, ...]:
    members = _members(runs, metric)
    compound: dict[str, set[str]] = {}  # the scalings of each base that move all three dimensions
    for member in members:
        if member.spec.scaling not in DIMENSIONS:
            compound.setdefault(base_of(member.spec), set()).add(member.spec.scaling)
    lines: dict[tuple[str, str], list[Member]] = {}
    for member in members:
        base, mode = base_of(member.spec), str(member.spec.scaling)
        if mode not in DIMENSIONS:
            mode = COMPOUND if len(compound[base]) == 1 else f"{COMPOUND} ({mode})"
        lines.setdefault((base, mode), []).append(member)
    bases = list(dict.fromkeys(base for base, _ in lines))
    order = sorted(
        lines, key=lambda line: (bases.index(line[0]), line[1] in DIMENSIONS and 1 + DIMENSIONS.index(line[1]))
    )
    families = [family for base, mode in order for family in _split(base, mode, lines[base, mode])]
    titles = {family.base: family.base.partition(STARTED)[0] for family in families}
    if len(set(titles.values())) < len(titles):
        titles = {base: base for base in titles}
    parts = [(titles[family.base], family.mode, family.choice) for family in families]
    telling = [index for index in range(3) if len({part[index] for part in parts}) > 1] or [0, 1]
    return tuple(
        replace(family, title=part[0], label=", ".join(part[index] for index in telling if part[index]))
        for family, part in zip(families, parts, strict=True)
    )


def _members(runs: Sequence[RunFolder], metric: str) -> list[Member]:
    """Repeats together."""
    alike: dict[ExperimentSpec, list[RunFolder]] = {}
    for run in runs:
        alike.setdefault(_unrepeated(run.experiment), []).append(run)
    return [_member(repeats, metric) for repeats in alike.values()]


def _unrepeated(spec: ExperimentSpec) -> ExperimentSpec:
    """The same for runs that differ only in what repeats them, where they lie and what they are called."""
    data = replace(spec.data, fold=0 if spec.data.is_cut else -1, root="", workers=0, cache=False)
    typed = {"name": "", "task": "train", "checkpoint": "", "predictions": "", "annotations": "", "input": ""}
    besides = {field.name: field.default for field in fields(spec) if field.name in BESIDES}
    return replace(spec, **typed, **besides, seed=0, data=data, logger=NO_LOGGER)


def _member(runs: Sequence[RunFolder], metric: str) -> Member:
    by_repeat: dict[Hashable, list[float]] = {}
    for run in runs:
        by_repeat.setdefault((run.experiment.seed, run.experiment.data.fold), []).append(run.metrics[metric])
    costs = Costs(*(_mean_of(runs, name) for name in ("parameters", "multiply_adds", "latency_ms")))
    return Member(tuple(runs), metric, costs, {repeat: mean(values) for repeat, values in by_repeat.items()})


def _mean_of(runs: Sequence[RunFolder], name: str) -> float | None:
    known = [value for run in runs if (value := getattr(run.costs, name)) is not None]
    return mean(known) if known else None


def _split(base: str, mode: str, members: Sequence[Member]) -> list[Family]:
    """One family, or several where settings besides phi make two members of the same phi: a line has one of each."""
    settings = _settings(members)
    same_phi: dict[float, list[int]] = {}
    for index, member in enumerate(members):
        same_phi.setdefault(member.phi, []).append(index)
    apart = [
        setting
        for setting in settings
        if any(len({setting.values[index] for index in indices}) > 1 for indices in same_phi.values())
    ]
    typed = [setting for setting in apart if setting.typed] or apart
    lines: dict[str, list[Member]] = {}
    for index, member in enumerate(members):
        lines.setdefault(label_of({setting.name: setting.values[index] for setting in typed}), []).append(member)
    return [
        Family(base, mode, choice, tuple(sorted(line, key=lambda member: member.phi)), _settings(line))
        for choice, line in lines.items()
    ]


def _settings(members: Sequence[Member]) -> tuple[Setting, ...]:
    """What differs between members besides phi and what phi implies."""
    if len(members) < 2:
        return ()
    left = {name for member in members for name in member.spec.off_table}
    found = [
        setting
        for setting in differing_settings([member.runs[0] for member in members])
        if setting.path not in ("phi", "scaling", *REPEATS) and (setting.path not in IMPLIED or setting.name in left)
    ]
    return (*found, *_left_of_scaling(members))


def _left_of_scaling(members: Sequence[Member]) -> list[Setting]:
    """Coefficients and exponents of one's own, of which the settled experiment keeps only what was typed."""
    names = dict.fromkeys(name for member in members for name in member.spec.off_table if name.startswith("scaling."))
    pairs = [[text.lstrip("+~").partition("=") for text in member.spec.overrides] for member in members]
    typed = [{name: value for name, _, value in each} for each in pairs]
    settings = [Setting(name, name, tuple(each.get(name, NOTHING) for each in typed), True) for name in names]
    return [setting for setting in settings if len(set(setting.values)) > 1]


def _duel(compound: Family, alone: Family) -> Duel:
    line = list(alone.members)
    if all(member.phi != 0 for member in line):
        line += [member for member in compound.members if member.phi == 0]
    priced = [(member.costs.multiply_adds, member) for member in line if member.costs.multiply_adds]
    priced.sort(key=lambda pair: pair[0])
    costs = [cost for cost, _ in priced]
    meetings, by_repeat, outside = [], [], 0
    for cost, member in compound.by_cost("multiply_adds"):
        if member.phi == 0:
            continue  # the same network, however it is scaled
        if not costs or not costs[0] <= cost <= costs[-1]:
            outside += 1
            continue
        around = _around(priced, cost)
        value = sum(weight * neighbour.mean for weight, neighbour in around)
        shared = [key for key in member.repeats if all(key in neighbour.repeats for _, neighbour in around)]
        differences = {
            key: member.repeats[key] - sum(weight * neighbour.repeats[key] for weight, neighbour in around)
            for key in shared
        }
        meetings.append(Meeting(member, cost, value, student(list(differences.values()), member.mean - value)))
        by_repeat.append(differences)
    everywhere = set.intersection(*map(set, by_repeat)) if by_repeat else set()
    together = [mean([differences[key] for differences in by_repeat]) for key in sorted(everywhere, key=str)]
    plain = mean([meeting.difference.value for meeting in meetings]) if meetings else None
    overall = None if plain is None else student(together, plain)
    return Duel(
        alone,
        tuple(member for _, member in priced),
        tuple(meetings),
        outside,
        overall,
        len(together),
        _settings([*compound.members, *line]),
    )


def _around(priced: Sequence[tuple[float, Member]], cost: float) -> list[tuple[float, Member]]:
    """The members on both sides of this cost with their weights: nearness in the cost's logarithm."""
    costs = [each for each, _ in priced]
    after = int(np.searchsorted(costs, cost))
    equal = [member for each, member in priced if each == cost]
    if equal:
        return [(1 / len(equal), member) for member in equal]
    (low, before), (high, behind) = priced[after - 1], priced[after]
    share = math.log(cost / low) / math.log(high / low)
    return [(1 - share, before), (share, behind)]


def student(differences: Sequence[float], otherwise: float) -> Difference:
    """Mean and 95 % interval of paired differences; without an interval where there are fewer than two.

    Student's, not the percentiles of a bootstrap: those of three repeats exclude zero as soon as all three agree in
    sign, which chance alone brings about every fourth time.

    >>> student([0.01, 0.03], 0.0).excludes_zero, student([], 0.5)
    (False, Difference(value=0.5, low=None, high=None))
    """
    ends = interval(differences)
    return Difference(otherwise) if ends is None else Difference(mean(differences), *ends)
