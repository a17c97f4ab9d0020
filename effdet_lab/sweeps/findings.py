"""What a study found, as files: scaling.yaml and backbone.yaml for the next command, candidates and front to read."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml
from rich.table import Table

from effdet_lab.report.reading import REPEATS
from effdet_lab.report.statistics import interval, mean, pareto_front
from effdet_lab.run.folder import write_text
from effdet_lab.run.record import COSTS
from effdet_lab.settings.compose import compose_config, settings_of
from effdet_lab.sweeps.grid import coefficients_in
from effdet_lab.sweeps.ledger import Entry, Ledger
from effdet_lab.sweeps.table import best_of, deciding_metric, together, typed, varied

# Groups of which a file can take the place of an option.
GROUPS = ("scaling", "backbone")
COEFFICIENTS = ("scaling.alpha", "scaling.beta", "scaling.gamma")
COEFFICIENTS_FILE, FRONT_FILE, FRONT_FOLDER = "coefficients.csv", "pareto.csv", "pareto"


def write_findings(ledger: Ledger) -> list[str]:
    """Sentences that name each file; none where the sweep varied nothing that a file can hold, or nothing ended."""
    best = best_of(ledger.entries)
    settings = varied(ledger.entries)
    sentences = []
    for group in GROUPS:
        if best is not None and any(name.startswith(f"{group}.") for name in settings):
            path = ledger.folder / f"{group}.yaml"
            _write_option(path, group, best)
            sentences.append(f"{path} holds the best one: {group}={path}")
    if best is not None and any(name.startswith("backbone.") for name in settings):
        sentences.append(_write_front(ledger))
    rows = coefficient_rows(ledger)
    if rows:
        _write_coefficients(ledger.folder / COEFFICIENTS_FILE, rows)
        sentences.append(f"{ledger.folder / COEFFICIENTS_FILE} holds every candidate with its interval.")
    return sentences


def coefficients_table(ledger: Ledger) -> Table | None:
    """Candidates by the mean of their repeats; None where no coefficient was varied."""
    rows = coefficient_rows(ledger)
    if not rows:
        return None
    table = Table(title="Candidates, the best first")
    for name in rows[0]:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*(f"{value:.4g}" if isinstance(value, float) else str(value) for value in row.values()))
    return table


def coefficient_rows(ledger: Ledger) -> list[dict[str, float | int | str]]:
    """alpha, beta, gamma, their product, what it came to, and the metric with the 95 % interval of its mean."""
    entries = ledger.entries
    metric = deciding_metric(entries)
    settings = [name for name in varied(entries) if name not in REPEATS]
    if metric is None or not set(settings) & set(COEFFICIENTS):
        return []
    rows: list[dict[str, float | int | str]] = []
    for group in together(entries, metric).values():
        said = typed(group[0])
        coefficients = coefficients_in(said)
        values = [entry.metrics[metric] for entry in group]
        low, high = interval(values) or ("", "")
        others = {name: said.get(name, "") for name in settings if name not in COEFFICIENTS}
        rows.append(
            {
                **vars(coefficients),
                **others,
                "product": coefficients.cost,
                "multiply_adds": _multiply_adds(ledger, group[0]) or "",
                metric: mean(values),
                "low": low,
                "high": high,
                "n": len(values),
            }
        )
    return rows


def _write_coefficients(path: Path, rows: Sequence[dict[str, float | int | str]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: f"{value:.7g}" if isinstance(value, float) else value for name, value in row.items()})
    write_text(path, text.getvalue())


def _write_option(path: Path, group: str, entry: Entry) -> None:
    """The group's settings as they were composed for the job, so that phi can still scale them."""
    settings = settings_of(compose_config(entry.overrides))[group]
    numbers = ", ".join(f"{name} {value:.4f}" for name, value in sorted(entry.metrics.items()) if "loss" not in name)
    text = f"# Found by a search: its job {entry.number} measured {numbers}.\n"
    write_text(path, text + yaml.safe_dump(settings, sort_keys=False, default_flow_style=None, width=200))


def _write_front(ledger: Ledger) -> str:
    """pareto.csv with every finished job, and a backbone file of each one that no other beats."""
    found = list(_priced(ledger))
    front = pareto_front([(cost, value) for _, cost, value in found])
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["job", "multiply_adds", _plain_metric(ledger.entries), "search/reward", "front", "file"])
    for index, (entry, cost, value) in enumerate(found):
        name = ""
        if index in front:
            name = f"{FRONT_FOLDER}/{entry.number}.yaml"
            (ledger.folder / FRONT_FOLDER).mkdir(exist_ok=True)
            _write_option(ledger.folder / name, "backbone", entry)
        reward = entry.metrics.get("search/reward", "")
        writer.writerow([entry.number, cost, f"{value:.7g}", reward, int(index in front), name])
    write_text(ledger.folder / FRONT_FILE, text.getvalue())
    path, folder = ledger.folder / FRONT_FILE, ledger.folder / FRONT_FOLDER
    return f"{path} says which of {len(found)} are beaten by none; {folder} holds those {len(front)}."


def _priced(ledger: Ledger) -> Iterator[tuple[Entry, int, float]]:
    """Finished jobs with their multiply-adds and what they measured, not weighed."""
    metric = _plain_metric(ledger.entries)
    for entry in ledger.entries:
        cost = _multiply_adds(ledger, entry)
        if entry.state == "done" and metric in entry.metrics and cost:
            yield entry, cost, entry.metrics[metric]


def _multiply_adds(ledger: Ledger, entry: Entry) -> int:
    """Of one picture; 0 where the job did not tell."""
    path = ledger.job_folder(entry.number) / COSTS
    return int(json.loads(path.read_text(encoding="utf-8"))["multiply_adds"]) if path.exists() else 0


def _plain_metric(entries: Sequence[Entry]) -> str:
    return next(name for name in ("val/map", "val/top1") if any(name in entry.metrics for entry in entries))
