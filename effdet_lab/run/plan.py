"""task=plan: what an experiment is and costs, told before anything is trained. Networks are built without memory."""

import dataclasses

import torch
from rich.console import Console
from rich.table import Table

from effdet_lab.data.opening import learn_classes, open_split
from effdet_lab.models.build import build_model
from effdet_lab.models.counting import Count, count
from effdet_lab.run.say import WIDTH
from effdet_lab.spec import DigitScenesSource, DigitsSource, EfficientNetSpec, ExperimentSpec, is_detector, with_classes


def plan(specs: list[ExperimentSpec]) -> None:
    """One experiment part by part, or a sweep job by job."""
    console = Console(width=WIDTH)
    if len(specs) == 1:
        spec, pictures = _with_data(specs[0])
        console.print(_parts(spec, _count(spec)), _facts(spec, pictures))
    else:
        console.print(_sweep(specs, [_count(spec) for spec in specs]))


def _with_data(spec: ExperimentSpec) -> tuple[ExperimentSpec, int | None]:
    """The experiment with its data's classes, and how many pictures it trains on, where the data is at hand."""
    if isinstance(spec.data.source, DigitScenesSource):
        return spec, spec.data.source.train_images
    if not spec.data.root and not isinstance(spec.data.source, DigitsSource):
        return spec, None
    spec = learn_classes(dataclasses.replace(spec, task="train"))
    return spec, len(open_split(spec, "train"))


def _count(spec: ExperimentSpec) -> dict[str, Count]:
    if not spec.data.num_classes:  # the data tells later; one class is enough to count what does not depend on them
        spec = with_classes(spec, ("class",), (1,))
    with torch.device("meta"):
        model = build_model(spec)
    return count(model, spec.model.input.image_size)


def _parts(spec: ExperimentSpec, counts: dict[str, Count]) -> Table:
    height, width = spec.model.input.image_size
    table = Table(title=f"{spec.name} at {height} x {width} pixels", show_footer=True)
    total = counts["total"]
    table.add_column("part", footer="total")
    table.add_column("parameters", justify="right", footer=f"{total.parameters:,}")
    table.add_column("multiply-adds", justify="right", footer=_giga(total.multiply_adds))
    table.add_column("share", justify="right", footer="100.0 %")
    for part, of_part in counts.items():
        if part != "total":
            share = of_part.multiply_adds / total.multiply_adds
            table.add_row(
                part, f"{of_part.parameters:,}", _giga(of_part.multiply_adds), f"{share:.1%}".replace("%", " %")
            )
    return table


def _facts(spec: ExperimentSpec, pictures: int | None) -> Table:
    table = Table(show_header=False, box=None, padding=(0, 2))
    for name, value in _fact_rows(spec, pictures):
        table.add_row(name, value)
    return table


def _fact_rows(spec: ExperimentSpec, pictures: int | None) -> list[tuple[str, str]]:
    model, data, trainer, optim = spec.model, spec.data, spec.trainer, spec.optim
    rows = [("phi", f"{spec.phi:g} ({spec.scaling})")]
    if isinstance(model.backbone, EfficientNetSpec):
        backbone = model.backbone
        rows.append(("backbone", f"{backbone.family}, width {backbone.width:g}, depth {backbone.depth:g}"))
    else:
        rows.append(("backbone", model.backbone.architecture))
    if is_detector(spec):
        bifpn, head = model.bifpn, model.head
        rows.append(
            (
                "BiFPN",
                f"{bifpn.repeats} x {bifpn.channels} channels, P{bifpn.min_level}..P{bifpn.max_level}, {bifpn.fusion}",
            )
        )
        rows.append(("heads", f"{head.repeats} convolutions, anchors from {head.anchor_scale:g} strides"))
    classes = str(data.num_classes) if data.num_classes else "as the data says (counted with one)"
    count, device = (trainer.gpus, "GPU") if trainer.gpus else (trainer.processes, "CPU process")
    batches = "" if trainer.accumulate == 1 else f", {trainer.accumulate} batches a step"
    return [
        *rows,
        ("data", f"{data.name}, {classes} classes"),
        ("batch", f"{data.batch_size} (devices: {count} x {device}){batches}"),
        ("optimiser", f"{optim.name}, learning rate {optim.learning_rate:g}, {optim.schedule}"),
        ("length", _length(spec, pictures)),
        ("off the table", ", ".join(spec.off_table) or "nothing"),
    ]


def _length(spec: ExperimentSpec, pictures: int | None) -> str:
    trainer, batch = spec.trainer, spec.data.batch_size
    if pictures is None:
        return f"{trainer.max_epochs} epochs; data.root=FOLDER tells the steps"
    steps = -(-max(1, pictures // batch) // trainer.accumulate)
    total = steps * trainer.max_epochs
    if trainer.max_steps >= 0:
        total = min(total, trainer.max_steps)
    return f"{total:,} steps: {trainer.max_epochs} epochs of {steps:,}, {pictures:,} pictures"


def _sweep(specs: list[ExperimentSpec], counts: list[dict[str, Count]]) -> Table:
    table = Table(title=f"{len(specs)} jobs")
    for name in ("job", "name", "phi", "pixels", "parameters", "multiply-adds", "batch", "epochs"):
        table.add_column(name, justify="left" if name == "name" else "right")
    for number, (spec, parts) in enumerate(zip(specs, counts, strict=True)):
        height, width = spec.model.input.image_size
        table.add_row(
            str(number),
            spec.name,
            f"{spec.phi:g}",
            f"{height} x {width}",
            f"{parts['total'].parameters:,}",
            _giga(parts["total"].multiply_adds),
            str(spec.data.batch_size),
            str(spec.trainer.max_epochs),
        )
    return table


def _giga(multiply_adds: int) -> str:
    return f"{multiply_adds / 1e9:,.3f} G"
