"""A run's folder as one page."""

import math
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

from effdet_lab.report.charts import Axis, Point, Series, bar, chart, loss_axis, stack
from effdet_lab.report.markup import Html, tag
from effdet_lab.report.page import (
    Cell,
    facts,
    notes,
    number_cell,
    page,
    paragraph,
    section,
    table,
    tiles,
    write_page,
)
from effdet_lab.report.pictures import embedded
from effdet_lab.report.reading import RunFolder, curve, higher_is_better, main_metric, read_run
from effdet_lab.report.settings import tree
from effdet_lab.report.wording import NOTHING, count, day, decimal, duration, plural, short
from effdet_lab.spec import ClassifierSpec, DetectorSpec, ExperimentSpec

# COCO's twelve numbers, as pycocotools prints them, and what else is measured; in the order of the table.
MEANINGS = {
    "val/map": "mean average precision over IoU 0.50 to 0.95",
    "val/map_50": "average precision at IoU 0.50",
    "val/map_75": "average precision at IoU 0.75",
    "val/map_small": "average precision of boxes below 32² pixels",
    "val/map_medium": "average precision of boxes from 32² to 96² pixels",
    "val/map_large": "average precision of boxes above 96² pixels",
    "val/mar_1": "average recall with one detection a picture",
    "val/mar_10": "average recall with ten detections a picture",
    "val/mar_100": "average recall with a hundred detections a picture",
    "val/mar_small": "average recall of boxes below 32² pixels",
    "val/mar_medium": "average recall of boxes from 32² to 96² pixels",
    "val/mar_large": "average recall of boxes above 96² pixels",
    "val/top1": "share of pictures whose best class is right",
    "val/top5": "share of pictures whose five best classes hold the right one",
    "val/loss": "validation loss",
    "train/loss": "training loss of the last epoch",
    "train/loss_class": "focal part of the training loss",
    "train/loss_box": "Huber part of the training loss, before its weight",
}
CLASS = "val/map/"
PHI = "\N{GREEK SMALL LETTER PHI}"
TILES = (("val/map", "mAP"), ("val/map_50", "mAP at IoU 0.50"), ("val/top1", "top-1"), ("val/top5", "top-5"))
CURVES = {  # title -> the value axis, and its metrics with their names in the legend
    "Loss": ("loss", {"train/loss": "training", "val/loss": "validation"}),
    "Precision": ("average precision", {"val/map": "mAP", "val/map_50": "IoU 0.50", "val/map_75": "IoU 0.75"}),
    "Accuracy": ("share of pictures", {"val/top1": "top-1", "val/top5": "top-5"}),
    "Parts of the training loss": ("loss", {"train/loss_class": "classes", "train/loss_box": "boxes"}),
    "Learning rate": ("learning rate", {"train/learning_rate": "learning rate"}),
}
LONG = 14  # rows beyond which a table scrolls


def write_run_report(folder: Path) -> Path:
    """report.html of a run, also of one that was killed: it holds what is there, and says what is not.

    Raises: DataError where there is no such folder.
    """
    run = read_run(folder)
    return write_page(folder, run_page(run))


def run_page(run: RunFolder) -> Html:
    """The page itself."""
    content = [
        notes(run.notes),
        _headline(run),
        _curves(run),
        _final(run),
        _classes(run),
        _pictures(run),
        _cost(run),
        _experiment(run),
    ]
    title = run.spec.name if run.spec else str(run.settings.get("name") or run.path.absolute().name)
    return page(title, _kicker(run), _summary(run), content)


def _kicker(run: RunFolder) -> str:
    task = run.spec.task if run.spec else "run"
    return " \N{MIDDLE DOT} ".join([task, *([day(run.when)] if run.when else [])])


def _summary(run: RunFolder) -> str:
    if run.spec is None:
        return str(run.path)
    spec, size = run.spec, _size(run.spec)
    what = {DetectorSpec: "A detector", ClassifierSpec: "A classifier"}[type(spec.model)]
    number = spec.data.num_classes
    data = f"{spec.data.name} ({plural(number, 'class', 'classes')})" if number else spec.data.name
    return f"{what} at {PHI} = {short(spec.phi)}, {spec.scaling} scaling, {size}, on {data}."


def _size(spec: ExperimentSpec) -> str:
    height, width = spec.model.input.image_size
    return f"{height} \N{MULTIPLICATION SIGN} {width} pixels"


def _headline(run: RunFolder) -> Html | None:
    pairs = [(name, decimal(run.metrics[metric]), metric) for metric, name in TILES if metric in run.metrics]
    if not pairs and "val/loss" in run.metrics:
        pairs = [("loss", decimal(run.metrics["val/loss"]), "val/loss")]
    if run.costs.parameters is not None:
        pairs.append(("parameters", count(run.costs.parameters), None))
    if run.costs.multiply_adds is not None:
        pairs.append(("multiply-adds", count(run.costs.multiply_adds), "one picture"))
    if run.costs.latency_ms is not None:
        pairs.append(("milliseconds", f"{run.costs.latency_ms:.3g}", "one picture"))
    return tiles(pairs)


def _curves(run: RunFolder) -> Html | None:
    figures = []
    for title, (label, metrics) in CURVES.items():
        series = [_curve(run, metric, name, colour) for colour, (metric, name) in enumerate(metrics.items())]
        series = [one for one in series if one.points]
        if series:
            values = [point.y for one in series for point in one.points]
            falls = any("loss" in metric for metric in metrics)
            up = loss_axis(label, values) if falls else Axis(label)
            figures.append(chart(title, series, Axis("epoch", whole=True), up, _best(run, tuple(metrics))))
    return section("Curves", stack(figures)) if figures else None


def _curve(run: RunFolder, metric: str, name: str, colour: int) -> Series:
    factor = _weight(run) if metric == "train/loss_box" else 1.0
    points = [(epoch, value * factor) for epoch, value in curve(run.epochs, metric)]
    name = name if factor == 1.0 else f"{name} \N{MULTIPLICATION SIGN} {short(factor)}"
    told = [Point(x, y, told=f"epoch {x:g}\n{name}: {short(y)}") for x, y in points]
    return Series(name, told, colour)


def _weight(run: RunFolder) -> float:
    """What the boxes' loss is multiplied by before it is added."""
    return run.spec.model.loss.box_weight if run.spec and isinstance(run.spec.model, DetectorSpec) else 1.0


def _best(run: RunFolder, metrics: tuple[str, ...]) -> str:
    """Which epoch was best, below the chart that shows it."""
    main = main_metric(run.epochs)
    if main not in metrics:
        return ""
    best = max if higher_is_better(main) else min
    epoch, value = best(curve(run.epochs, main), key=lambda point: point[1])
    return f"Best {main}: {decimal(value)} after epoch {epoch:g}."


def _final(run: RunFolder) -> Html | None:
    """COCO's twelve numbers first; classes have a table of their own."""
    names = [name for name in MEANINGS if name in run.metrics]
    names += [name for name in run.metrics if name not in MEANINGS and not name.startswith(CLASS)]
    rows = [[tag("code", name), _measured(run.metrics[name]), MEANINGS.get(name, "")] for name in names]
    if not rows:
        return None
    unmeasured = any(run.metrics[name] == -1 for name in names)
    remark = (
        paragraph("A dash: the data holds no box of that size (COCO writes \N{MINUS SIGN}1).") if unmeasured else None
    )
    return section("Final metrics", table(["metric", "value", "meaning"], rows, "wide"), remark)


def _measured(value: float) -> Cell:
    return Cell(NOTHING, told="-1.0", number=True) if value == -1 else number_cell(value)


def _classes(run: RunFolder) -> Html | None:
    found = {name.removeprefix(CLASS): value for name, value in run.metrics.items() if name.startswith(CLASS)}
    ranked = sorted(found.items(), key=lambda pair: -pair[1])
    most = max(found.values(), default=0.0) or 1.0
    rows = [[name, number_cell(value), Cell(bar(value / most), value)] for name, value in ranked]
    if not rows:
        return None
    words = paragraph("Average precision over IoU 0.50 to 0.95. The longest bar is the best class.")
    return section("Classes", words, table(["class", "AP", ""], rows, "long" if len(rows) > LONG else ""))


def _pictures(run: RunFolder) -> Html | None:
    shown = [
        tag("figure", tag("img", src=uri, alt=name), tag("figcaption", name)) for name, uri in embedded(run.pictures)
    ]
    if not shown:
        return None
    detector = run.spec is not None and isinstance(run.spec.model, DetectorSpec)
    words = "What the model sees; dashes are the ground truth." if detector else "What the model sees."
    more = f" {len(shown)} of {len(run.pictures)} pictures." if len(shown) < len(run.pictures) else ""
    return section("Pictures", paragraph(words + more), tag("div", *shown, class_="pictures"))


def _cost(run: RunFolder) -> Html | None:
    return section("What it cost", facts(_costs(run))) if run.epochs else None


def _costs(run: RunFolder) -> Iterator[tuple[str, str]]:
    seconds = math.fsum(row.get("seconds", 0.0) for row in run.epochs)
    steps = max((row.get("step", 0.0) for row in run.epochs), default=0.0)
    yield "all epochs", duration(seconds)
    planned = run.spec.trainer.max_epochs if run.spec else None
    cut = planned is not None and planned > len(run.epochs)
    yield "epochs", f"{len(run.epochs)} of {planned}" if cut else str(len(run.epochs))
    yield "an epoch", duration(seconds / len(run.epochs))
    if steps:
        yield "steps", f"{steps:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    if run.spec:
        batch = run.spec.data.batch_size * run.spec.trainer.accumulate
        if steps and seconds:
            yield "training pictures a second, judging included", f"about {steps * batch / seconds:.3g}"
        trainer = run.spec.trainer
        cpus = plural(trainer.world_size, "CPU process", "CPU processes")
        devices = plural(trainer.world_size, "GPU") if trainer.gpus else cpus
        yield "on", f"{devices}, precision {trainer.precision}"


def _experiment(run: RunFolder) -> Html | None:
    if not run.settings:
        return None
    overrides = _texts(run.settings, "overrides")
    left = _texts(run.settings, "off_table")
    command = tag("pre", shlex.join(["python", "run.py", *overrides]))
    apart = ("overrides", "off_table", "kind")
    rest = {name: value for name, value in run.settings.items() if name not in apart}
    return section(
        "The experiment",
        paragraph("This command runs it again:"),
        command,
        facts(text.partition("=")[::2] for text in overrides),
        paragraph(f"Left the table that {PHI} implies: ", _codes(left)) if left else None,
        tag("details", tag("summary", "Every setting"), tag("div", tree(rest), class_="inner")),
    )


def _codes(names: list[str]) -> Html:
    return tag("span", *(part for name in names for part in (tag("code", name), " ")))


def _texts(settings: Mapping[str, object], name: str) -> list[str]:
    values = settings.get(name)
    return [str(value) for value in values] if isinstance(values, list) else []
