"""task=plan: the price list of an experiment or a sweep, told before anything is trained."""

import csv
import dataclasses
import io
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from effdet_lab.run.folder import write_text
from effdet_lab.run.quote import Quote, quotes
from effdet_lab.run.say import log, show
from effdet_lab.sizes import as_bytes
from effdet_lab.spec import DetectorSpec, EfficientNetSpec, ExperimentSpec

PLAN_JSON, PLAN_CSV = "plan.json", "plan.csv"
UNKNOWN = "?"
BOTH = "FLOPs are two a multiply-add; what the papers call FLOPs are multiply-adds."
MEMORY_PARTS = {
    "weights": "weights",
    "gradients": "gradients",
    "optimiser": "optimiser states",
    "average": "running average",
    "activations": "activations kept for the backward pass",
    "passing": "what comes and goes besides",
    "heap": "holes in the processor's heap",
}


def plan(specs: Sequence[ExperimentSpec], folder: Path) -> list[str]:
    """plan.json and plan.csv in this folder, and the same as tables; returned is what cannot fit, a sentence a job.

    Raises: DataError where the data cannot be read.
    """
    priced = quotes(specs)
    write_text(folder / PLAN_JSON, json.dumps(_for_scripts(priced), indent=2, allow_nan=False) + "\n")
    write_text(folder / PLAN_CSV, _csv(priced))
    if len(priced) == 1:
        show(_parts(priced[0]), _memory(priced[0]), _facts(priced[0]))
    else:
        show(_sweep(priced), _times(priced))
    for remark in _remarks(priced):
        log.info(remark)
    log.info(f"The same is in {folder / PLAN_JSON} and {PLAN_CSV}.")
    many = len(priced) > 1
    return [
        f"job {number} ({each.spec.name}): {each.misfit}" if many else each.misfit
        for number, each in enumerate(priced)
        if each.misfit
    ]


def _for_scripts(priced: Sequence[Quote]) -> dict[str, Any]:
    return {
        "conventions": BOTH,
        "jobs": [
            {
                "job": number,
                **each.row(),
                "parts": {
                    part: {**count._asdict(), "flops": count.flops} for part, count in each.network.counts.items()
                },
                "misfit": each.misfit or None,
                "overrides": list(each.spec.overrides),
            }
            for number, each in enumerate(priced)
        ],
        "hours": _sum(each.hours for each in priced),
    }


def _csv(priced: Sequence[Quote]) -> str:
    rows = [{"job": number, **each.row()} for number, each in enumerate(priced)]
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _sum(values: Iterable[float | None]) -> float | None:
    """Nothing where one is not known."""
    known = list(values)
    return None if None in known else math.fsum(value for value in known if value is not None)


def _parts(price: Quote) -> Table:
    height, width = price.spec.model.input.image_size
    total = price.total
    table = Table(title=f"{price.spec.name} at {height} x {width} pixels", show_footer=True, caption=BOTH)
    table.add_column("part", footer="total")
    for name, footer in (
        ("parameters", f"{total.parameters:,}"),
        ("multiply-adds", _giga(total.multiply_adds)),
        ("FLOPs", _giga(total.flops)),
        ("share", "100.0 %"),
    ):
        table.add_column(name, justify="right", footer=footer)
    for part, count in price.network.counts.items():
        if part != "total":
            share = f"{count.multiply_adds / total.multiply_adds:.1%}".replace("%", " %")
            table.add_row(part, f"{count.parameters:,}", _giga(count.multiply_adds), _giga(count.flops), share)
    return table


def _memory(price: Quote) -> Table:
    table = Table(title="Memory of a training step, on one device", show_footer=True)
    table.add_column("part", footer="peak")
    table.add_column("size", justify="right", footer=as_bytes(price.memory.peak))
    for name, size in dataclasses.asdict(price.memory).items():
        if size:
            table.add_row(MEMORY_PARTS[name], as_bytes(size))
    return table


def _facts(price: Quote) -> Table:
    table = Table(show_header=False, box=None, padding=(0, 2))
    for name, value in _fact_rows(price):
        table.add_row(name, value)
    return table


def _fact_rows(price: Quote) -> list[tuple[str, str]]:
    spec = price.spec
    model, data, trainer, optim = spec.model, spec.data, spec.trainer, spec.optim
    rows = [("phi", f"{spec.phi:g} ({spec.scaling})")]
    if isinstance(model.backbone, EfficientNetSpec):
        backbone = model.backbone
        rows.append(("backbone", f"{backbone.family}, width {backbone.width:g}, depth {backbone.depth:g}"))
    else:
        rows.append(("backbone", getattr(model.backbone, "architecture", type(model.backbone).__name__)))
    if isinstance(model, DetectorSpec):
        bifpn, head = model.bifpn, model.head
        levels = f"P{bifpn.min_level}..P{bifpn.max_level}"
        rows.append(("BiFPN", f"{bifpn.repeats} x {bifpn.channels} channels, {levels}, {bifpn.fusion}"))
        rows.append(("heads", f"{head.repeats} convolutions, anchors from {head.anchor_scale:g} strides"))
    classes = str(data.num_classes) if data.num_classes else "as the data says (counted with one)"
    count, device = (trainer.gpus, "GPU") if trainer.gpus else (trainer.processes, "CPU process")
    batches = "" if trainer.accumulate == 1 else f", {trainer.accumulate} batches a step"
    room = f"{as_bytes(price.room.size)} ({price.room.what})" if price.room else "plan.memory=80GB names it"
    return [
        *rows,
        ("data", f"{data.name}, {classes} classes"),
        ("batch", f"{data.batch_size} (devices: {count} x {device}){batches}"),
        ("activations", f"{as_bytes(price.network.activations)} a picture"),
        ("memory there is", room),
        ("optimiser", f"{optim.name}, learning rate {optim.learning_rate:g}, {optim.schedule}"),
        ("length", _length(price)),
        ("speed", f"{price.speed:.3g} pictures a second" if price.speed else UNKNOWN),
        ("hours of training", _hours(price.hours)),
        ("off the table", ", ".join(spec.off_table) or "nothing"),
    ]


def _length(price: Quote) -> str:
    if price.pictures is None or price.steps is None:
        return f"{price.epochs} epochs; data.root=FOLDER tells the steps"
    return f"{price.steps:,} steps: {price.epochs} epochs of {price.steps_per_epoch:,}, {price.pictures:,} pictures"


def _sweep(priced: Sequence[Quote]) -> Table:
    table = Table(title=f"{len(priced)} jobs", caption=f"Memory is a device's, of a training step. {BOTH}")
    columns = ("job", "name", "pixels", "parameters", "multiply-adds", "FLOPs", "activations a picture", "batch")
    for name in (*columns, "memory"):
        table.add_column(name, justify="left" if name == "name" else "right")
    for number, each in enumerate(priced):
        height, width = each.spec.model.input.image_size
        table.add_row(
            str(number),
            each.spec.name,
            f"{height} x {width}",
            f"{each.total.parameters:,}",
            _giga(each.total.multiply_adds),
            _giga(each.total.flops),
            as_bytes(each.network.activations),
            str(each.spec.data.batch_size),
            as_bytes(each.memory.peak),
        )
    return table


def _times(priced: Sequence[Quote]) -> Table:
    table = Table(title="How long they train", show_footer=True)
    total = _hours(_sum(each.hours for each in priced))
    steps = _sum(each.steps for each in priced)
    table.add_column("job", justify="right")
    table.add_column("name", footer="total")
    table.add_column("epochs", justify="right")
    table.add_column("steps", justify="right", footer=UNKNOWN if steps is None else f"{steps:,.0f}")
    table.add_column("pictures a second", justify="right")
    table.add_column("hours", justify="right", footer=total)
    for number, each in enumerate(priced):
        table.add_row(
            str(number),
            each.spec.name,
            str(each.epochs),
            UNKNOWN if each.steps is None else f"{each.steps:,}",
            f"{each.speed:.3g}" if each.speed else UNKNOWN,
            _hours(each.hours),
        )
    return table


def _remarks(priced: Sequence[Quote]) -> list[str]:
    """What would tell what is not known."""
    remarks = []
    if any(each.room is None for each in priced):
        remarks.append("The GPUs are not here: plan.memory=80GB says what they have.")
    if any(each.steps is None for each in priced):
        remarks.append("data.root=FOLDER tells the steps.")
    if not all(each.spec.plan.probe for each in priced):
        remarks.append("plan.probe=true takes some seconds a job and tells pictures a second and hours.")
    elif any(each.speed is None for each in priced):
        remarks.append("A probe needs the devices of the job, and memory for two pictures.")
    else:
        remarks.append("Hours are of the training steps alone, as fast as some steps on random pictures were here.")
    return remarks


def _giga(operations: int) -> str:
    return f"{operations / 1e9:,.3f} G"


def _hours(hours: float | None) -> str:
    return UNKNOWN if hours is None else f"{hours:,.2f}"
