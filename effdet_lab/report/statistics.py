"""What a sweep's numbers say: repeats, the Pareto front, and the weight of each setting."""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 10_000  # of a bootstrap
THIRDS = 3


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean."""
    return math.fsum(values) / len(values)


def deviation(values: Sequence[float]) -> float | None:
    """The sample standard deviation (divided by n - 1); one value has none."""
    if len(values) < 2:
        return None
    centre = mean(values)
    return math.sqrt(math.fsum((value - centre) ** 2 for value in values) / (len(values) - 1))


# Two-sided 95 % quantiles of Student's t for 1, 2, ... degrees of freedom; beyond them the normal one is near enough.
STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)
NORMAL = 1.96


def student(freedom: int) -> float:
    """How many standard errors a 95 % interval reaches to either side."""
    return STUDENT[freedom - 1] if freedom <= len(STUDENT) else NORMAL + 2.5 / freedom


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """The 95 % interval of the mean; one value has none.

    >>> low, high = interval([0.5, 0.6, 0.7])
    >>> round(low, 3), round(high, 3)
    (0.352, 0.848)
    """
    spread = deviation(values)
    if spread is None:
        return None
    margin = student(len(values) - 1) * spread / math.sqrt(len(values))
    return mean(values) - margin, mean(values) + margin


@dataclass(frozen=True)
class Comparison:
    """How much better one setting is than another, over the repeats that both have."""

    difference: float
    low: float  # of the 95 % interval
    high: float
    pairs: int

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves no doubt which is better."""
        return self.low > 0 or self.high < 0


def compare_repeats(first: Mapping[Hashable, float], second: Mapping[Hashable, float]) -> Comparison | None:
    """A paired bootstrap: repeats of the same seed and fold are compared with one another, and drawn with replacement.

    None where fewer than two repeats are shared. Source: Efron & Tibshirani, An Introduction to the Bootstrap (1993),
    section 13.3, the percentile interval.
    """
    shared = sorted(set(first) & set(second), key=str)
    if len(shared) < 2:
        return None
    differences = np.array([first[key] - second[key] for key in shared])
    draws = np.random.default_rng(0).integers(0, len(shared), (RESAMPLES, len(shared)))
    low, high = np.percentile(differences[draws].mean(axis=1), [2.5, 97.5])
    return Comparison(float(differences.mean()), float(low), float(high), len(shared))


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the (cost, worth) that no other point beats: cheaper and as good, or better and as cheap.

    By rising cost; of equal points the first stands for all.

    >>> pareto_front([(1, 0.5), (2, 0.4), (3, 0.9)])
    [0, 2]
    """
    front: list[int] = []
    for index in sorted(range(len(points)), key=lambda index: (points[index][0], -points[index][1])):
        if not front or points[index][1] > points[front[-1]][1]:
            front.append(index)
    return front


def levels_of(texts: Sequence[str], numbers: Sequence[float | None]) -> list[Hashable]:
    """The values of one setting as levels; numbers of which hardly any comes twice are grouped into thirds.

    >>> levels_of(["0.1", "0.2", "0.3", "0.4", "0.5", "0.6"], [0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    [0, 0, 1, 1, 2, 2]
    """
    known = [number for number in numbers if number is not None]
    if len(known) < len(texts) or len(set(texts)) <= len(texts) / 2 or len(texts) < 2 * THIRDS:
        return list(texts)
    bounds = np.quantile(known, [part / THIRDS for part in range(1, THIRDS)])
    return np.searchsorted(bounds, known, side="right").tolist()


def eta_squared(levels: Sequence[Hashable], values: Sequence[float]) -> float | None:
    """The share of the variance of `values` that grouping them by `levels` explains.

    None where that means nothing: the values are all the same, or there are fewer than two levels, or each level has
    one value, which would explain everything by itself.

    >>> eta_squared(["a", "a", "b", "b"], [1, 1, 3, 3])
    1.0
    """
    groups: dict[Hashable, list[float]] = {}
    for level, value in zip(levels, values, strict=True):
        groups.setdefault(level, []).append(value)
    if not 1 < len(groups) < len(values):
        return None
    centre = mean(values)
    total = math.fsum((value - centre) ** 2 for value in values)
    if total == 0:
        return None
    between = math.fsum(len(group) * (mean(group) - centre) ** 2 for group in groups.values())
    return min(between / total, 1.0)
