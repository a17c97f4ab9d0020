"""A sweep as a table: sweep.csv for scripts, columns for people."""

import csv
import io
from collections.abc import Sequence

from rich.table import Table

from effdet_lab.report.reading import REPEATS
from effdet_lab.report.statistics import deviation, mean
from effdet_lab.run.folder import write_text
from effdet_lab.sweeps.ledger import Entry, Ledger

FILE = "sweep.csv"
DECIDING = ("val/map", "val/top1")
SHOWN = ("val/map", "val/map_50", "val/top1", "val/top5", "val/loss")


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


def best_of(entries: Sequence[Entry]) -> Entry | None:
    """The finished job with the highest map or top-1; None where none measured either."""
    for name in DECIDING:
        measured = [entry for entry in entries if entry.state == "done" and name in entry.metrics]
        if measured:
            return max(measured, key=lambda entry: entry.metrics[name])
    return None


def ranking_table(ledger: Ledger) -> Table | None:
    """Repeats together, by their mean; None where nothing was repeated, or nothing measured that decides."""
    metric = next((name for name in DECIDING if any(name in entry.metrics for entry in ledger.entries)), None)
    groups: dict[tuple[str, ...], list[float]] = {}
    settings = [name for name in varied(ledger.entries) if name not in REPEATS]
    for entry in ledger.entries:
        if metric in entry.metrics and entry.state == "done":
            key = tuple(typed(entry).get(name, "") for name in settings)
            groups.setdefault(key, []).append(entry.metrics[metric])
    if metric is None or not settings or all(len(values) < 2 for values in groups.values()):
        return None
    table = Table(title="Repeats together")
    for name in (*settings, metric, "std", "n"):
        table.add_column(name, justify="right")
    for key, values in sorted(groups.items(), key=lambda group: mean(group[1]), reverse=True):
        spread = deviation(values)
        table.add_row(*key, f"{mean(values):.4f}", "" if spread is None else f"{spread:.4f}", str(len(values)))
    return table


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


def result_table(ledger: Ledger) -> Table:
    """The jobs in their order."""
    entries = ledger.entries
    settings = varied(entries)
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
