"""The points of a grid search, and the rule of compound scaling that thins them out."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from effdet_lab.scaling import PAPERS_COEFFICIENTS, Coefficients
from effdet_lab.sweep_spec import Dimension, SearchSpec

DOUBLE, ROUNDING = 2.0, 1e-9  # of multiply-adds, for one step of phi
DIGITS = 10  # of a grid's numbers: what floating point adds is not typed


def count_of(search: SearchSpec) -> int:
    """How many trials a search will have."""
    return min(search.trials, len(points_of(search))) if search.name == "grid" else search.trials


def points_of(search: SearchSpec) -> list[dict[str, Any]]:
    """The points of a grid, but for those whose coefficients do not double the cost where that is asked for."""
    points = grid(search.space)
    if not search.tolerance:
        return points
    return [point for point in points if abs(coefficients_in(point).cost - DOUBLE) <= search.tolerance + ROUNDING]


def told_candidates(search: SearchSpec) -> str:
    """How many there are, what their products are, and whether the paper's are among them."""
    points = points_of(search)
    found = {coefficients_in(point) for point in points}
    papers = PAPERS_COEFFICIENTS
    words = f"{len(found)} candidates of alpha, beta, gamma"
    if found:
        products = [coefficients.cost for coefficients in found]
        words += f", whose alpha * beta^2 * gamma^2 is from {min(products):.4f} to {max(products):.4f}"
    words += f"; {len(points)} jobs." if len(points) != len(found) else "."
    if papers in found:
        words += f" The paper's {papers.alpha}, {papers.beta}, {papers.gamma} are among them: {papers.cost:.4f}."
    return words


def coefficients_in(point: Mapping[str, Any]) -> Coefficients:
    """Those that a point names; the paper's for the others."""
    papers = PAPERS_COEFFICIENTS
    names = ("alpha", "beta", "gamma")
    return Coefficients(*(float(point.get(f"scaling.{name}", getattr(papers, name))) for name in names))


def grid(space: Sequence[Dimension]) -> list[dict[str, Any]]:
    """Every combination, the last dimension fastest."""
    values = [_values_of(dimension) for dimension in space]
    names = [dimension.setting for dimension in space]
    return [dict(zip(names, point, strict=True)) for point in itertools.product(*values)]


def _values_of(dimension: Dimension) -> list[float | int | str | bool]:
    if dimension.choices:
        return list(dimension.choices)
    count = math.floor((dimension.high - dimension.low) / dimension.step + 1e-9)
    values = [round(dimension.low + index * dimension.step, DIGITS) for index in range(count + 1)]
    return [int(value) for value in values] if dimension.is_whole else list(values)
