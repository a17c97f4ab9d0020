"""Charts as inline SVG. Colours come from the page's style sheet, so that they follow light and dark."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from effdet_lab.report.markup import Html, join, tag
from effdet_lab.report.wording import short

WIDTH, HEIGHT = 460, 280
LEFT, RIGHT, TOP, BOTTOM = 50, 14, 30, 44  # pixels around the plot
COLOURS = 8  # classes s0..s7 of the style sheet; `rest` is for what has no colour of its own
UNREADABLE = 20  # times the smallest loss, beyond which a linear axis shows nothing but the largest
DOTS_SHOWN = 40  # a line with more points shows no dots
DOTS_TOLD = 600  # beyond this a line answers the mouse as one
# Where a name may stand, in pixels right of and below its point; left and above first, where no front passes.
PLACES = ((-6, -10), (6, 10), (9, 0), (-9, 0))
Box = tuple[float, float, float, float]  # left, top, right, bottom
LABEL_PIXELS = 6.2  # width of a letter in a chart


@dataclass(frozen=True)
class Point:
    """One measurement; `low` and `high` are the ends of its whisker."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    told: str = ""  # what the mouse is told
    name: str = ""  # written beside it


@dataclass(frozen=True)
class Series:
    """Points of one colour. The legend has each label once."""

    label: str
    points: Sequence[Point]
    colour: int | None = 0  # None: no colour of its own
    # A band is a forecast: its points' `low` and `high` are its edges. What is `under` is somebody else's, in grey.
    style: Literal["line", "dots", "stairs", "band", "under"] = "line"
    told: str = ""  # what the mouse is told of the line


@dataclass(frozen=True)
class Axis:
    """What is measured, and how it is laid out."""

    label: str
    log: bool = False
    whole: bool = False  # ticks at whole numbers only
    ticks: Sequence[float] = field(default=())  # where they are known


@dataclass(frozen=True)
class Scale:
    """From data to pixels; `start` may lie right of or below `end`."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def pixel(self, value: float) -> float:
        """Where a value lies; `low` lies at `start`, `high` at `end`."""
        low, high, value = (math.log10(x) if self.log else x for x in (self.low, self.high, value))
        return self.start + (value - low) / (high - low) * (self.end - self.start)


def loss_axis(label: str, values: Sequence[float]) -> Axis:
    """Logarithmic where the wild losses of the first epochs would hide the others."""
    return Axis(label, log=min(values) > 0 and max(values) > UNREADABLE * min(values))


def scale_of(
    values: Iterable[float], start: float, end: float, axis: Axis, ticks: int = 5
) -> tuple[Scale, list[float]]:
    """A scale that holds every value, and its ticks."""
    values = [*values, *axis.ticks]
    if axis.log:
        low, high = (min(values), max(values)) if values else (1.0, 10.0)
        margin = (high / low) ** 0.06 if high > low else 1.5
        low, high = low / margin, high * margin
        return Scale(low, high, start, end, log=True), log_ticks(low, high, ticks)
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if low == high:
        margin = 0.5 if axis.whole else abs(low) * 0.1 or 0.5
        low, high = low - margin, high + margin
    if axis.ticks:
        margin = (high - low) * 0.06
        return Scale(low - margin, high + margin, start, end), sorted(axis.ticks)
    if axis.whole:
        return Scale(low, high, start, end), linear_ticks(low, high, ticks, whole=True)
    step = nice_step((high - low) / ticks)
    low, high = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
    return Scale(low, high, start, end), linear_ticks(low, high, ticks)


def nice_step(rough: float, whole: bool = False) -> float:
    """The smallest of 1, 2, 5 times a power of ten that is no smaller.

    >>> nice_step(0.13), nice_step(3), nice_step(0.2, whole=True)
    (0.2, 5.0, 1.0)
    """
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    return max(step, 1.0) if whole else step


def linear_ticks(low: float, high: float, wanted: int, whole: bool = False) -> list[float]:
    """Round numbers within the range, ends included.

    >>> linear_ticks(0, 1, 5)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    step = nice_step((high - low) / wanted, whole)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def log_ticks(low: float, high: float, wanted: int) -> list[float]:
    """Powers of ten, with their doubles and fives where there is room; round numbers where the range is narrow.

    >>> log_ticks(1, 1000, 5), log_ticks(0.9, 6, 5)
    ([1.0, 10.0, 100.0, 1000.0], [1.0, 2.0, 5.0])
    """
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    fine = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
    fine = [tick for tick in fine if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9)]
    if len(fine) < 3:
        return linear_ticks(low, high, wanted)
    if len(fine) <= wanted + 1:
        return fine
    decades = [10.0**power for power in powers if low * (1 - 1e-9) <= 10.0**power <= high * (1 + 1e-9)]
    return decades[:: math.ceil(len(decades) / (wanted + 1))] if len(decades) > 1 else fine


def chart(title: str, series: Sequence[Series], x: Axis, y: Axis, caption: str = "") -> Html:
    """A figure: title, legend, plot and what is to be said of it. Values that an axis cannot show are left out."""
    shown = [_drawable(one, x, y) for one in series]
    points = [point for one in shown for point in one.points]
    legend = {one.label: one for one in sorted(shown, key=_rank) if one.label and one.points}
    parts = [tag("h3", title), _legend(legend.values()) if len(legend) > 1 else None]
    parts.append(_plot(title, shown, points, x, y) if points else tag("p", "Nothing was measured.", class_="empty"))
    return tag("figure", *parts, tag("figcaption", caption) if caption else None)


def _rank(series: Series) -> tuple[bool, float]:
    """What was measured first, by colour; then what was made of it."""
    return series.style in ("stairs", "band", "under"), math.inf if series.colour is None else series.colour


def _drawable(series: Series, x: Axis, y: Axis) -> Series:
    def fits(value: float, axis: Axis) -> bool:
        return math.isfinite(value) and (value > 0 or not axis.log)

    return replace(series, points=[point for point in series.points if fits(point.x, x) and fits(point.y, y)])


def _plot(title: str, series: Sequence[Series], points: Sequence[Point], x: Axis, y: Axis) -> Html:
    measured = [one for one in series if one.style != "band"]
    across, x_ticks = scale_of((point.x for point in points), LEFT, WIDTH - RIGHT, x, ticks=6)
    # The edges of a band may lie anywhere: the plot ends where its middle does.
    ends = [point.y for point in points]
    ends += [end for one in measured for point in one.points for end in (point.low, point.high) if end is not None]
    up, y_ticks = scale_of([end for end in ends if end > 0 or not y.log], HEIGHT - BOTTOM, TOP, y)
    drawn = [_band(one, across, up) for one in series if one.style == "band"]
    drawn += [_line(one, across, up) for one in measured if one.style != "dots"]
    drawn += [_whisker(point, one.colour, across, up) for one in measured for point in one.points]
    if sum(len(one.points) for one in measured) <= DOTS_TOLD:
        drawn += [_dot(point, one, across, up) for one in measured for point in one.points if one.style != "stairs"]
    drawn += _names(series, across, up)
    return tag(
        "svg",
        *_axes(across, up, x_ticks, y_ticks),
        *_axis_names(title, x, y),
        *drawn,
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_label=f"{title}: {y.label} against {x.label}",
    )


def _axes(across: Scale, up: Scale, x_ticks: list[float], y_ticks: list[float]) -> list[Html]:
    floor = HEIGHT - BOTTOM
    parts = []
    for tick in y_ticks:
        at = _round(up.pixel(tick))
        parts.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=at, y2=at, class_="grid"))
        parts.append(tag("text", short(tick), x=LEFT - 8, y=_round(at + 4), text_anchor="end"))
    parts.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=floor, y2=floor, class_="axis"))
    last = -math.inf
    for tick in x_ticks:
        at, half = across.pixel(tick), len(short(tick)) * LABEL_PIXELS / 2
        parts.append(tag("line", x1=_round(at), x2=_round(at), y1=floor, y2=floor + 4, class_="axis"))
        if at - half > last + 4:  # labels never run into one another
            parts.append(tag("text", short(tick), x=_round(at), y=floor + 18, text_anchor="middle"))
            last = at + half
    return parts


def _axis_names(title: str, x: Axis, y: Axis) -> list[Html | None]:
    """Written along the page; the upper one is left out where the title says it."""
    above = tag("text", y.label, x=4, y=14, class_="name") if y.label.lower() != title.lower() else None
    return [tag("text", x.label, x=WIDTH - RIGHT, y=HEIGHT - 6, text_anchor="end", class_="name"), above]


def _line(series: Series, across: Scale, up: Scale) -> Html | None:
    if len(series.points) < 2:
        return None
    corners = [(_round(across.pixel(point.x)), _round(up.pixel(point.y))) for point in series.points]
    path = f"M{corners[0][0]} {corners[0][1]}"
    for x, y in corners[1:]:
        path += f"H{x}V{y}" if series.style == "stairs" else f"L{x} {y}"
    line = tag("path", d=path, class_="front" if series.style == "stairs" else "line")
    reach = tag("path", tag("title", series.told), d=path, class_="reach") if series.told else None
    return tag("g", line, reach, class_=_class(series))


def _band(series: Series, across: Scale, up: Scale) -> Html | None:
    """What is thought likely, around a dotted line; cut off where the plot ends."""

    def path(ends: Iterable[tuple[float, float]]) -> str:
        return "L".join(f"{_round(across.pixel(x))} {_round(_within(up, y))}" for x, y in ends)

    edges = [(point, point.low, point.high) for point in series.points]
    upper = path((point.x, high) for point, _, high in edges if high is not None)
    lower = path((point.x, low) for point, low, _ in reversed(edges) if low is not None)
    middle = f"M{path((point.x, point.y) for point in series.points)}"
    return tag(
        "g",
        tag("path", d=f"M{upper}L{lower}Z", class_="band") if upper and lower else None,
        tag("path", d=middle, class_="forecast"),
        tag("path", tag("title", series.told), d=middle, class_="reach") if series.told else None,
        class_=_class(series),
    )


def _within(up: Scale, value: float) -> float:
    """Where a value lies, or the end of the plot that is nearest to it."""
    if up.log and value <= 0:
        return up.start
    return min(max(up.pixel(value), up.end), up.start)


def _whisker(point: Point, colour: int | None, across: Scale, up: Scale) -> Html | None:
    if point.low is None or point.high is None or (up.log and point.low <= 0):
        return None
    x, top, bottom = across.pixel(point.x), up.pixel(point.high), up.pixel(point.low)
    path = f"M{_round(x)} {_round(top)}V{_round(bottom)}"
    for end in (top, bottom):
        path += f"M{_round(x - 4)} {_round(end)}h8"
    return tag("path", d=path, class_=f"whisker {_colour(colour)}")


def _dot(point: Point, series: Series, across: Scale, up: Scale) -> Html | None:
    """What is seen of a point, within a larger disc that the mouse finds."""
    x, y = _round(across.pixel(point.x)), _round(up.pixel(point.y))
    line = series.style in ("line", "under")
    if line and series.told and len(series.points) > 1:  # the line answers as one
        return None
    radius = 4 if not line else 2.4 if len(series.points) <= DOTS_SHOWN else 0
    parts = [tag("circle", cx=x, cy=y, r=radius, class_="dot" if line else "dot alone") if radius else None]
    if point.told or series.told:
        parts.append(tag("circle", tag("title", point.told or series.told), cx=x, cy=y, r=8, class_="reach"))
    return tag("g", *parts, class_=_class(series))


def _names(series: Sequence[Series], across: Scale, up: Scale) -> list[Html]:
    """Names beside their points: the first place that is free, and none where all are taken."""
    dots = [point for one in series for point in one.points if one.style not in ("stairs", "band")]
    taken = [_box(across.pixel(point.x) - 4, up.pixel(point.y), 8, 8) for point in dots]
    parts = []
    for one in sorted(series, key=lambda one: one.style in ("under", "band")):  # what was measured is named first
        quiet = " quiet" if one.style in ("under", "band") else ""
        for point in (point for point in one.points if point.name):
            x, y = across.pixel(point.x), up.pixel(point.y)
            width = len(point.name) * LABEL_PIXELS
            for right, down in PLACES:
                left = x + right if right > 0 else x + right - width
                box = _box(left, y + down, width, 11)
                inside = left > LEFT and left + width < WIDTH and box[1] > 0
                if inside and not any(_meet(box, other) for other in taken):
                    taken.append(box)
                    at = {"x": _round(x + right), "y": _round(y + down + 4)}
                    anchor = "start" if right > 0 else "end"
                    parts.append(tag("text", point.name, **at, text_anchor=anchor, class_=f"beside{quiet}"))
                    break
    return parts


def _box(left: float, middle: float, width: float, height: float) -> Box:
    return left, middle - height / 2, left + width, middle + height / 2


def _meet(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _legend(series: Iterable[Series]) -> Html:
    def key(one: Series) -> Html:
        return tag("li", tag("i", class_=" ".join(dict.fromkeys((_class(one), one.style)))), one.label)

    return tag("ul", *(key(one) for one in series), class_="legend")


def _colour(colour: int | None) -> str:
    return "rest" if colour is None else f"s{colour % COLOURS}"


def _class(series: Series) -> str:
    return "under" if series.style == "under" else _colour(series.colour)


def _round(pixels: float) -> float:
    return round(pixels, 1)


def bar(share: float) -> Html:
    """A small bar within a table's cell; `share` is a fraction of its full length."""
    width = f"{100 * min(max(share, 0.0), 1.0):.1f}%"
    return tag("span", tag("span", style=f"width:{width}"), class_="bar", aria_hidden="true")


def stack(figures: Sequence[Html]) -> Html:
    """Charts side by side, as many as there is room for."""
    return tag("div", join(figures), class_="charts")
