"""Pictures of scaling: a metric against costs, families as lines, their laws, and one dimension against all three."""

from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np

from effdet_lab.report.charts import COLOURS, Axis, Point, Series, chart
from effdet_lab.report.forecast import Law, Observation, fit
from effdet_lab.report.markup import Html
from effdet_lab.report.published import Published
from effdet_lab.report.reading import higher_is_better
from effdet_lab.report.scaling_facts import COMPOUND, Duel, Family, Ground, Member, duels
from effdet_lab.report.statistics import pareto_front
from effdet_lab.report.wording import count, decimal, short

MULTIPLY_ADDS, PARAMETERS, LATENCY = "multiply-adds", "parameters", "milliseconds a picture"
COSTS = {MULTIPLY_ADDS: "multiply_adds", PARAMETERS: "parameters", LATENCY: "latency_ms"}  # names -> fields
PLUS_MINUS, TIMES = "\N{PLUS-MINUS SIGN}", "\N{MULTIPLICATION SIGN}"
NAMED = 14  # points beyond which a chart names none but the front's
FEWEST_COSTS = 4  # members of a family before its law is drawn: three always lie on one
REACH = 4.0  # times the largest cost, as far as a forecast is drawn
STEPS = 24  # of a forecast's line
STEPPED = "scaling_dimensions"  # the table of single steps from a base, drawn beside one's own dimensions
UNJOINED = "feature_networks"  # a table whose rows are no family that grows


def cost_charts(ground: Ground, tables: Mapping[str, Sequence[Published]] | None = None) -> dict[str, Html]:
    """The metric against each cost that is known and not always the same, by title."""
    charts = {name: _cost_chart(ground, name, tables or {}) for name in COSTS}
    return {_title(ground, name): figure for name, figure in charts.items() if figure is not None}


def dimension_charts(ground: Ground, tables: Mapping[str, Sequence[Published]] | None = None) -> dict[str, Html]:
    """Each compound family beside the single dimensions of its base, by title."""
    charts = {}
    for family in ground.families:
        found = duels(ground, family) if family.is_compound else []
        if found:
            title = f"{family.title}, {family.choice}" if family.choice else family.title
            title += f", {family.mode}" if family.mode != COMPOUND else ""
            title += ": one dimension against all three"
            charts[title] = _dimension_chart(title, ground, family, found, tables or {})
    return charts


def laws(ground: Ground, field: str) -> list[Law | None]:
    """One for each family; None where it has too few costs, or its metric is no share whose rest is an error."""
    return [_law(family, field) if higher_is_better(ground.metric) else None for family in ground.families]


def is_comparable(point: Published, ground: Ground) -> bool:
    return point.metric == ground.metric


def full_name(point: Published) -> str:
    """What a published network is called where its family is not told."""
    family = point.family.replace("_", "-")
    return point.name if family.lower() in point.name.lower() else f"{family}, {point.name}"


def _title(ground: Ground, cost: str) -> str:
    return f"{ground.metric} against {cost}"


def _cost_chart(ground: Ground, cost: str, tables: Mapping[str, Sequence[Published]]) -> Html | None:
    field = COSTS[cost]
    lines = [(family, family.by_cost(field)) for family in ground.families]
    priced = [(value, member) for _, line in lines for value, member in line]
    if len({value for value, _ in priced}) < 2:
        return None
    sign = 1 if higher_is_better(ground.metric) else -1
    front = pareto_front([(value, sign * member.mean) for value, member in priced])
    best = {id(priced[index][1]) for index in front}
    stairs = [Point(priced[index][0], priced[index][1].mean) for index in front]
    series = [_band(ground, family, law, line) for (family, line), law in zip(lines, laws(ground, field), strict=True)]
    series += _under(ground, field, tables)
    series.append(Series("Pareto front", stairs, None, "stairs"))
    for family, line in lines:
        named = len(priced) <= NAMED
        points = [_point(family, member, value, cost, named or id(member) in best) for value, member in line]
        colour = _colour(ground, family)
        series.append(Series("others" if colour is None else family.label, points, colour))
    shown = [one for one in series if one is not None]
    return chart(_title(ground, cost), shown, Axis(cost, log=True), Axis(ground.metric))


def _point(family: Family, member: Member, value: float, cost: str, named: bool) -> Point:
    spread, label = member.deviation, f"{family.label}, {member.name}" if family.label else member.name
    told = f"{label}\n{member.metric} {decimal(member.mean)}"
    told += f" {PLUS_MINUS} {decimal(spread)} (n = {len(member.values)})" if spread is not None else ""
    told += f"\n{value:.3g} ms" if cost == LATENCY else f"\n{count(value)} {cost}"
    low, high = (None, None) if spread is None else (member.mean - spread, member.mean + spread)
    return Point(value, member.mean, low, high, told, member.name if named else "")


def _colour(ground: Ground, family: Family) -> int | None:
    index = next(index for index, other in enumerate(ground.families) if other is family)
    return index if index < COLOURS else None


def _law(family: Family, field: str) -> Law | None:
    line = family.by_cost(field)
    if len({cost for cost, _ in line}) < FEWEST_COSTS:
        return None
    return _fitted(tuple(Observation(cost, tuple(member.values)) for cost, member in line))


@cache
def _fitted(observations: tuple[Observation, ...]) -> Law | None:
    return fit(observations)


def _band(ground: Ground, family: Family, law: Law | None, line: Sequence[tuple[float, Member]]) -> Series | None:
    if law is None or _colour(ground, family) is None:
        return None
    lowest, highest = line[0][0], line[-1][0]
    foreseen = law.band([float(cost) for cost in np.geomspace(lowest, highest * REACH, STEPS)])
    points = [Point(each.cost, each.value, each.low, each.high) for each in foreseen]
    end = foreseen[-1]
    told = (
        f"{family.label}, forecast\n{REACH:g} {TIMES} the largest cost: {decimal(end.value)} "
        f"({decimal(end.low)} to {decimal(end.high)}), an extrapolation"
    )
    return Series("forecast", points, _colour(ground, family), "band", told)


def _under(ground: Ground, field: str, tables: Mapping[str, Sequence[Published]]) -> list[Series]:
    """What papers print, a line for each family."""
    series = []
    for name, points in tables.items():
        known = [point for point in points if is_comparable(point, ground) and getattr(point, field)]
        known.sort(key=lambda point: getattr(point, field))
        lines: dict[str, list[Published]] = {}
        for point in known if name != STEPPED else ():
            lines.setdefault(point.name if name == UNJOINED else point.family, []).append(point)
        for line in lines.values():
            names = _short_names([point.name for point in line])
            drawn = [_printed(point, getattr(point, field), name) for point, name in zip(line, names, strict=True)]
            series.append(Series("published", drawn, None, "under"))
    return series


def _short_names(names: Sequence[str]) -> list[str]:
    """The first in full; of the others only what comes after the part that all share.

    >>> _short_names(["EfficientNet-B0", "EfficientNet-B1"])
    ['EfficientNet-B0', 'B1']
    """
    heads = {name.rpartition("-")[0] for name in names}
    return [names[0], *(name.rpartition("-")[2] if len(heads) == 1 else name for name in names[1:])]


def _printed(point: Published, cost: float, name: str) -> Point:
    told = f"{full_name(point)}, published\n{point.metric} {short(point.value)}"
    return Point(cost, point.value, told=told, name=name)


def _dimension_chart(
    title: str, ground: Ground, family: Family, found: Sequence[Duel], tables: Mapping[str, Sequence[Published]]
) -> Html:
    field = COSTS[MULTIPLY_ADDS]
    series = _single_steps(ground, tables)
    for duel in reversed(found):
        line = [(member.costs.multiply_adds or 0.0, member) for member in duel.line]
        points = [_point(family, member, value, MULTIPLY_ADDS, False) for value, member in line]
        points = [
            Point(
                point.x, point.y, point.low, point.high, point.told.replace(family.label, f"{duel.dimension} alone", 1)
            )
            for point in points
        ]
        series.append(Series(f"{duel.dimension} alone", points, _colour(ground, duel.alone)))
    points = [_point(family, member, value, MULTIPLY_ADDS, True) for value, member in family.by_cost(field)]
    series.append(Series(family.mode, points, _colour(ground, family)))
    caption = "Whiskers are one sample standard deviation." if any(point.low is not None for point in points) else ""
    return chart(title, series, Axis(MULTIPLY_ADDS, log=True), Axis(ground.metric), caption)


def _single_steps(ground: Ground, tables: Mapping[str, Sequence[Published]]) -> list[Series]:
    """The papers' own bases with one step in each dimension."""
    points = [point for point in tables.get(STEPPED, ()) if is_comparable(point, ground)]
    series = []
    for base in (point for point in points if point.name == "base" and point.multiply_adds):
        grown = [point for point in points if point.family == base.family and point is not base and point.multiply_adds]
        for number, point in enumerate(grown):
            start = _printed(base, base.multiply_adds or 0, "" if number else base.family)
            end = _printed(point, point.multiply_adds or 0, point.name)
            series.append(Series("published", [start, end], None, "under"))
    return series
