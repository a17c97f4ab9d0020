"""What a sweep's numbers say: repeats, the Pareto front, and the weight of each setting."""

import math
from collections.abc import Hashable, Sequence


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean."""
    return math.fsum(values) / len(values)


def deviation(values: Sequence[float]) -> float | None:
    """The sample standard deviation (divided by n - 1); one value has none."""
    if len(values) < 2:
        return None
    centre = mean(values)
    return math.sqrt(math.fsum((value - centre) ** 2 for value in values) / (len(values) - 1))


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
