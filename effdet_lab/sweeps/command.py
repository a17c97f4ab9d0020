"""The commands of sweeps: a new one, the rest of an old one, and how far one is."""

import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from effdet_lab.errors import ConfigError
from effdet_lab.report.sweep import write_sweep_report
from effdet_lab.run.folder import claimed, read_spec, write_spec
from effdet_lab.run.jobs import Searched, Sweep, how_to_resume, is_search, search, spec_of, still_said, sweep_folder
from effdet_lab.spec import ExperimentSpec, TrainerSpec, is_detector
from effdet_lab.sweep_spec import SweepSpec
from effdet_lab.sweeps.candidates import Candidates, Listed
from effdet_lab.sweeps.driver import drive
from effdet_lab.sweeps.engines import Engine
from effdet_lab.sweeps.engines.local import LocalEngine
from effdet_lab.sweeps.findings import coefficients_table, write_findings
from effdet_lab.sweeps.grid import count_of, told_candidates
from effdet_lab.sweeps.ledger import Ledger, held, read_ledger
from effdet_lab.sweeps.status import status_table, summary
from effdet_lab.sweeps.table import FILE, best_of, ranking_table, result_table, write_csv, write_ranking
from effdet_lab.sweeps.telling import teller

FAILED, INTERRUPTED = 1, 130
WIDTH = 160


def run_sweep(sweep: Sweep, overrides: Sequence[str]) -> int:
    """Run every job, whatever becomes of the others; 0 when all are done."""
    folder = sweep.folder if sweep.folder.exists() else claimed(sweep.folder)
    ledger = Ledger(folder, overrides)
    for job in sweep.jobs:
        spec = _grouped(job.spec, folder.name)
        write_spec(ledger.job_folder(ledger.add(spec.overrides, spec).number), spec)
    return _drive(ledger, sweep.spec, sweep.jobs[0].spec.trainer)


def run_search(searched: Searched, overrides: Sequence[str]) -> int:
    """Run the trials of a search; 0 when all have ended as they should."""
    if count_of(searched.spec.search) == 0:
        raise ConfigError(
            f"search.tolerance={searched.spec.search.tolerance:g}: no point of the grid is so near to 2. "
            "Give a larger one, or smaller steps."
        )
    folder = searched.folder if searched.folder.exists() else claimed(searched.folder)
    if searched.spec.search.tolerance:
        print(told_candidates(searched.spec.search), flush=True)
    return _drive(Ledger(folder, overrides), searched.spec, spec_of(searched.base, {}).trainer, searched.base)


def resume_sweep(overrides: Sequence[str]) -> int:
    """Run what has not finished: what waits, was interrupted, killed, or failed. What is done is not touched."""
    folder = sweep_folder(overrides)
    ledger = read_ledger(folder)
    spec = how_to_resume(ledger.overrides, overrides)
    said = [*still_said(ledger.overrides, overrides), *overrides]
    searched = search(said, folder) if is_search(ledger.overrides) else None
    with held(folder):  # not while somebody drives it
        for entry in ledger.entries:
            if entry.state in ("failed", "refused", "interrupted"):
                ledger.entries[entry.number] = dataclasses.replace(entry, state="waiting")
    left = sum(entry.state in ("waiting", "running") for entry in ledger.entries)
    print(f"{folder}: {left} of {len(ledger.entries)} jobs have not finished.", flush=True)
    if searched is not None:
        return _drive(ledger, searched.spec, spec_of(searched.base, {}).trainer, searched.base)
    return _drive(ledger, spec, None) if left else 0


def show_status(folder: Path) -> None:
    """One look at the table."""
    ledger = read_ledger(folder)
    print(summary(ledger))
    Console(width=WIDTH).print(status_table(ledger))


def _drive(ledger: Ledger, spec: SweepSpec, trainer: TrainerSpec | None, searched: Sequence[str] | None = None) -> int:
    if trainer is None:
        waiting = next(entry.number for entry in ledger.entries if entry.state in ("waiting", "running"))
        trainer = read_spec(ledger.job_folder(waiting)).trainer
    engine = _engine(spec, trainer)
    interrupted = False
    total = count_of(spec.search) if searched is not None else len(ledger.entries)
    with held(ledger.folder), teller(ledger, total, aloud=engine.is_aloud) as tell:
        ledger.write()
        try:
            candidates = Listed() if searched is None else _search(ledger, spec, searched)
            drive(ledger, candidates, engine, retries=spec.retries, tell=tell)
        except KeyboardInterrupt:
            interrupted = True
    write_csv(ledger)
    write_ranking(ledger)
    Console().print(result_table(ledger))
    ranking = coefficients_table(ledger) or ranking_table(ledger)
    if ranking is not None:
        Console().print(ranking)
    print(f"{ledger.folder / FILE} holds this table; open {write_sweep_report(ledger.folder)} for pictures of it.")
    for sentence in write_findings(ledger):
        print(sentence)
    best = best_of(ledger.entries)
    if best is not None:
        print(f"Best is job {best.number}: python run.py {' '.join(map(shlex.quote, best.overrides))}")
    if interrupted:
        if engine.on_interrupt == "leave":
            print("The jobs in the queue stay there; scancel takes one away.")
        print(f"Go on with it: python run.py sweep=resume hydra.sweep.dir={ledger.folder}")
        return INTERRUPTED
    return 0 if all(entry.state in ("done", "stopped") for entry in ledger.entries) else FAILED


def _search(ledger: Ledger, spec: SweepSpec, base: Sequence[str]) -> Candidates:
    from effdet_lab.sweeps.search import Search  # Optuna is an extra

    metric = "val/map" if is_detector(spec_of(base, {})) else "val/top1"
    return Search(spec.search, ledger, base, metric)


def _engine(spec: SweepSpec, trainer: TrainerSpec) -> Engine:
    """Each engine's library is an extra, and imported when it is asked for."""
    match spec.cluster.name:
        case "joblib":
            from effdet_lab.sweeps.engines.with_joblib import JoblibEngine

            return JoblibEngine(spec.cluster.at_once)
        case "slurm":
            from effdet_lab.sweeps.engines.slurm import SlurmEngine

            return SlurmEngine(spec.cluster)
        case "ray":
            from effdet_lab.sweeps.engines.with_ray import RayEngine

            return RayEngine(spec.cluster)
        case _:
            return LocalEngine(trainer, spec.cluster.at_once or None)


def _grouped(spec: ExperimentSpec, group: str) -> ExperimentSpec:
    """The jobs of a sweep stand together at W&B, unless the user named another group."""
    return dataclasses.replace(spec, logger=dataclasses.replace(spec.logger, group=spec.logger.group or group))
