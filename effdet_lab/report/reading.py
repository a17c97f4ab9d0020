"""Folders of runs and sweeps as records. What is missing or cannot be read is left out and said in `notes`."""

import csv
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import yaml

from effdet_lab.errors import DataError
from effdet_lab.report.wording import parsed
from effdet_lab.spec import ExperimentSpec, from_dict

MAIN_METRICS = ("search/reward", "val/map", "val/top1")  # what a run is judged by
REPEATS = ("seed", "data.fold")  # settings that only repeat a job
SHEET = "contact_sheet.jpg"
LOG_LINES = 8  # the end of a failed job's log
Row = dict[str, float]
T = TypeVar("T")


@dataclass(frozen=True)
class Costs:
    """What a network costs; None is unknown."""

    parameters: float | None
    multiply_adds: float | None
    latency_ms: float | None = None


@dataclass(frozen=True)
class RunFolder:
    """What one run left behind."""

    path: Path
    settings: Mapping[str, Any]  # spec.yaml as it stands
    spec: ExperimentSpec | None  # the same, understood
    metrics: Mapping[str, float]  # final ones, as metrics.json orders them
    epochs: tuple[Row, ...]
    pictures: tuple[Path, ...]
    costs: Costs
    when: datetime | None  # when it began
    notes: tuple[str, ...]  # what is missing, a sentence each

    @property
    def experiment(self) -> ExperimentSpec:
        """`spec`, for whoever has seen that it is there."""
        assert self.spec is not None
        return self.spec


@dataclass(frozen=True)
class SweepJob:
    """One job of a sweep; its run folder may hold nothing but its settings."""

    number: int
    overrides: str
    settings: Mapping[str, str]  # the varied ones
    status: str
    seconds: float | None
    metrics: Mapping[str, float]
    run: RunFolder


@dataclass(frozen=True)
class SweepFolder:
    """What a multirun left behind."""

    path: Path
    varied: tuple[str, ...]  # settings that are not the same in every job
    jobs: tuple[SweepJob, ...]
    notes: tuple[str, ...]


def read_run(folder: Path) -> RunFolder:
    """
    Raises: DataError where there is no such folder.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder. A report is made of the folder that a run left behind.")
    notes: list[str] = []
    settings = _read(folder / "spec.yaml", _settings, {}, "the settings are not known", notes)
    metrics = _read(folder / "metrics.json", _metrics, {}, "the run did not end, or measured nothing", notes)
    epochs = _read(folder / "metrics.csv", _epochs, (), "no epoch was finished, or nothing was trained", notes)
    costs = _read(folder / "costs.json", _costs, Costs(None, None), None, notes)
    try:
        spec = from_dict(settings) if settings else None
    except (KeyError, TypeError, ValueError, AttributeError, StopIteration):
        spec = None
        notes.append("spec.yaml is of another version; its settings are shown as they stand.")
    pictures = pictures_in(folder / "images")
    return RunFolder(folder, settings, spec, metrics, epochs, pictures, costs, _begun(folder), tuple(notes))


def read_sweep(folder: Path) -> SweepFolder:
    """The jobs that sweep.csv lists, and those whose folders lie there but were never started.

    Raises: DataError where there is no such folder.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder. A report is made of the folder that a sweep left behind.")
    notes: list[str] = []
    rows = _read(folder / "sweep.csv", _table, [], "no job has ended", notes)
    ended = {int(row["job"]): row for row in rows if row.get("job", "").isdecimal()}
    folders = {int(path.name) for path in folder.iterdir() if path.is_dir() and path.name.isdecimal()}
    runs = {number: _run_of_job(folder / str(number)) for number in sorted(ended.keys() | folders)}
    varied = _varied(rows, runs)
    jobs = tuple(_job(number, run, ended.get(number), varied) for number, run in runs.items())
    return SweepFolder(folder, varied, jobs, tuple(notes))


def main_metric(seen: Sequence[Mapping[str, float]]) -> str | None:
    """The name of what these are judged by, if one of them measured it; the validation loss where nothing else is."""
    return next((name for name in (*MAIN_METRICS, "val/loss") if any(name in metrics for metrics in seen)), None)


def higher_is_better(metric: str) -> bool:
    """All but losses are."""
    return "loss" not in metric


def curve(epochs: Sequence[Row], metric: str) -> list[tuple[float, float]]:
    """(epoch, value) where it was measured."""
    return [(row["epoch"], row[metric]) for row in epochs if metric in row and "epoch" in row]


def log_end(folder: Path) -> str:
    """The last lines a run said."""
    try:
        lines = (folder / "log.txt").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return "\n".join(lines[-LOG_LINES:])


def _read(path: Path, parse: Callable[[str], T], otherwise: T, absent: str | None, notes: list[str]) -> T:
    """The parsed file, or `otherwise` and a note."""
    try:
        return parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if absent:
            notes.append(f"{path.name} is not there: {absent}.")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, csv.Error, yaml.YAMLError) as error:
        notes.append(f"{path.name} cannot be read ({type(error).__name__}).")
    return otherwise


def _settings(text: str) -> Mapping[str, Any]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where yaml was built with it
    settings = yaml.load(text, Loader=loader)
    if not isinstance(settings, dict):
        raise TypeError("settings are a mapping")
    return settings


def _metrics(text: str) -> Mapping[str, float]:
    numbers = {str(name): float(value) for name, value in json.loads(text).items()}
    return {name: value for name, value in numbers.items() if math.isfinite(value)}


def _costs(text: str) -> Costs:
    values = json.loads(text)
    return Costs(*(parsed(values.get(name)) for name in ("parameters", "multiply_adds", "latency_ms")))


def _table(text: str) -> list[dict[str, str]]:
    # What a torn line lacks or has too much of is None, or stands under None.
    rows = csv.DictReader(text.splitlines(keepends=True))
    return [{name: value for name, value in row.items() if name is not None and value is not None} for row in rows]


def _epochs(text: str) -> tuple[Row, ...]:
    rows = [{name: parsed(value) for name, value in row.items()} for row in _table(text)]
    return tuple({name: value for name, value in row.items() if value is not None} for row in rows)


def pictures_in(folder: Path) -> tuple[Path, ...]:
    """Single pictures; the sheet that holds them all only where it is alone."""
    if not folder.is_dir():
        return ()
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    single = tuple(path for path in found if path.name != SHEET)
    return single or tuple(found)


def _begun(folder: Path) -> datetime | None:
    """As its log says, else as old as its settings."""
    try:
        with (folder / "log.txt").open(encoding="utf-8", errors="replace") as file:
            stamps = (re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", line) for line in file)
            first = next((stamp for stamp in stamps if stamp), None)
        if first:
            return datetime.fromisoformat(first.group())
    except (OSError, ValueError):
        pass
    try:
        return datetime.fromtimestamp((folder / "spec.yaml").stat().st_mtime)
    except OSError:
        return None


def _run_of_job(folder: Path) -> RunFolder:
    if folder.is_dir():
        return read_run(folder)
    return RunFolder(folder, {}, None, {}, (), (), Costs(None, None), None, ("its folder is not there.",))


def _job(number: int, run: RunFolder, row: Mapping[str, str] | None, varied: Sequence[str]) -> SweepJob:
    typed = _typed(run)
    settings = {name: (row or {}).get(name, typed.get(name, "")) for name in varied}
    if row is None:
        return SweepJob(number, " ".join(_overrides(run)), settings, "not ended", None, run.metrics, run)
    known = {"job", "overrides", "status", "seconds", "folder", *varied}
    measured = {name: parsed(value) for name, value in row.items() if name not in known}
    metrics = {name: value for name, value in measured.items() if value is not None}
    status = row.get("status", "") or "not ended"
    return SweepJob(number, row.get("overrides", ""), settings, status, parsed(row.get("seconds", "")), metrics, run)


def _varied(rows: Sequence[Mapping[str, str]], runs: Mapping[int, RunFolder]) -> tuple[str, ...]:
    """As sweep.csv has them between `overrides` and `status`, else by comparing what was typed for each job."""
    if rows:
        columns = list(rows[0])
        if "overrides" in columns and "status" in columns:
            return tuple(columns[columns.index("overrides") + 1 : columns.index("status")])
    typed = [_typed(run) for run in runs.values() if run.settings]
    names = dict.fromkeys(name for settings in typed for name in settings)
    return tuple(name for name in names if len({settings.get(name, "") for settings in typed}) > 1)


def _typed(run: RunFolder) -> dict[str, str]:
    return dict(text.partition("=")[::2] for text in _overrides(run))


def _overrides(run: RunFolder) -> list[str]:
    return [str(text) for text in run.settings.get("overrides") or ()]
