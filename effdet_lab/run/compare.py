"""task=compare: which settings of some runs differ, what that did to their metrics, and where they disagree."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from effdet_lab.errors import DataError
from effdet_lab.report.compare import write_compare_report
from effdet_lab.report.comparison import Compared, Difference, Dispute, common_metric, compared, verdict
from effdet_lab.report.reading import RunFolder, read_run
from effdet_lab.report.wording import NOTHING, decimal
from effdet_lab.run.folder import SPEC_FILE, run_folder_of, write_text
from effdet_lab.run.machine import missing
from effdet_lab.run.say import log, show
from effdet_lab.run.tables import FIRST
from effdet_lab.spec import is_detector

COMPARISON = "compare.json"
MOST_RUNS = 26  # letters
JOBS_NAMED = 3


def compare_runs(runs: Sequence[Path], folder: Path) -> None:
    """compare.json, report.html and images/ in this folder; the first run is what the others are measured against.

    Raises: DataError with everything that keeps the runs from being compared.
    """
    read = _readable([Path(run).expanduser() for run in runs])
    from effdet_lab.run.disputes import findings  # torch comes in here

    found = findings(read, folder)
    result = compared(read, found.intervals(), found.disputes, found.judged_on, found.remarks)
    write_text(folder / COMPARISON, json.dumps(_for_scripts(result), indent=2, allow_nan=False) + "\n")
    write_compare_report(folder, result)
    for remark in found.remarks:
        log.info(remark)
    show(_settings_table(result), _metrics_table(result))
    log.info(verdict(result))
    log.info(f"Everything is in {folder}; open report.html there.")


def _readable(folders: Sequence[Path]) -> list[RunFolder]:
    """The runs, or all that is wrong with any of them."""
    problems: list[str] = []
    if len(folders) < 2:
        named = ",".join(map(str, folders))
        problems.append(f"runs=[{named}]: a comparison needs two runs or more, as in runs=[outputs/A,outputs/B].")
    if len(folders) > MOST_RUNS:
        problems.append(f"runs: {len(folders)} of them; at most {MOST_RUNS} are compared. A sweep has its own report.")
    seen: set[Path] = set()
    runs: list[RunFolder] = []
    for folder in folders:
        if folder.resolve() in seen:
            problems.append(f"runs={folder}: is there twice. Name each run once.")
            continue
        seen.add(folder.resolve())
        problem = _problem(folder)
        if problem:
            problems.append(f"runs={folder}: {problem}" if folder.exists() else missing("runs", str(folder)))
        else:
            runs.append(read_run(folder))
    problems += _unlike(runs)
    if problems:
        raise DataError(problems)
    return runs


def _problem(folder: Path) -> str:
    """Why this is no run that can be compared, if so."""
    if folder.is_file():
        run = run_folder_of(folder)
        return f"is a file. Name the run's folder{f', {run}' if run else ''}."
    if not (folder / SPEC_FILE).is_file():
        jobs = sorted(path.parent for path in folder.glob(f"*/{SPEC_FILE}"))
        named = ", ".join(map(str, jobs[:JOBS_NAMED])) + (", ..." if len(jobs) > JOBS_NAMED else "")
        return f"is not a run's folder: no {SPEC_FILE} in it.{f' Runs below it: {named}.' if jobs else ''}"
    run = read_run(folder)
    if run.spec is None:
        return f"its {SPEC_FILE} holds no settled experiment of this version."
    if not run.metrics:
        return "has no metrics.json with a metric in it: the run did not end, or measured nothing. task=evaluate does."
    return ""


def _unlike(runs: Sequence[RunFolder]) -> list[str]:
    """Runs that have nothing to be compared by."""
    kinds = {str(run.path): is_detector(run.experiment) for run in runs}
    if len(set(kinds.values())) > 1:
        detectors = ", ".join(path for path, detects in kinds.items() if detects)
        classifiers = ", ".join(path for path, detects in kinds.items() if not detects)
        return [
            f"runs: {detectors} detects and {classifiers} classifies; no metric is common to them. "
            "Compare runs of one kind."
        ]
    if runs and common_metric(runs) is None:
        return ["runs: they have no validation metric in common. task=evaluate measures it."]
    return []


def _for_scripts(result: Compared) -> dict[str, Any]:
    return {
        "metric": result.metric,
        "verdict": verdict(result),
        "repeated": result.repeated,
        "judged_on": result.judged_on,
        "notes": list(result.notes),
        "runs": [
            {
                "letter": letter,
                "folder": str(run.path),
                "metrics": dict(run.metrics),
                "parameters": run.costs.parameters,
                "multiply_adds": run.costs.multiply_adds,
                "latency_ms": run.costs.latency_ms,
            }
            for letter, run in zip(result.letters, result.runs, strict=True)
        ],
        "settings": [
            {
                "name": setting.name,
                "typed": setting.typed,
                "values": dict(zip(result.letters, setting.values, strict=True)),
            }
            for setting in result.settings
        ],
        "differences": {
            name: {
                letter: None if each is None else {"difference": each.value, "low": each.low, "high": each.high}
                for letter, each in zip(result.letters[1:], found, strict=True)
            }
            for name, found in result.differences.items()
        },
        "disagreements": [
            {"image": dispute.image, "said": [said for said, _ in dispute.panels], "files": _files(dispute)}
            for dispute in result.disputes
        ],
    }


def _files(dispute: Dispute) -> list[str]:
    return [f"{path.parent.name}/{path.name}" for _, path in dispute.panels]


def _settings_table(result: Compared) -> Table:
    table = Table(title="What differs")
    table.add_column("setting")
    for letter, run in zip(result.letters, result.runs, strict=True):
        table.add_column(f"{letter}: {run.path.name}")
    for setting in result.causes:
        table.add_row(setting.name, *setting.values)
    follow = len(result.settings) - len(result.causes)
    if follow:
        table.caption = f"{follow} settings that follow from these are in {COMPARISON}."
    return table


def _metrics_table(result: Compared) -> Table:
    table = Table(title="Metrics", caption="In brackets the 95 % interval." if result.judged_on else None)
    table.add_column("metric")
    for letter in result.letters:
        table.add_column(letter, justify="right")
    for letter in result.letters[1:]:
        table.add_column(f"{letter} - {result.letters[0]}", justify="right")
    names = [name for name in FIRST if name in result.differences]
    for name in names:
        values = (run.metrics.get(name) for run in result.runs)
        table.add_row(name, *map(decimal, values), *map(_told, result.differences[name]))
    return table


def _told(difference: Difference | None) -> str:
    if difference is None:
        return NOTHING
    told = f"{'+' if difference.value > 0 else ''}{decimal(difference.value)}"
    if difference.low is None or difference.high is None:
        return told
    return f"{told} ({decimal(difference.low)} to {decimal(difference.high)})"
