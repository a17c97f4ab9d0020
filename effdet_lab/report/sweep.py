"""A sweep's folder as one page: what is best, what it costs, and which setting mattered."""

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path

from effdet_lab.report.charts import COLOURS, Axis, Point, Series, bar, chart, loss_axis, stack
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
from effdet_lab.report.ranking import PHI, Group, label_of, ranked
from effdet_lab.report.reading import (
    REPEATS,
    SweepFolder,
    SweepJob,
    curve,
    higher_is_better,
    log_end,
    main_metric,
    read_sweep,
)
from effdet_lab.report.scaling import cost_section, dimension_section
from effdet_lab.report.scaling_charts import (
    LATENCY,
    MULTIPLY_ADDS,
    PARAMETERS,
    PLUS_MINUS,
    cost_charts,
    dimension_charts,
)
from effdet_lab.report.scaling_facts import Ground, done_runs, grounds_of
from effdet_lab.report.statistics import compare_repeats, eta_squared, levels_of, pareto_front
from effdet_lab.report.wording import NOTHING, count, day, decimal, duration, parsed, plural, short

BESIDE = ("val/map_50", "val/top5", "val/loss")  # columns of the ranking
LONG_NUMBER, LONG_LABEL = 9, 24  # letters
LONG = 20  # rows beyond which a table scrolls
DRAWN = 150  # points of a curve among many
NAMED = 14  # points beyond which a chart names none but the front's
COSTS: dict[str, Callable[[SweepJob], float | None]] = {
    PARAMETERS: lambda job: job.run.costs.parameters,
    MULTIPLY_ADDS: lambda job: job.run.costs.multiply_adds,
    LATENCY: lambda job: job.run.costs.latency_ms,
    "seconds": lambda job: job.seconds,
}
STOPPED = "stopped"  # by a search


def write_sweep_report(folder: Path) -> Path:
    """report.html of a sweep, also of one that was interrupted or whose jobs failed.

    Raises: DataError where there is no such folder.
    """
    return write_page(folder, sweep_page(read_sweep(folder)))


def sweep_page(sweep: SweepFolder) -> Html:
    """The page itself."""
    metric = main_metric([job.metrics for job in sweep.jobs]) or "val/map"
    groups = ranked(sweep, metric)
    ground = _ground(sweep, metric)
    drawn = cost_charts(ground) if ground else {}
    content = [
        notes(sweep.notes),
        _headline(sweep, groups, metric),
        _ranking(sweep, groups, metric),
        _scaling(groups, metric, ground, drawn),
        dimension_section(ground, dimension_charts(ground)) if ground else None,
        _costs(groups, metric, drawn),
        _importance(sweep, metric),
        _curves(sweep, groups, metric),
        _jobs(sweep, metric),
        _failed(sweep),
    ]
    begun = [job.run.when for job in sweep.jobs if job.run.when]
    kicker = " \N{MIDDLE DOT} ".join(["sweep", *([day(min(begun))] if begun else [])])
    return page(sweep.path.absolute().name, kicker, _summary(sweep), content)


def _summary(sweep: SweepFolder) -> str:
    models = dict.fromkeys(type(job.run.spec.model).__name__ for job in sweep.jobs if job.run.spec)
    what = {"DetectorSpec": "detectors", "ClassifierSpec": "classifiers"}
    data = dict.fromkeys(job.run.spec.data.name for job in sweep.jobs if job.run.spec)
    kinds = f" of {' and '.join(what[name] for name in models)} on {' and '.join(data)}" if models else ""
    *first, last = sweep.varied or [""]
    varied = f", over {', '.join(first)} and {last}" if first else f", over {last}" if last else ""
    return f"{plural(len(sweep.jobs), 'job')}{kinds}{varied}."


def _headline(sweep: SweepFolder, groups: Sequence[Group], metric: str) -> Html | None:
    done = sum(job.status == "done" for job in sweep.jobs)
    seconds = math.fsum(job.seconds or 0.0 for job in sweep.jobs)
    pairs: list[tuple[str, str, str | None]] = []
    if groups:
        best = groups[0]
        pairs.append((f"best {metric}", decimal(best.mean), f"{_spread(best)}{best.label}"))
    stopped = sum(job.status == STOPPED for job in sweep.jobs)
    early = f"{stopped} ended early, having fallen behind" if stopped else None
    pairs.append(("jobs done", f"{done} of {len(sweep.jobs)}", early))
    pairs.append(("all jobs took", duration(seconds), None))
    return tiles(pairs)


def _spread(group: Group) -> str:
    if group.deviation is None:
        return ""
    return f"{PLUS_MINUS} {decimal(group.deviation)} over {len(group.values)} repeats; "


def _ranking(sweep: SweepFolder, groups: Sequence[Group], metric: str) -> Html | None:
    if not groups:
        return paragraph("No job has a metric to be ranked by.", class_="empty")
    shared = [name for name in sweep.varied if name not in REPEATS]
    beside = [name for name in BESIDE if name != metric and any(name in job.metrics for job in sweep.jobs)]
    costs = [name for name, of in COSTS.items() if any(group.average(of) is not None for group in groups)]
    repeated = any(len(group.jobs) > 1 for group in groups)
    rows = []
    for rank, group in enumerate(groups, start=1):
        row = [Cell(rank, rank, number=True), *(_setting(group.settings[name]) for name in shared)]
        row.append(number_cell(group.mean))
        if repeated:
            row += [number_cell(group.deviation), Cell(len(group.jobs), len(group.jobs), number=True)]
        row += [number_cell(group.average(lambda job, name=name: job.metrics.get(name))) for name in beside]
        row += [_cost(name, group.average(COSTS[name])) for name in costs]
        rows.append(row)
    columns = ["rank", *shared, metric, *(["std", "n"] if repeated else []), *beside, *costs]
    words = (
        f"By the mean of {metric} over repeats, jobs that differ only in {' or '.join(REPEATS)}; "
        "std is their sample standard deviation."
        if repeated
        else f"By {metric}."
    )
    return section(
        "Ranking", paragraph(words), table(columns, rows, _class(rows)), _first_against_second(groups, metric)
    )


def _first_against_second(groups: Sequence[Group], metric: str) -> Html | None:
    if len(groups) < 2:
        return None
    found = compare_repeats(*(group.repeats(metric) for group in groups[:2]))
    if found is None:
        return None
    verdict = "is clear" if found.is_clear else "may be chance"
    return paragraph(
        f"The first differs from the second by {decimal(found.difference)} (95 % interval {decimal(found.low)} to "
        f"{decimal(found.high)}, paired bootstrap over {found.pairs} repeats): the difference {verdict}."
    )


def _class(rows: Sequence[object]) -> str:
    return "wide long" if len(rows) > LONG else "wide"


def _setting(text: str) -> Cell:
    value = parsed(text)
    if value is not None and len(text) > LONG_NUMBER:  # as a search draws it
        return Cell(short(value), value, text, number=True)
    return Cell(text or NOTHING, value, number=value is not None)


def _cost(name: str, value: float | None) -> Cell:
    if value is None:
        return Cell(NOTHING, number=True)
    return Cell(_said(name, value), value, f"{value:g}", number=True)


def _said(name: str, cost: float) -> str:
    if name == LATENCY:
        return f"{cost:.3g} ms"
    return duration(cost) if name == "seconds" else count(cost)


def _ground(sweep: SweepFolder, metric: str) -> Ground | None:
    """The networks of a sweep that scales them, where lines of two or more of a kind go through one picture."""
    grounds, _ = grounds_of(done_runs(sweep))
    if len(grounds) != 1 or grounds[0].metric != metric:
        return None
    families = grounds[0].families
    alike = not any(setting.typed for family in families for setting in family.differing)
    return grounds[0] if alike and 2 * len(families) <= len(grounds[0].members) else None


def _scaling(groups: Sequence[Group], metric: str, ground: Ground | None, drawn: Mapping[str, Html]) -> Html | None:
    """The metric against phi, one line for each choice of the other settings; then against what it costs."""
    scaled = [(parsed(group.settings.get("phi", "")), group) for group in groups]
    scaled = [(phi, group) for phi, group in scaled if phi is not None]
    by_phi = [_phi_chart(scaled, metric)] if len({phi for phi, _ in scaled}) > 1 else []
    if ground:
        return cost_section(ground, drawn, before=by_phi)
    return section("Scaling", stack(by_phi)) if by_phi else None


def _phi_chart(scaled: Sequence[tuple[float, Group]], metric: str) -> Html:
    lines: dict[str, list[tuple[float, Group]]] = {}
    for phi, group in scaled:
        others = {name: value for name, value in group.settings.items() if name != "phi"}
        lines.setdefault(label_of(others) or metric, []).append((phi, group))
    series = [
        Series(
            label,
            [_point(phi, group, metric) for phi, group in sorted(line, key=_first)],
            colour if colour < COLOURS else None,
        )
        for colour, (label, line) in enumerate(lines.items())
    ]
    ticks = sorted({phi for phi, _ in scaled})
    axis = Axis(PHI, ticks=ticks if len(ticks) <= 12 else ())
    repeated = any(group.deviation is not None for _, group in scaled)
    caption = "Whiskers are one sample standard deviation over the repeats." if repeated else ""
    return chart(f"{metric} against {PHI}", series, axis, Axis(metric), caption)


def _first(pair: tuple[float, Group]) -> float:
    return pair[0]


def _point(x: float, group: Group, metric: str, said: str = "", named: bool = False) -> Point:
    spread = group.deviation
    told = f"{group.label}\n{metric} {decimal(group.mean)}"
    told += f" {PLUS_MINUS} {decimal(spread)} (n = {len(group.values)})" if spread is not None else ""
    low, high = (None, None) if spread is None else (group.mean - spread, group.mean + spread)
    return Point(x, group.mean, low, high, f"{told}\n{said}" if said else told, group.label if named else "")


def _costs(groups: Sequence[Group], metric: str, drawn: Mapping[str, Html]) -> Html | None:
    """Without what was drawn already."""
    figures = [_cost_chart(name, groups, metric) for name in COSTS if _cost_title(name, metric) not in drawn]
    figures = [figure for figure in figures if figure is not None]
    if not figures:
        return None
    words = (
        "The dashes are the Pareto front: whoever stands on it is beaten by nobody who costs no more. Milliseconds are "
        "each job's own measurement of one picture through its network; jobs that ran side by side disturb one another."
    )
    return section("What it costs", paragraph(words), stack(figures))


def _cost_title(name: str, metric: str) -> str:
    return f"{metric} against {name}"


def _cost_chart(name: str, groups: Sequence[Group], metric: str) -> Html | None:
    known = [(group.average(COSTS[name]), group) for group in groups]
    known = [(cost, group) for cost, group in known if cost is not None and cost > 0]
    if len({cost for cost, _ in known}) < 2:
        return None
    sign = 1 if higher_is_better(metric) else -1
    front = pareto_front([(cost, sign * group.mean) for cost, group in known])

    def point(index: int) -> Point:
        cost, group = known[index]
        said = _said(name, cost) if name in (LATENCY, "seconds") else f"{count(cost)} {name}"
        return _point(cost, group, metric, said, named=index in front or len(known) <= NAMED)

    order = [*front, *(index for index in range(len(known)) if index not in front)]  # the front is named first
    stairs = [Point(known[index][0], known[index][1].mean) for index in front]
    series = [
        Series("Pareto front", stairs, None, "stairs"),
        Series("on the front", [point(index) for index in order if index in front], 0, "dots"),
        Series("behind it", [point(index) for index in order if index not in front], 1, "dots"),
    ]
    return chart(_cost_title(name, metric), series, Axis(name, log=True), Axis(metric))


def _importance(sweep: SweepFolder, metric: str) -> Html | None:
    measured = [job for job in sweep.jobs if metric in job.metrics]
    values = [job.metrics[metric] for job in measured]
    levels = {name: _levels(name, measured) for name in sweep.varied}
    shares = {name: eta_squared(levels[name], values) for name in sweep.varied}
    if not any(share is not None for share in shares.values()):
        return None
    order = sorted(shares, key=lambda name: -1.0 if shares[name] is None else shares[name], reverse=True)
    rows = []
    for name in order:
        share, number = shares[name], len({job.settings[name] for job in measured})
        drawn = (
            Cell(bar(share), share)
            if share is not None
            else tag("span", "cannot be told: as many values as jobs, or too few", class_="quiet")
        )
        rows.append(
            [
                tag("code", name),
                Cell(number, number, number=True),
                Cell(NOTHING if share is None else f"{share:.3f}", share, number=True),
                drawn,
            ]
        )
    words = (
        f"Main-effect eta squared: the share of the variance of {metric} over all measured jobs that grouping them by "
        "this one setting explains; numbers that hardly ever come twice are grouped into thirds. Chance alone explains "
        "some, the more so the more values a setting has; what settings do only together is in none of them."
    )
    return section("What mattered", paragraph(words), table(["setting", "values", "eta squared", ""], rows))


def _levels(name: str, jobs: Sequence[SweepJob]) -> list[Hashable]:
    texts = [job.settings[name] for job in jobs]
    return levels_of(texts, [parsed(text) for text in texts])


def _curves(sweep: SweepFolder, groups: Sequence[Group], metric: str) -> Html | None:
    """Every job over its epochs; repeats share a colour, and only the best groups have one."""
    drawn = groups[:COLOURS]
    colours = {job.number: rank for rank, group in enumerate(drawn) for job in group.jobs}
    ranks = any(len(group.label) > LONG_LABEL for group in drawn)
    labels = {
        job.number: f"rank {rank}" if ranks else group.label
        for rank, group in enumerate(drawn, start=1)
        for job in group.jobs
    }
    figures = []
    for name in dict.fromkeys([metric, "val/loss", "train/loss"]):
        series = [_job_curve(job, name, colours.get(job.number), labels.get(job.number, "")) for job in sweep.jobs]
        series = [one for one in series if one.points]
        series.sort(key=lambda one: math.inf if one.colour is None else one.colour, reverse=True)  # the best on top
        if series:
            losses = [point.y for one in series for point in one.points]
            axis = Axis(name) if higher_is_better(name) else loss_axis(name, losses)
            figures.append(chart(name, series, Axis("epoch", whole=True), axis))
    return section("Curves", stack(figures)) if figures else None


def _job_curve(job: SweepJob, metric: str, colour: int | None, label: str) -> Series:
    measured = curve(job.run.epochs, metric)
    measured = measured[:: -math.ceil(len(measured) / DRAWN) or -1][::-1]  # thinned, the last one kept
    points = [Point(x, y) for x, y in measured]
    told = f"job {job.number}: {label_of(job.settings)}"
    if points:
        told += f"\n{metric} {short(points[-1].y)} after epoch {points[-1].x:g}"
    return Series(label if colour is not None else "others", points, colour, told=told)


def _jobs(sweep: SweepFolder, metric: str) -> Html | None:
    if not sweep.jobs:
        return None
    rows = []
    for job in sweep.jobs:
        row = [_link(sweep, job), *(_setting(job.settings[name]) for name in sweep.varied), job.status]
        row += [_cost("seconds", job.seconds), number_cell(job.metrics.get(metric))]
        rows.append(row)
    columns = ["job", *sweep.varied, "status", "seconds", metric]
    return section("Jobs", table(columns, rows, _class(rows)))


def _link(sweep: SweepFolder, job: SweepJob) -> Cell:
    """To the job's own report, where it has one."""
    there = (sweep.path / str(job.number) / REPORT).is_file()
    shown = tag("a", job.number, href=f"{job.number}/{REPORT}") if there else job.number
    return Cell(shown, job.number, number=True)


def _failed(sweep: SweepFolder) -> Html | None:
    parts = []
    for job in sweep.jobs:
        if job.status in ("done", STOPPED):
            continue
        said = log_end(job.run.path)
        parts.append(tag("h3", f"Job {job.number}: {job.status}"))
        parts.append(paragraph(tag("code", job.overrides)))
        if said:
            parts.append(tag("details", tag("summary", "What it said last"), tag("pre", said)))
    return section("Not done", *parts) if parts else None
