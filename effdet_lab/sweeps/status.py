"""How far a sweep is, from its files alone: safe to ask from another terminal while it runs."""

import time
from datetime import datetime, timedelta
from typing import NamedTuple

from rich.table import Table

from effdet_lab.errors import DataError
from effdet_lab.run.folder import read_spec
from effdet_lab.run.record import TABLE, Row, read_table
from effdet_lab.spec import ExperimentSpec
from effdet_lab.sweeps.ledger import Entry, Ledger
from effdet_lab.sweeps.table import SHOWN, typed, varied


class Progress(NamedTuple):
    """Of one job, as far as its files tell."""

    epoch: int
    epochs: int
    metric: str
    elapsed: float  # seconds of all attempts
    left: float | None  # seconds, at the pace so far


def progress_of(ledger: Ledger, entry: Entry) -> Progress:
    """Epochs done, the newest value of the metric that decides, and the time left."""
    folder = ledger.job_folder(entry.number)
    rows = read_table(folder / TABLE)
    try:
        spec = read_spec(folder)
    except DataError:
        spec = None
    epochs = spec.trainer.max_epochs if spec else 0
    epoch = int(rows[-1]["epoch"]) if rows else 0
    elapsed = entry.seconds
    if entry.state == "running":
        elapsed += max(0.0, time.time() - datetime.fromisoformat(entry.attempts[-1].started).timestamp())
    left = elapsed / epoch * (epochs - epoch) if epoch and entry.state == "running" else None
    return Progress(epoch, epochs, _newest(rows, entry), elapsed, left)


def summary(ledger: Ledger) -> str:
    """How many jobs are in which state."""
    states = [entry.state for entry in ledger.entries]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    return f"{ledger.folder}: {len(states)} jobs, {counts}"


def status_table(ledger: Ledger) -> Table:
    """Job, settings, state, epoch, metric, time gone and left, device."""
    settings = varied(ledger.entries)
    table = Table()
    for name in ("job", *settings, "state", "attempt", "epoch", "metric", "gone", "left", "device"):
        table.add_column(name, justify="right")
    for entry in ledger.entries:
        mine, progress = typed(entry), progress_of(ledger, entry)
        table.add_row(
            str(entry.number),
            *(mine.get(name, "") for name in settings),
            entry.state,
            str(len(entry.attempts)) if entry.attempts else "",
            f"{progress.epoch}/{progress.epochs}" if entry.attempts else "",
            progress.metric,
            _clock(progress.elapsed) if entry.attempts else "",
            _clock(progress.left) if progress.left is not None else "",
            _device(ledger, entry),
        )
    return table


def _newest(rows: list[Row], entry: Entry) -> str:
    for name in SHOWN:
        if name in entry.metrics:
            return f"{name.removeprefix('val/')} {entry.metrics[name]:.4f}"
        values = [row[name] for row in rows if name in row]
        if values:
            return f"{name.removeprefix('val/')} {float(values[-1]):.4f}"
    return ""


def _device(ledger: Ledger, entry: Entry) -> str:
    if entry.state != "running":
        return ""
    try:
        spec: ExperimentSpec = read_spec(ledger.job_folder(entry.number))
    except DataError:
        return ""
    count = spec.trainer.gpus or spec.trainer.processes
    return f"{count} x {'GPU' if spec.trainer.gpus else 'CPU'}"


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
