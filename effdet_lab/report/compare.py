"""task=compare as one page: which settings differ, what that did to the metrics, and where the runs disagree."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from effdet_lab.report.charts import COLOURS, Axis, Point, Series, chart, loss_axis, stack
from effdet_lab.report.comparison import (
    Compared,
    Difference,
    Setting,
    ends_of,
    is_measured,
    listed,
    said_of,
    verdict,
)
from effdet_lab.report.markup import Html, tag
from effdet_lab.report.page import (
    Cell,
    notes,
    number_cell,
    page,
    paragraph,
    section,
    table,
    tiles,
    write_page,
)
from effdet_lab.report.pictures import embedded
from effdet_lab.report.reading import REPEATS, RunFolder, curve, higher_is_better
from effdet_lab.report.run import CLASS, LONG, MEANINGS
from effdet_lab.report.wording import MINUS, NOTHING, count, decimal, duration, plural, short
from effdet_lab.spec import is_detector

TITLED = 3  # settings that a title names
SPELLED_OUT = 8  # settings that follow from others before they are folded
TIMES = "\N{MULTIPLICATION SIGN}"


def write_compare_report(folder: Path, compared: Compared) -> Path:
    """report.html in this folder."""
    return write_page(folder, compare_page(compared))


def compare_page(compared: Compared) -> Html:
    """The page itself."""
    content = [
        notes(compared.notes),
        _headline(compared),
        _settings(compared),
        _metrics(compared),
        _costs(compared),
        _curves(compared),
        _disputes(compared),
        _classes(compared),
    ]
    return page(_title(compared), "comparison", verdict(compared), content)


def _title(compared: Compared) -> str:
    causes = [setting for setting in compared.causes if setting.path not in REPEATS]
    if compared.repeated or not causes:
        return "The same experiment, repeated"
    if len(causes) == 1:
        *values, last = dict.fromkeys(causes[0].values)
        return f"{causes[0].name}: {', '.join(values)} or {last}"
    names = [setting.name for setting in causes]
    return listed(names) if len(names) <= TITLED else f"{plural(len(names), 'setting')} differ"


def _headline(compared: Compared) -> Html | None:
    name = said_of(compared.metric)
    pairs: list[tuple[str, str, str | None]] = [
        (f"{letter}, {name}", decimal(run.metrics[compared.metric]), run.path.name)
        for letter, run in zip(compared.letters, compared.runs, strict=True)
    ]
    for letter, difference in zip(compared.letters[1:], compared.differences[compared.metric], strict=True):
        if difference is not None:
            pairs.append((f"{letter} {MINUS} {compared.letters[0]}", _signed(difference.value), _interval(difference)))
    return tiles(pairs)


def _settings(compared: Compared) -> Html | None:
    where = [
        part
        for letter, run in zip(compared.letters, compared.runs, strict=True)
        for part in (f"{letter} is ", tag("code", run.path), ", ")
    ]
    where = paragraph(*where[:-1], ".")
    if not compared.settings:
        return section("What differs", where, paragraph("Not one setting that could matter."))
    causes = compared.causes
    follow = [setting for setting in compared.settings if setting not in causes]
    parts = [where, _setting_table(compared, causes)]
    if len(causes) > 1 and not compared.repeated:
        parts.append(paragraph(_together(compared)))
    if len(follow) > SPELLED_OUT:
        summary = tag("summary", f"{plural(len(follow), 'setting')} that follow from these")
        parts.append(tag("details", summary, tag("div", _setting_table(compared, follow), class_="inner")))
    elif follow:
        parts += [paragraph("What follows:"), _setting_table(compared, follow)]
    return section("What differs", *parts)


def _together(compared: Compared) -> str:
    """Which run tells what one setting does, and which does not."""
    first, *others = compared.letters
    told = []
    for index, letter in enumerate(others, start=1):
        names = [setting.name for setting in compared.causes if setting.values[index] != setting.values[0]]
        how = "together, so which of them is the cause is not told" if len(names) > 1 else "alone"
        if names:
            told.append(f"{letter} differs from {first} in {listed(names)} {how}")
    return f"{'; '.join(told)}."


def _setting_table(compared: Compared, settings: Sequence[Setting]) -> Html:
    rows = [[tag("code", setting.name), *setting.values] for setting in settings]
    return table(["setting", *compared.letters], rows)


def _metrics(compared: Compared) -> Html | None:
    measured = compared.differences
    names = [name for name in MEANINGS if name in measured]
    names += [name for name in measured if name not in MEANINGS and not name.startswith(CLASS)]
    rows = [
        [Cell(tag("code", name), told=MEANINGS.get(name)), *_measured(compared, name, with_intervals=True)]
        for name in names
        if any(is_measured(run, name) for run in compared.runs)
    ]
    columns = ["metric", *_columns(compared, with_intervals=True)]
    return section("Metrics", table(columns, rows), _remark(compared)) if rows else None


def _remark(compared: Compared) -> Html | None:
    if compared.judged_on is None:
        return None
    return paragraph(
        "Differences whose interval excludes zero are bold. The interval is that of a paired bootstrap: all runs are "
        f"judged again and again on the same draws from the {plural(compared.judged_on, 'picture')}, with replacement. "
        "It tells how much hangs on these pictures and nothing of the seed: for that, train again with other seeds."
    )


def _classes(compared: Compared) -> Html | None:
    names = [name for name in compared.differences if name.startswith(CLASS)]
    names.sort(key=lambda name: -max((abs(each.value) for each in compared.differences[name] if each), default=0.0))
    rows = [[name.removeprefix(CLASS), *_measured(compared, name)] for name in names]
    if not rows:
        return None
    words = paragraph("Average precision over IoU 0.50 to 0.95, the largest differences first.")
    return section("Classes", words, table(["class", *_columns(compared)], rows, "long" if len(rows) > LONG else ""))


def _columns(compared: Compared, with_intervals: bool = False) -> list[str]:
    first, *others = compared.letters
    beside = ["95 % interval"] if with_intervals and compared.judged_on else []
    return [*compared.letters, *(name for letter in others for name in (f"{letter} {MINUS} {first}", *beside))]


def _measured(compared: Compared, name: str, with_intervals: bool = False) -> list[Cell]:
    """A metric's value in every run, and the differences."""
    values = [run.metrics.get(name) for run in compared.runs]
    cells = [number_cell(None if value == -1 else value) for value in values]
    for difference in compared.differences[name]:
        cells.append(_amount(difference))
        if with_intervals and compared.judged_on:
            known = difference if difference is not None and difference.low is not None else None
            cells.append(Cell(" to ".join(ends_of(known)) if known else "", number=True))
    return cells


def _amount(difference: Difference | None) -> Cell:
    if difference is None:
        return Cell(NOTHING, number=True)
    said = _signed(difference.value)
    shown = tag("strong", said) if difference.excludes_zero else said
    return Cell(shown, difference.value, repr(difference.value), number=True)


def _costs(compared: Compared) -> Html | None:
    costs = {
        "parameters": ([run.costs.parameters for run in compared.runs], count),
        "multiply-adds of a picture": ([run.costs.multiply_adds for run in compared.runs], count),
        "milliseconds a picture": ([run.costs.latency_ms for run in compared.runs], lambda value: f"{value:.3g}"),
        "seconds of all epochs": ([_seconds(run) for run in compared.runs], duration),
    }
    first, *others = compared.letters
    rows = []
    for name, (values, said) in costs.items():
        if not any(value is not None for value in values):
            continue
        row: list[Any] = [name]
        row += [Cell(NOTHING if value is None else said(value), value, number=True) for value in values]
        row += [_ratio(value, values[0]) for value in values[1:]]
        rows.append(row)
    columns = ["", *compared.letters, *(f"{letter} / {first}" for letter in others)]
    return section("What it costs", table(columns, rows), _trade(compared)) if rows else None


def _seconds(run: RunFolder) -> float | None:
    return math.fsum(row.get("seconds", 0.0) for row in run.epochs) or None


def _ratio(value: float | None, first: float | None) -> Cell:
    if not value or not first:
        return Cell(NOTHING, number=True)
    return Cell(f"{TIMES}{value / first:.2f}", value / first, number=True)


def _trade(compared: Compared) -> Html | None:
    """The metric against what a picture costs; whiskers are the intervals against the first run."""
    costs = [run.costs.multiply_adds for run in compared.runs]
    if not all(costs) or len(set(costs)) < 2:
        return None
    series = []
    differences = (None, *compared.differences[compared.metric])
    for index, (letter, run, difference) in enumerate(zip(compared.letters, compared.runs, differences, strict=True)):
        value = run.metrics[compared.metric]
        told = f"{letter}: {compared.metric} {decimal(value)}\n{count(costs[index] or 0.0)} multiply-adds"
        first = value - difference.value if difference else value
        low, high = (
            (first + difference.low, first + difference.high)
            if difference and difference.low is not None and difference.high is not None
            else (None, None)
        )
        series.append(Series(letter, [Point(costs[index] or 0.0, value, low, high, told, letter)], index, "dots"))
    caption = f"Whiskers: the 95 % interval of the difference to {compared.letters[0]}." if compared.judged_on else ""
    title = f"{compared.metric} against multiply-adds"
    return stack([chart(title, series, Axis("multiply-adds", log=True), Axis(compared.metric), caption)])


def _curves(compared: Compared) -> Html | None:
    figures = []
    for metric in dict.fromkeys([compared.metric, "val/loss", "train/loss"]):
        series = []
        for index, (letter, run) in enumerate(zip(compared.letters, compared.runs, strict=True)):
            points = [
                Point(x, y, told=f"{letter}, epoch {x:g}\n{metric}: {short(y)}") for x, y in curve(run.epochs, metric)
            ]
            series.append(Series(letter, points, index if index < COLOURS else None))
        values = [point.y for one in series for point in one.points]
        if values:
            axis = Axis(metric) if higher_is_better(metric) else loss_axis(metric, values)
            figures.append(chart(metric, series, Axis("epoch", whole=True), axis))
    return section("Curves", stack(figures)) if figures else None


def _disputes(compared: Compared) -> Html | None:
    parts = []
    for dispute in compared.disputes:
        captions = {path.stem: caption for caption, path in dispute.panels}
        shown = [
            tag("figure", tag("img", src=uri, alt=captions[stem]), tag("figcaption", captions[stem]))
            for stem, uri in embedded([path for _, path in dispute.panels])
        ]
        if shown:
            parts += [
                tag("h3", dispute.name, title=dispute.image),
                tag("div", *shown, class_="pictures"),
            ]
    if not parts:
        return None
    words = f"The {plural(len(compared.disputes), 'picture')} where the runs disagree most; a click enlarges one."
    if any(run.spec and is_detector(run.spec) for run in compared.runs):
        words += " Dashes are the ground truth."
    return section("Where they disagree", paragraph(words), *parts)


def _signed(value: float) -> str:
    return f"+{decimal(value)}" if value > 0 else decimal(value)


def _interval(difference: Difference) -> str | None:
    if difference.low is None:
        return None
    low, high = ends_of(difference)
    return f"{low} to {high}, {'excludes' if difference.excludes_zero else 'includes'} zero"
