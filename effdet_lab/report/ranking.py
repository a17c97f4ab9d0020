"""The jobs of a sweep by what they share: repeats together, the best first."""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass

from effdet_lab.report.reading import REPEATS, SweepFolder, SweepJob, higher_is_better
from effdet_lab.report.statistics import deviation, mean
from effdet_lab.report.wording import NOTHING, parsed, short

PHI = "\N{GREEK SMALL LETTER PHI}"


@dataclass(frozen=True)
class Group:
    """Jobs that differ only in what repeats them, of which at least one was measured."""

    label: str
    settings: Mapping[str, str]
    jobs: tuple[SweepJob, ...]  # the measured ones
    values: tuple[float, ...]  # of the main metric

    @property
    def mean(self) -> float:
        """Of the main metric."""
        return mean(self.values)

    def repeats(self, metric: str) -> dict[Hashable, float]:
        """The metric by what repeats the job."""
        return {tuple(job.settings.get(name, "") for name in REPEATS): job.metrics[metric] for job in self.jobs}

    @property
    def deviation(self) -> float | None:
        """Of the main metric over the repeats."""
        return deviation(self.values)

    def average(self, of: Callable[[SweepJob], float | None]) -> float | None:
        """Over the jobs that know it."""
        known = [value for value in map(of, self.jobs) if value is not None]
        return mean(known) if known else None


def ranked(sweep: SweepFolder, metric: str) -> list[Group]:
    """Repeats together, best first."""
    shared = [name for name in sweep.varied if name not in REPEATS]
    members: dict[tuple[str, ...], list[SweepJob]] = {}
    for job in sweep.jobs:
        if metric in job.metrics:
            members.setdefault(tuple(job.settings[name] for name in shared), []).append(job)
    groups = [
        Group(
            label_of(dict(zip(shared, key, strict=True))) or "all jobs",
            dict(zip(shared, key, strict=True)),
            tuple(jobs),
            tuple(job.metrics[metric] for job in jobs),
        )
        for key, jobs in members.items()
    ]
    return sorted(groups, key=lambda group: group.mean, reverse=higher_is_better(metric))


def label_of(settings: Mapping[str, str]) -> str:
    """As short as it stays clear: a word needs no name, a number does."""
    words = []
    for name, value in settings.items():
        number = parsed(value)
        short_name = PHI if name == "phi" else name.split(".")[-1]
        words.append(
            value if value and number is None else f"{short_name} {NOTHING if number is None else short(number)}"
        )
    return ", ".join(words)
