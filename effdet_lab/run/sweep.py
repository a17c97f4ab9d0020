"""The jobs of a multirun, one after another, each a process of its own; sweep.csv is complete after every job."""

import csv
import dataclasses
import io
import json
import subprocess
import sys
import time
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from effdet_lab.run.folder import write_spec, write_text
from effdet_lab.run.jobs import Job, Sweep

SHOWN = ("val/map", "val/map_50", "val/top1", "val/top5", "val/loss")
STATUS = {0: "done", 2: "refused", 130: "interrupted"}


class Outcome(NamedTuple):
    """How a job ended."""

    job: Job
    status: str
    seconds: float
    metrics: dict[str, float]


def run_sweep(sweep: Sweep) -> int:
    """Run every job, whatever becomes of the others; 0 when all are done."""
    sweep.folder.mkdir(parents=True, exist_ok=True)
    for job in sweep.jobs:
        write_spec(job.folder, _grouped(job, sweep.folder.name).spec)
    outcomes: list[Outcome] = []
    for number, job in enumerate(sweep.jobs, start=1):
        print(f"\n== job {number} of {len(sweep.jobs)}: {' '.join(job.spec.overrides)}", flush=True)
        outcomes.append(_run(job))
        write_text(sweep.folder / "sweep.csv", _csv(sweep, outcomes))
        if outcomes[-1].status == "interrupted":
            break
    Console().print(_table(sweep, outcomes))
    print(f"{sweep.folder / 'sweep.csv'} holds this table.")
    failed = [outcome for outcome in outcomes if outcome.status != "done"]
    if any(outcome.status == "interrupted" for outcome in failed):
        return 130
    return 1 if failed else 0


def _grouped(job: Job, group: str) -> Job:
    """The jobs of a sweep stand together at W&B, unless the user named another group."""
    logger = dataclasses.replace(job.spec.logger, group=job.spec.logger.group or group)
    return Job(dataclasses.replace(job.spec, logger=logger), job.folder)


def _run(job: Job) -> Outcome:
    start = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "effdet_lab.run.job", str(job.folder)])
    try:
        code = process.wait()
    except KeyboardInterrupt:  # the job heard it too, and may still be writing
        process.wait()
        code = 130
    metrics_file = job.folder / "metrics.json"
    metrics = json.loads(metrics_file.read_text(encoding="utf-8")) if code == 0 and metrics_file.exists() else {}
    return Outcome(job, STATUS.get(code, f"failed ({code})"), time.monotonic() - start, metrics)


def _varied(sweep: Sweep) -> list[str]:
    """The settings that are not the same in every job."""
    values: dict[str, set[str]] = {}
    for job in sweep.jobs:
        for text in job.spec.overrides:
            name, _, value = text.partition("=")
            values.setdefault(name, set()).add(value)
    return [name for name, seen in values.items() if len(seen) > 1]


def _values(job: Job, names: list[str]) -> list[str]:
    typed = dict(text.partition("=")[::2] for text in job.spec.overrides)
    return [typed.get(name, "") for name in names]


def _csv(sweep: Sweep, outcomes: list[Outcome]) -> str:
    varied = _varied(sweep)
    metrics = sorted({name for outcome in outcomes for name in outcome.metrics})
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["job", "overrides", *varied, "status", "seconds", "folder", *metrics])
    for number, outcome in enumerate(outcomes):
        job = outcome.job
        measured = [outcome.metrics.get(name, "") for name in metrics]
        overrides = " ".join(job.spec.overrides)
        writer.writerow(
            [number, overrides, *_values(job, varied), outcome.status, f"{outcome.seconds:.1f}", job.folder, *measured]
        )
    return text.getvalue()


def _table(sweep: Sweep, outcomes: list[Outcome]) -> Table:
    varied = _varied(sweep)
    shown = [name for name in SHOWN if any(name in outcome.metrics for outcome in outcomes)]
    table = Table(title=f"Sweep {sweep.folder}")
    for name in ("job", *varied, "status", "seconds", *shown):
        table.add_column(name, justify="right")
    for number, outcome in enumerate(outcomes):
        numbers = [f"{outcome.metrics[name]:.4f}" if name in outcome.metrics else "" for name in shown]
        table.add_row(str(number), *_values(outcome.job, varied), outcome.status, f"{outcome.seconds:.0f}", *numbers)
    return table
