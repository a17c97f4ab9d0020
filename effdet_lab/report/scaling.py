"""Runs and sweeps as one page: what scaling buys, what it costs, and whether all three dimensions are needed."""

import difflib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from effdet_lab.errors import ConfigError
from effdet_lab.report.charts import stack
from effdet_lab.report.comparison import Difference, Setting, ends_of, listed, said_of
from effdet_lab.report.figures import write_figures
from effdet_lab.report.markup import Html, tag
from effdet_lab.report.page import (
    REPORT,
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
from effdet_lab.report.published import NAMES, Published
from effdet_lab.report.published import published as points_of
from effdet_lab.report.ranking import PHI
from effdet_lab.report.reading import higher_is_better
from effdet_lab.report.scaling_charts import (
    MULTIPLY_ADDS,
    PARAMETERS,
    PLUS_MINUS,
    REACH,
    STEPPED,
    TIMES,
    cost_charts,
    dimension_charts,
    full_name,
    is_comparable,
    laws,
)
from effdet_lab.report.scaling_facts import (
    COMPOUND,
    Duel,
    Family,
    Ground,
    Member,
    duels,
    grounds_of,
    runs_of,
)
from effdet_lab.report.wording import MINUS, NOTHING, count, decimal, plural, short

TO_MINUS_B = "\N{SUPERSCRIPT MINUS}\N{MODIFIER LETTER SMALL B}"
LONG = 20  # rows beyond which a table scrolls
BAND = "90 %"  # of a forecast's interval, as forecast.py makes it
BESTS = 3  # tiles
FLOPS = 2  # of a multiply-add


def write_scaling_report(runs: Sequence[Path], folder: Path, published: Sequence[str] = ()) -> Path:
    """report.html in `folder`, and every chart of it in `folder/figures`; runs and sweeps may be given together.

    Raises: DataError where a folder is not there; ConfigError where nobody published what was asked for.
    """
    unknown = [name for name in published if name not in NAMES]
    if unknown:
        raise ConfigError([_unknown(name) for name in unknown])
    found, left_out = runs_of(runs)
    grounds, unjudged = grounds_of(found)
    tables = {name: points_of(name) for name in dict.fromkeys(published)}
    figures: dict[str, Html] = {}
    content = [notes([*left_out, *unjudged]), _headline(grounds)]
    for ground in grounds:
        where = f" on {ground.data}" if len(grounds) > 1 else ""
        costs, alone = cost_charts(ground, tables), dimension_charts(ground, tables)
        content += [
            cost_section(ground, costs, tables, where),
            dimension_section(ground, alone, tables, where),
            _members(ground, folder, where),
        ]
        figures |= {_file_name(ground, title): figure for title, figure in (costs | alone).items()}
    folder.mkdir(parents=True, exist_ok=True)
    missing = write_figures(folder / "figures", figures)
    content += [_published(tables), _files(figures, missing)]
    return write_page(folder, page("Scaling", f"scaling of {plural(len(found), 'run')}", _summary(grounds), content))


def cost_section(
    ground: Ground,
    charts: Mapping[str, Html],
    tables: Mapping[str, Sequence[Published]] | None = None,
    where: str = "",
    before: Sequence[Html] = (),
) -> Html | None:
    """The charts, what their marks mean, and what the laws forecast."""
    if not charts and not before:
        return None
    parts = [paragraph(_marks(ground, tables or {})) if charts else None, *map(_remark, ground.families)]
    return section(f"Scaling{where}", *parts, stack([*before, *charts.values()]), _forecasts(ground))


def dimension_section(
    ground: Ground,
    charts: Mapping[str, Html],
    tables: Mapping[str, Sequence[Published]] | None = None,
    where: str = "",
) -> Html | None:
    """Whether growing all three dimensions beats growing one, at equal multiply-adds."""
    parts = []
    families = [family for family in ground.families if family.is_compound and duels(ground, family)]
    for family, figure in zip(families, charts.values(), strict=True):
        found = duels(ground, family)
        parts += [stack([figure]), *(paragraph(_verdict(duel, ground.metric)) for duel in found)]
        everywhere = {setting.name: setting for duel in found for setting in duel.differing}
        parts += [_unlike("the members compared here", list(everywhere.values())), _meetings(found)]
    if not parts:
        return None
    words = (
        f"What one dimension reaches is read between its members, at the multiply-adds of each {COMPOUND} member; "
        f"{PHI} = 0 is the same network however it is scaled. Intervals are Student's over the repeats that both share."
    )
    words += _grey(ground, (tables or {}).get(STEPPED, ()))
    return section(f"One dimension against all three{where}", paragraph(words), *parts)


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name, NAMES, 1)
    hint = f" Did you mean {near[0]}?" if near else f" There are {listed(NAMES)}."
    return f"published={name}: no such table of published points.{hint}"


def _file_name(ground: Ground, title: str) -> str:
    words = title if ground.metric in title else f"{ground.metric} {title}"
    return re.sub(r"[^a-z0-9]+", "_", f"{ground.data} {words}".lower()).strip("_")


def _summary(grounds: Sequence[Ground]) -> str:
    if not grounds:
        return "No run could be read."
    told = []
    for ground in grounds:
        bases = list(dict.fromkeys(family.base for family in ground.families))
        told.append(f"{listed(bases)} on {ground.data}")
    return f"{'; '.join(told)}."


def _headline(grounds: Sequence[Ground]) -> Html | None:
    families = [family for ground in grounds for family in ground.families]
    runs = sum(len(member.runs) for family in families for member in family.members)
    pairs: list[tuple[str, str, str | None]] = [
        ("families", str(len(families)), None),
        ("runs", str(runs), plural(sum(len(family.members) for family in families), "network")),
    ]
    for ground in grounds[:BESTS]:
        sign = 1 if higher_is_better(ground.metric) else -1
        family, member = max(
            ((family, member) for family in ground.families for member in family.members),
            key=lambda pair: sign * pair[1].mean,
        )
        where = f" on {ground.data}" if len(grounds) > 1 else ""
        spread = f"{PLUS_MINUS} {decimal(member.deviation)}; " if member.deviation is not None else ""
        pairs.append(
            (f"best {said_of(ground.metric)}{where}", decimal(member.mean), f"{spread}{family.label}, {member.name}")
        )
    return tiles(pairs) if families else None


def _marks(ground: Ground, tables: Mapping[str, Sequence[Published]]) -> str:
    words = "Costs are of one picture. The dashes are the Pareto front: nobody who costs no more is better."
    if any(member.deviation is not None for member in ground.members):
        words += " Whiskers are one sample standard deviation over the repeats."
    if any(member.costs.latency_ms for member in ground.members):
        words += " Milliseconds are each run's own measurement; runs that shared a machine disturb one another."
    if any(laws(ground, "multiply_adds")):
        words += (
            f" Dotted is the law error = a \N{MIDDLE DOT} cost{TO_MINUS_B} + c, fitted to each family; its band is the "
            f"{BAND} interval of the curve. Beyond a family's last dot it is an extrapolation, drawn to "
            f"{REACH:g} times that cost: nothing was measured there, and no interval covers a law that ends."
        )
    words += _grey(ground, [point for name, points in tables.items() if name != STEPPED for point in points])
    return words


def _grey(ground: Ground, points: Iterable[Published]) -> str:
    """What the points of papers are, where some are drawn."""
    data = next((point.data for point in points if is_comparable(point, ground)), None)
    if data is None:
        return ""
    said = {"imagenet": "ImageNet", "coco": "COCO"}[data]
    apart = (
        "" if ground.data.startswith(data) else f": to be compared in shape, not in height, with ours on {ground.data}"
    )
    return f" Grey is what papers print, on {said}{apart}."


def _remark(family: Family) -> Html | None:
    return _unlike(f"the members of {family.label}", family.differing)


def _unlike(who: str, differing: Sequence[Setting]) -> Html | None:
    """What else differs along a line, which then shows that too."""
    told = [setting for setting in differing if setting.typed] or differing
    if not told:
        return None
    values = [f"{setting.name} ({', '.join(dict.fromkeys(setting.values))})" for setting in told]
    return paragraph(f"Unlike runs: {who} differ in more than {PHI}, namely in {listed(values)}.", class_="note")


def _forecasts(ground: Ground) -> Html | None:
    """What each family's law says of costs that nobody measured."""
    rows = []
    for family, law in zip(ground.families, laws(ground, "multiply_adds"), strict=True):
        if law is None:
            continue
        highest = family.by_cost("multiply_adds")[-1][0]
        row = [family.label, Cell(count(highest), highest, number=True)]
        for factor in (REACH / 2, REACH):
            foreseen = law.predict(highest * factor)
            row += [
                number_cell(foreseen.value),
                Cell(f"{decimal(foreseen.low)} to {decimal(foreseen.high)}", number=True),
            ]
        rows.append([*row, Cell(f"{law.b:.3g}", law.b, number=True), number_cell(1 - law.c)])
    if not rows:
        return None
    share = f"{BAND} interval"
    columns = [
        "family",
        "measured up to",
        f"{TIMES}{REACH / 2:g}",
        share,
        f"{TIMES}{REACH:g}",
        share,
        "b",
        f"1 {MINUS} c",
    ]
    words = (
        f"Forecasts of {ground.metric} at multiples of the largest multiply-adds measured, all of them extrapolations."
    )
    return tag("div", paragraph(words, class_="note"), table(columns, rows))


def _meetings(found: Sequence[Duel]) -> Html | None:
    rows = []
    for duel in found:
        for meeting in duel.meetings:
            difference = meeting.difference
            said = f"+{decimal(difference.value)}" if difference.value > 0 else decimal(difference.value)
            shown = tag("strong", said) if difference.excludes_zero else said
            rows.append(
                [
                    Cell(short(meeting.member.phi), meeting.member.phi, number=True),
                    Cell(count(meeting.multiply_adds), meeting.multiply_adds, number=True),
                    number_cell(meeting.member.mean),
                    f"{duel.dimension} alone",
                    number_cell(meeting.value),
                    Cell(shown, difference.value, repr(difference.value), number=True),
                    Cell(_interval(difference), difference.low, number=True),
                ]
            )
    columns = [PHI, MULTIPLY_ADDS, COMPOUND, "against", "reaches", "difference", "95 % interval"]
    return table(columns, rows, _class(rows)) if rows else None


def _interval(difference: Difference) -> str:
    return " to ".join(ends_of(difference)) if difference.low is not None else NOTHING


def _verdict(duel: Duel, metric: str) -> str:
    """Whether compound scaling was better than this dimension alone, in plain words."""
    overall, who = duel.overall, f"Against {duel.dimension} alone"
    outside = (
        f" {plural(duel.outside, f'{COMPOUND} member')} cost more or less than {duel.dimension} alone was measured at, "
        "and say nothing here."
        if duel.outside
        else ""
    )
    if overall is None:
        return (
            f"{who} it cannot be told: no {COMPOUND} member costs what {duel.dimension} alone was measured at.{outside}"
        )
    costs = [meeting.multiply_adds for meeting in duel.meetings]
    where = f"at {count(costs[0])} multiply-adds"
    if len(costs) > 1:
        where = f"on average over {len(costs)} costs, {count(costs[0])} to {count(costs[-1])} multiply-adds"
    is_ahead = overall.value > 0 if higher_is_better(metric) else overall.value < 0
    ahead, better = ("ahead", "better") if is_ahead else ("behind", "worse")
    amount = f"by {decimal(abs(overall.value))} {said_of(metric)} {where}"
    interval = f"95 % interval {_interval(overall)}, over {plural(duel.repeats, 'repeat')}"
    if overall.excludes_zero:
        return f"{who}, {COMPOUND} was {better} {amount} ({interval}).{outside}"
    doubt = f"the {interval}, includes zero"
    if overall.low is None:
        doubt = "without repeats of the same seeds nothing says what is chance"
    return f"{who} it cannot be told at this scale: {COMPOUND} is {ahead} {amount}, but {doubt}.{outside}"


def _members(ground: Ground, folder: Path, where: str) -> Html | None:
    rows = [_row(family, member, folder) for family in ground.families for member in family.members]
    columns = ["family", PHI, "scaling", "d", "w", "r", "pixels", PARAMETERS, MULTIPLY_ADDS, "FLOPs", "ms"]
    columns += [ground.metric, "std", "n", "seeds"]
    words = (
        f"d, w and r are depth, width and resolution in multiples of those at {PHI} = 0. The papers call a "
        f"multiply-add one FLOP; here it is {FLOPS}. std is the sample standard deviation over n repeats."
    )
    return section(f"Every network{where}", paragraph(words), table(columns, rows, _class(rows)))


def _row(family: Family, member: Member, folder: Path) -> list[Cell | Html | str]:
    depth, width, resolution = member.multipliers
    height, across = member.spec.model.input.image_size
    adds = member.costs.multiply_adds
    return [
        f"{family.title}, {family.choice}" if family.choice else family.title,
        Cell(short(member.phi), member.phi, number=True),
        family.mode,
        *(number_cell(value, 2) for value in (depth, width, resolution)),
        Cell(str(height) if height == across else f"{height} {TIMES} {across}", float(height * across), number=True),
        *(_cost(value) for value in (member.costs.parameters, adds, adds and FLOPS * adds)),
        Cell(NOTHING, number=True)
        if member.costs.latency_ms is None
        else Cell(f"{member.costs.latency_ms:.3g}", member.costs.latency_ms, number=True),
        number_cell(member.mean),
        number_cell(member.deviation),
        Cell(len(member.values), len(member.values), number=True),
        Cell(tag("span", *_links(member, folder)), number=True),
    ]


def _cost(value: float | None) -> Cell:
    return Cell(NOTHING, number=True) if value is None else Cell(count(value), value, f"{value:.0f}", number=True)


def _links(member: Member, folder: Path) -> Iterable[Html | str]:
    """The runs by their seeds, linked where their own report lies below this one."""
    for number, run in enumerate(member.runs):
        there = Path(os.path.relpath(run.path, folder)) / REPORT
        is_below = ".." not in there.parts and (run.path / REPORT).is_file()
        name = run.experiment.seed
        yield ", " if number else ""
        yield tag("a", name, href=there.as_posix()) if is_below else tag("span", name, title=run.path)


def _class(rows: Sequence[object]) -> str:
    return "wide long" if len(rows) > LONG else "wide"


def _published(tables: Mapping[str, Sequence[Published]]) -> Html | None:
    rows = [
        [
            full_name(point),
            Cell(NOTHING if point.image_size is None else point.image_size, point.image_size, number=True),
            _cost(point.parameters),
            _cost(point.multiply_adds),
            Cell(NOTHING if point.latency_ms is None else f"{point.latency_ms:g}", point.latency_ms, number=True),
            point.metric,
            number_cell(point.value),
        ]
        for points in tables.values()
        for point in points
    ]
    if not rows:
        return None
    sources = dict.fromkeys(point.source for points in tables.values() for point in points)
    columns = ["network", "pixels", PARAMETERS, MULTIPLY_ADDS, "ms", "metric", "value"]
    return section("Published", table(columns, rows, _class(rows)), *(paragraph(source) for source in sources))


def _files(figures: Mapping[str, Html], missing: str) -> Html | None:
    if not figures:
        return None
    words = "Every chart of this page lies beside it as SVG: " if missing else "Every chart as SVG and as PNG: "
    names = [part for name in figures for part in (tag("code", f"figures/{name}.svg"), ", ")]
    return section("Figures", paragraph(words, *names[:-1], f". {missing}" if missing else "."))
