"""task=forecast: what networks that nobody trained would reach, from finished runs of their family."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from effdet_lab.arithmetic import can_count, count_model
from effdet_lab.errors import DataError
from effdet_lab.report.forecast import FEWEST_COSTS, Law, Observation, Prediction, fit, sentence
from effdet_lab.report.scaling_facts import DIMENSIONS, Family, Ground, base_of, grounds_of, runs_of
from effdet_lab.run.folder import write_text
from effdet_lab.run.say import log, show
from effdet_lab.spec import ExperimentSpec

FILE = "forecast.json"


def forecast(specs: Sequence[ExperimentSpec], folder: Path) -> None:
    """A table of what each experiment is foretold, the same as forecast.json, and how far to trust it.

    The law is fitted to all members of the family that scales the same base in the same way.
    Raises: DataError where the runs hold no such family, or too few members of it.
    """
    runs, said = runs_of(Path(run).expanduser() for run in specs[0].runs)
    grounds, unjudged = grounds_of(runs)
    for words in (*said, *unjudged):
        log.info(words)
    found = [(spec, *_foretold(spec, grounds)) for spec in specs]
    show(_table(found))
    for spec, metric, prediction in found:
        log.info(f"{spec.name}: {metric} {sentence(prediction)}")
    content = [
        {"name": spec.name, "phi": spec.phi, "metric": metric, **dataclasses.asdict(prediction)}
        for spec, metric, prediction in found
    ]
    write_text(folder / FILE, json.dumps(content, indent=1) + "\n")
    log.info(f"{folder / FILE} holds this table.")


def _foretold(spec: ExperimentSpec, grounds: Sequence[Ground]) -> tuple[str, Prediction]:
    ground, family = _family_of(spec, grounds)
    law = _law(family)
    if law is None:
        raise DataError(
            f"runs: {family.label or family.base} has {len(family.members)} members that were measured; a forecast "
            f"needs {FEWEST_COSTS} of different cost. Train more of them."
        )
    return ground.metric, law.predict(_multiply_adds(spec))


def _family_of(spec: ExperimentSpec, grounds: Sequence[Ground]) -> tuple[Ground, Family]:
    """The largest family of the same base that is scaled the same way."""
    wanted, alone = base_of(spec), spec.scaling if spec.scaling in DIMENSIONS else None
    families = [
        (ground, family)
        for ground in grounds
        for family in ground.families
        if family.base == wanted and (family.mode == alone if alone else family.is_compound)
    ]
    if not families:
        known = sorted({f"{family.base} ({family.mode})" for ground in grounds for family in ground.families})
        how = alone or "all three dimensions"
        raise DataError(f"runs: no run of {wanted} scaled by {how}. There are: {', '.join(known) or 'none'}.")
    return max(families, key=lambda pair: len(pair[1].members))


def _law(family: Family) -> Law | None:
    return fit([Observation(cost, tuple(member.values)) for cost, member in family.by_cost("multiply_adds")])


def _multiply_adds(spec: ExperimentSpec) -> float:
    if not can_count(spec.model):
        raise DataError(f"backbone: {base_of(spec)} does not scale, so that there is nothing to foretell of it.")
    return count_model(spec.model, spec.data.num_classes or 1).multiply_adds


def _table(found: Sequence[tuple[ExperimentSpec, str, Prediction]]) -> Table:
    table = Table(title="Forecast, with intervals of 90 %")
    for name in ("network", "phi", "multiply-adds", "times the largest seen", "metric", "forecast", "curve", "one run"):
        table.add_column(name, justify="left" if name in ("network", "metric") else "right")
    for spec, metric, told in found:
        table.add_row(
            spec.name,
            f"{spec.phi:g}",
            f"{told.cost:,.0f}",
            f"{told.factor:.2f}",
            metric,
            f"{told.value:.4f}",
            f"{told.low:.4f} to {told.high:.4f}",
            f"{told.run_low:.4f} to {told.run_high:.4f}",
        )
    return table
