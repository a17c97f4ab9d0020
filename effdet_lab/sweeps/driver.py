"""A sweep's loop: fill the free slots, look at what runs, write down what ended."""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from effdet_lab.run.folder import JUDGED_FILE, ask_to_stop, judged, read_spec, write_spec
from effdet_lab.run.outcome import read_outcome
from effdet_lab.run.record import FINAL, TABLE, read_table
from effdet_lab.sweeps.candidates import Candidates
from effdet_lab.sweeps.engines import Engine, Handle
from effdet_lab.sweeps.ledger import OVER, Attempt, Entry, Ledger, State
from effdet_lab.sweeps.retry import again

LOOK_EVERY = 0.1  # seconds
STATES: dict[str, State] = {"done": "done", "stopped": "stopped", "refused": "refused", "interrupted": "interrupted"}
Teller = Callable[[Ledger, Entry], None]


class Running(NamedTuple):
    """A job at work."""

    handle: Handle
    started: float
    epochs_seen: int


def drive(ledger: Ledger, candidates: Candidates, engine: Engine, *, retries: int, tell: Teller) -> None:
    """Run until no candidate is left; `tell` hears of every change of state.

    Jobs that an earlier process started and that still run are watched on; others of its jobs wait for another attempt.

    Raises: KeyboardInterrupt when the user asks for an end, after what runs here has ended.
    """
    running = _left_by_another(ledger, engine)
    try:
        while True:
            while len(running) < engine.slots:
                entry = _next(ledger, candidates)
                if entry is None:
                    break
                running[entry.number] = _start(ledger, entry, engine, candidates)
                tell(ledger, ledger.entries[entry.number])
            if not running:
                return
            time.sleep(LOOK_EVERY)
            for number, job in list(running.items()):
                running[number] = _watch(ledger, number, job, candidates)
                if job.handle.ended():
                    del running[number]
                    _conclude(ledger, number, job, retries)
                    if ledger.entries[number].state in OVER:
                        _judge(ledger, number, candidates)
                    tell(ledger, ledger.entries[number])
    except KeyboardInterrupt:
        if engine.on_interrupt == "leave":
            running.clear()
        for number, job in running.items():
            if engine.on_interrupt == "kill":
                job.handle.kill()
            while not job.handle.ended():  # one that heard it may still be writing its checkpoint
                time.sleep(LOOK_EVERY)
            _conclude(ledger, number, job, retries=0)
            if engine.on_interrupt == "kill" and ledger.entries[number].state == "failed":
                ledger.change(number, state="interrupted")
        raise
    finally:
        for job in running.values():
            if not job.handle.ended():
                job.handle.kill()
        engine.close()


def _left_by_another(ledger: Ledger, engine: Engine) -> dict[int, Running]:
    found = {}
    for entry in ledger.entries:
        if entry.state == "running":
            attempt = entry.attempts[-1]
            handle = engine.rejoin(ledger.job_folder(entry.number), attempt.handle)
            if handle is None:
                ledger.change(entry.number, state="waiting")
            else:
                ago = time.time() - datetime.fromisoformat(attempt.started).timestamp()
                found[entry.number] = Running(handle, time.monotonic() - ago, 0)
    return found


def _next(ledger: Ledger, candidates: Candidates) -> Entry | None:
    """A job that waits, else a new one."""
    waiting = next((entry for entry in ledger.entries if entry.state == "waiting"), None)
    if waiting is not None:
        return waiting
    candidate = candidates.ask(len(ledger.entries))
    if candidate is None:
        return None
    entry = ledger.add(candidate.overrides, candidate.spec)
    write_spec(ledger.job_folder(entry.number), candidate.spec)
    return entry


def _start(ledger: Ledger, entry: Entry, engine: Engine, candidates: Candidates) -> Running:
    now = datetime.now().isoformat(timespec="seconds")
    ledger.change(entry.number, state="running", attempts=(*entry.attempts, Attempt(now)))
    if candidates.judges:
        judged(ledger.job_folder(entry.number), 0)
    handle = engine.start(ledger.job_folder(entry.number))
    if handle.name:
        ledger.change(entry.number, attempts=(*entry.attempts, Attempt(now, handle=handle.name)))
    return Running(handle, time.monotonic(), 0)


def _watch(ledger: Ledger, number: int, job: Running, candidates: Candidates) -> Running:
    """Shows the candidates every epoch that was finished since the last look."""
    folder = ledger.job_folder(number)
    rows = read_table(folder / TABLE)
    for row in rows[job.epochs_seen :]:
        metrics = {name: float(value) for name, value in row.items() if "/" in name}
        if candidates.watch(ledger.entries[number], int(row["epoch"]), metrics):
            ask_to_stop(folder)
        if candidates.judges:
            judged(folder, int(row["epoch"]))
    return job._replace(epochs_seen=len(rows))


def _judge(ledger: Ledger, number: int, candidates: Candidates) -> None:
    entry = ledger.entries[number]
    score = candidates.score(entry)
    if score:
        entry = ledger.change(number, metrics={**entry.metrics, **score})
    candidates.tell(entry)


def _conclude(ledger: Ledger, number: int, job: Running, retries: int) -> None:
    entry, folder = ledger.entries[number], ledger.job_folder(number)
    (folder / JUDGED_FILE).unlink(missing_ok=True)
    outcome = read_outcome(folder)
    seconds = round(time.monotonic() - job.started, 1)
    retry = again(read_spec(folder), outcome) if len(entry.attempts) <= retries else None
    change = retry.change if retry else ""
    attempt = replace(entry.attempts[-1], kind=outcome.kind, seconds=seconds, message=outcome.message, change=change)
    if retry is not None:
        write_spec(folder, retry.spec)
    state: State = "waiting" if retry else STATES.get(outcome.kind, "failed")
    attempts = (*entry.attempts[:-1], attempt)
    ledger.change(number, state=state, attempts=attempts, metrics=_metrics(folder / FINAL))


def _metrics(path: Path) -> dict[str, float]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
