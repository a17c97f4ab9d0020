"""What the console says while a sweep runs: a line for each change, and in a terminal a table that lives."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live

from effdet_lab.run.outcome import read_outcome
from effdet_lab.sweeps.driver import Teller
from effdet_lab.sweeps.ledger import Entry, Ledger
from effdet_lab.sweeps.status import status_table
from effdet_lab.sweeps.table import SHOWN, write_csv


@contextmanager
def teller(ledger: Ledger, total: int, *, aloud: bool) -> Iterator[Teller]:
    """Called with every change. Jobs that are `aloud` speak for themselves; others are told about in the table."""
    console = Console()
    if not aloud and console.is_terminal:
        with Live(get_renderable=lambda: status_table(ledger), console=console, refresh_per_second=1) as live:

            def change(ledger: Ledger, entry: Entry) -> None:
                write_csv(ledger)
                if entry.state == "failed":
                    live.console.print(_ended(ledger, entry), highlight=False, markup=False)

            yield change
        return

    def say(ledger: Ledger, entry: Entry) -> None:
        write_csv(ledger)
        if entry.state == "running":
            again = f", attempt {len(entry.attempts)}" if len(entry.attempts) > 1 else ""
            of = f" of {total}" if total else ""
            print(f"\n== job {entry.number + 1}{of}{again}: {' '.join(entry.overrides)}", flush=True)
        elif not aloud or entry.state in ("waiting", "failed"):
            print(_ended(ledger, entry, with_cause=not aloud), flush=True)
        sys.stdout.flush()

    yield say


def _ended(ledger: Ledger, entry: Entry, with_cause: bool = True) -> str:
    attempt = entry.attempts[-1]
    words = f"job {entry.number + 1} {entry.state} after {attempt.seconds:.0f} s"
    if entry.state == "waiting":
        return f"{words}, {attempt.kind.replace('_', ' ')}: again {attempt.change}"
    if entry.state == "failed":  # a job that speaks for itself has told its cause
        cause = read_outcome(ledger.job_folder(entry.number)).cause or attempt.message
        return f"{words}\n{cause}".rstrip() if with_cause else f"{words}."
    numbers = ", ".join(f"{name} {entry.metrics[name]:.4f}" for name in SHOWN if name in entry.metrics)
    return f"{words}: {numbers or attempt.message}".rstrip(": ")
