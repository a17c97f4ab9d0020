"""Folders as runs and sweeps leave them, written by hand."""

import csv
import json
import math
from pathlib import Path

import yaml
from PIL import Image

from effdet_lab.spec import to_dict

TWELVE = {
    "map": 0.652, "map_50": 0.8439, "map_75": 0.7867, "map_small": 0.41, "map_medium": 0.7011, "map_large": -1.0,
    "mar_1": 0.311, "mar_10": 0.6402, "mar_100": 0.6911, "mar_small": 0.52, "mar_medium": 0.733, "mar_large": -1.0,
}  # fmt: skip


def write_table(path: Path, rows: list[dict]) -> None:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def write_spec(folder: Path, spec, **changes) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump({**to_dict(spec), **changes}, sort_keys=False, allow_unicode=True)
    (folder / "spec.yaml").write_text(text, encoding="utf-8")


def write_metrics(folder: Path, metrics: dict[str, float]) -> None:
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=2), encoding="utf-8")


def detector_rows(epochs: int, best: float = 0.652) -> list[dict]:
    """An epoch's metrics; the first epoch is not judged."""
    rows = []
    for epoch in range(1, epochs + 1):
        part = 1 - math.exp(-3 * epoch / epochs)
        row = {
            "epoch": epoch,
            "step": 12 * epoch,
            "seconds": 11.5 + math.sin(epoch),
            "train/learning_rate": 0.003 * math.cos(math.pi / 2 * (epoch - 1) / epochs),
            "train/loss": 1.9 - 1.55 * part,
            "train/loss_class": 1.1 - 0.9 * part,
            "train/loss_box": 0.016 - 0.013 * part,
        }
        if epoch > 1:
            row |= {"val/loss": 1.8 - 1.4 * part + 0.02 * math.sin(3 * epoch), "val/map": best * part}
            row |= {"val/map_50": min(best * 1.3 * part, 1.0), "val/map_75": best * 1.1 * part * part}
        rows.append(row)
    return rows


def write_pictures(folder: Path, number: int, side: int = 96) -> None:
    target = folder / "images"
    target.mkdir(parents=True)
    for index in range(number):
        Image.effect_noise((side, side), 60).convert("RGB").save(target / f"{index:05}.jpg", quality=90)
    Image.new("RGB", (side, side)).save(target / "contact_sheet.jpg")


def write_run(folder: Path, spec, class_names=("cat", "dog"), epochs: int = 4, pictures: int = 2) -> dict[str, float]:
    """A detector's finished run; returns its final metrics."""
    write_spec(folder, spec)
    write_table(folder / "metrics.csv", detector_rows(epochs))
    metrics = {"val/loss": 0.2895, **{f"val/{name}": value for name, value in TWELVE.items()}}
    metrics |= {f"val/map/{name}": 0.81 - 0.0173 * index for index, name in enumerate(class_names)}
    metrics["train/loss"] = 0.3007
    write_metrics(folder, metrics)
    (folder / "log.txt").write_text("first\n2026-11-24 10:08:18 epoch 1/4: 4.0 s\n", encoding="utf-8")
    if pictures:
        write_pictures(folder, pictures)
    return metrics


def write_sweep(folder: Path, specs: list, varied: list[str], rows: list[dict], costs: list | None = None) -> None:
    """`rows` hold the varied settings, status, seconds and metrics of the jobs that ended; `specs` are all jobs."""
    for number, spec in enumerate(specs):
        write_spec(folder / str(number), spec)
        if costs is not None and costs[number] is not None:
            (folder / str(number) / "costs.json").write_text(json.dumps(costs[number]), encoding="utf-8")
    metrics = sorted({name for row in rows for name in row if "/" in name})
    table = []
    for number, row in enumerate(rows):
        overrides = " ".join(f"{name}={row[name]}" for name in varied)
        cells = {"job": number, "overrides": overrides, **{name: row[name] for name in varied}}
        cells |= {"status": row.get("status", "done"), "seconds": row.get("seconds", 10.0)}
        cells |= {"folder": folder / str(number), **{name: row.get(name, "") for name in metrics}}
        table.append(cells)
    write_table(folder / "sweep.csv", table)
