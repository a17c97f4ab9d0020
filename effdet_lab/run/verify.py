"""task=verify: the same weights in this code and in its reference, stage by stage."""

import csv
import io
from pathlib import Path

import torch
from rich.table import Table
from torch import Tensor

from effdet_lab.data.datamodule import picture_loader
from effdet_lab.models.build import build_model
from effdet_lab.parity.compare import Difference
from effdet_lab.parity.references import reference_for
from effdet_lab.parity.verify import Parity, verify
from effdet_lab.run.folder import write_text
from effdet_lab.run.machine import pictures_of
from effdet_lab.run.record import write_metrics
from effdet_lab.run.say import log, show
from effdet_lab.spec import ExperimentSpec
from effdet_lab.tasks.build import build_task
from effdet_lab.weights.load import load_trained
from effdet_lab.weights.source import read

MOST_PICTURES = 4
FILE = "parity.csv"


def verify_weights(spec: ExperimentSpec, folder: Path) -> dict[str, float]:
    """The table, parity.csv and metrics.json; `input` names the pictures, else noise is shown to both.

    Raises: SystemExit(1) where the outputs differ.
    """
    found = read(spec.checkpoint or spec.init)
    model = build_model(spec)
    load_trained(model, found)
    reference = reference_for(spec, found, model)
    task = build_task(spec, model, None).eval()
    parity = verify(spec, model, reference, task.normalised(_images(spec)))
    metrics = _write(folder, parity)
    show(_table(parity))
    if not parity.agrees:
        log.error(f"The outputs differ from {parity.reference}'s.")
        raise SystemExit(1)
    log.info(f"The outputs are those of {parity.reference}. {folder / FILE} has the numbers.")
    return metrics


def _images(spec: ExperimentSpec) -> Tensor:
    """uint8 pictures of the network's size."""
    if spec.input:
        paths = [Path(path) for path in pictures_of(spec.input)[:MOST_PICTURES]]
        _, loader = picture_loader(paths, spec)
        return next(iter(loader)).images_BCHW
    generator = torch.Generator().manual_seed(spec.seed)
    return torch.randint(0, 256, (1, 3, *spec.model.input.image_size), dtype=torch.uint8, generator=generator)


def _rows(parity: Parity) -> list[Difference]:
    return [*parity.stages, *parity.outputs]


def _write(folder: Path, parity: Parity) -> dict[str, float]:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["stage", "shape", "largest_difference", "relative_difference"])
    for row in _rows(parity):
        writer.writerow([row.stage, "x".join(map(str, row.shape)), f"{row.largest:.3g}", f"{row.relative:.3g}"])
    write_text(folder / FILE, text.getvalue())
    metrics = {f"parity/{row.stage}": row.relative for row in _rows(parity)} | {"parity/agrees": float(parity.agrees)}
    if parity.detections:
        metrics |= {
            "parity/detections": float(parity.detections.ours),
            "parity/lowest_iou": parity.detections.lowest_iou,
            "parity/largest_score_difference": parity.detections.largest_score_difference,
        }
    write_metrics(folder, metrics)
    return metrics


def _table(parity: Parity) -> Table:
    table = Table(title=f"Against {parity.reference}")
    table.add_column("stage")
    for name in ("shape", "largest difference", "relative"):
        table.add_column(name, justify="right")
    for row in _rows(parity):
        table.add_row(row.stage, " x ".join(map(str, row.shape)), f"{row.largest:.2e}", f"{row.relative:.2e}")
    same = parity.detections
    if same:
        verdict = f"{same.ours} and {same.theirs}; lowest IoU {same.lowest_iou:.6f}"
        table.add_row("detections", verdict, f"{same.largest_score_difference:.2e}", "")
    return table
