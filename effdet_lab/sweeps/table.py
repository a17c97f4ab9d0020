"""A sweep as tables: sweep.csv and ranking.csv for scripts, columns for people."""

import csv
import io
from collections.abc import Sequence

from rich.table import Table

from effdet_lab.report.reading import REPEATS
from effdet_lab.report.statistics import deviation, mean
from effdet_lab.run.folder import write_text
from effdet_lab.sweeps.ledger import Entry, Ledger

FILE, RANKING = "sweep.csv", "ranking.csv"
REWARD = "search/reward"
MOST_COLUMNS = 8  # of settings, in a table for people
DECIDING = (REWARD, "val/map", "val/top1")
SHOWN = (REWARD, "val/map", "val/map_50", "val/top1", "val/top5", "val/loss")


def varied(entries: Sequence[Entry]) -> list[str]:
    """The settings that are not the same in every job."""
    values: dict[str, set[str]] = {}
    for entry in entries:
        for name, value in typed(entry).items():
            values.setdefault(name, set()).add(value)
    in_all = set.intersection(*(set(typed(entry)) for entry in entries)) if entries else set()
    return [name for name, seen in values.items() if len(seen) > 1 or name not in in_all]


def typed(entry: Entry) -> dict[str, str]:
    """A job's overrides by setting."""
    parts = (text.partition("=") for text in entry.overrides)
    return {setting: value for setting, _, value in parts}


def deciding_metric(entries: Sequence[Entry]) -> str | None:
    """The map or top-1 that a finished job has; None where none measured either."""
    done = [entry for entry in entries if entry.state == "done"]
    return next((name for name in DECIDING if any(name in entry.metrics for entry in done)), None)


def together(entries: Sequence[Entry], metric: str) -> dict[tuple[str, ...], list[Entry]]:
    """Finished jobs by what does not only repeat them, the best by their mean first."""
    settings = [name for name in varied(entries) if name not in REPEATS]
    groups: dict[tuple[str, ...], list[Entry]] = {}
    for entry in entries:
        if metric in entry.metrics and entry.state == "done":
            groups.setdefault(tuple(typed(entry).get(name, "") for name in settings), []).append(entry)
    return dict(sorted(groups.items(), key=lambda group: mean(_values(group[1], metric)), reverse=True))


def best_of(entries: Sequence[Entry]) -> Entry | None:
    """The best job of those whose repeats are the best in the mean; None where none measured what decides."""
    metric = deciding_metric(entries)
    if metric is None:
        return None
    return max(next(iter(together(entries, metric).values())), key=lambda entry: entry.metrics[metric])


def ranking_table(ledger: Ledger) -> Table | None:
    """Repeats together, by their mean; None where nothing was repeated, or nothing measured that decides."""
    metric = deciding_metric(ledger.entries)
    settings = [name for name in varied(ledger.entries) if name not in REPEATS]
    groups = together(ledger.entries, metric) if metric else {}
    if metric is None or not settings or all(len(group) < 2 for group in groups.values()):
        return None
    table = Table(title="Repeats together")
    for name in (*settings, metric, "std", "n"):
        table.add_column(name, justify="right")
    for key, group in groups.items():
        values = _values(group, metric)
        spread = deviation(values)
        table.add_row(*key, f"{mean(values):.4f}", "" if spread is None else f"{spread:.4f}", str(len(values)))
    return table


def _values(entries: Sequence[Entry], metric: str) -> list[float]:
    return [entry.metrics[metric] for entry in entries]


def write_csv(ledger: Ledger) -> None:
    """A row a job: its overrides, what became of it, its metrics."""
    entries = ledger.entries
    settings = varied(entries)
    metrics = sorted({name for entry in entries for name in entry.metrics})
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["job", "overrides", *settings, "status", "seconds", "folder", *metrics])
    for entry in entries:
        mine = typed(entry)
        writer.writerow(
            [
                entry.number,
                " ".join(entry.overrides),
                *(mine.get(name, "") for name in settings),
                entry.state,
                f"{entry.seconds:.1f}",
                ledger.job_folder(entry.number),
                *(entry.metrics.get(name, "") for name in metrics),
            ]
        )
    write_text(ledger.folder / FILE, text.getvalue())


def write_ranking(ledger: Ledger) -> None:
    """A row for each choice of settings, the best first: how many repeats, and every metric's mean and spread.

    Not written where no finished job has measured what decides.
    """
    metric = deciding_metric(ledger.entries)
    if metric is None:
        return
    settings = [name for name in varied(ledger.entries) if name not in REPEATS]
    groups = together(ledger.entries, metric)
    metrics = sorted({name for group in groups.values() for entry in group for name in entry.metrics})
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    numbers = [f"{name}{what}" for name in metrics for what in ("", "_std")]
    writer.writerow(["rank", *settings, "n", "jobs", *numbers])
    for rank, (key, group) in enumerate(groups.items(), start=1):
        row: list[object] = [rank, *key, len(group), " ".join(str(entry.number) for entry in group)]
        for name in metrics:
            values = [entry.metrics[name] for entry in group if name in entry.metrics]
            spread = deviation(values)
            row += [f"{mean(values):.7g}" if values else "", "" if spread is None else f"{spread:.7g}"]
        writer.writerow(row)
    write_text(ledger.folder / RANKING, text.getvalue())


def result_table(ledger: Ledger) -> Table:
    """The jobs in their order; settings are left to sweep.csv where there are too many to be read side by side."""
    entries = ledger.entries
    settings = varied(entries)
    if len(settings) > MOST_COLUMNS:
        settings = []
    shown = [name for name in SHOWN if any(name in entry.metrics for entry in entries)]
    table = Table(title=f"Sweep {ledger.folder}")
    for name in ("job", *settings, "status", "seconds", *shown):
        table.add_column(name, justify="right")
    for entry in entries:
        mine = typed(entry)
        numbers = [f"{entry.metrics[name]:.4f}" if name in entry.metrics else "" for name in shown]
        values = [mine.get(name, "") for name in settings]
        table.add_row(str(entry.number), *values, entry.state, f"{entry.seconds:.0f}", *numbers)
    return table
