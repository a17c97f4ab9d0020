"""What papers and their code print, as points to draw beside one's own: the tables of the folder of the same name.

A table is a csv under comment lines that tell its source. Metrics are columns named as our runs name them, in percent.
"""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TABLES = Path(__file__).parent / "published"
NAMES = (
    "efficientnet",
    "efficientnet_lite",
    "comparators",
    "scaling_dimensions",
    "efficientdet",
    "efficientdet_lite",
    "detectors",
    "feature_networks",
)
DATA = {"val/top1": "imagenet", "val/top5": "imagenet", "val/map": "coco", "test/map": "coco"}
WHOLE = ("phi", "image_size", "parameters", "multiply_adds")
REAL = ("latency_ms", "depth", "width", "resolution", "relative_parameters", "relative_multiply_adds")


@dataclass(frozen=True)
class Published:
    """One metric of one network; None is what its source does not print."""

    family: str
    name: str
    phi: int | None
    image_size: int | None  # pixels
    parameters: int | None
    multiply_adds: int | None  # the papers' FLOPs
    latency_ms: float | None  # on the device that the source tells
    metric: str  # test/map is of COCO test-dev
    value: float  # a fraction
    data: str
    source: str
    depth: float | None = None  # these three in multiples of the base
    width: float | None = None
    resolution: float | None = None
    relative_parameters: float | None = None  # these two in multiples of the family's first
    relative_multiply_adds: float | None = None


def published(name: str) -> list[Published]:
    """The points of one of `NAMES` in the order of its source, one for each metric of each network."""
    assert name in NAMES, f"{name}: not one of {', '.join(NAMES)}"
    lines = (TABLES / f"{name}.csv").read_text(encoding="utf-8").splitlines()
    source = " ".join(line.removeprefix("#").strip() for line in lines if line.startswith("#"))
    assert source, f"{name}.csv does not tell where it comes from"
    rows = csv.DictReader([line for line in lines if not line.startswith("#")], strict=True)
    return [point for row in rows for point in _points(row, source)]


def _points(row: dict[str, Any], source: str) -> list[Published]:
    assert None not in (*row, *row.values()), f"{row}: not as many cells as columns"
    unknown = set(row) - {"family", "name", *WHOLE, *REAL, *DATA}
    assert not unknown, f"{row}: columns nobody reads"
    percents = {metric: float(row[metric]) for metric in DATA if row.get(metric)}
    assert percents, f"{row}: no metric"
    assert all(0 < percent < 100 for percent in percents.values()), f"{row}: not in percent"
    numbers: dict[str, Any] = {column: round(float(row[column])) if row.get(column) else None for column in WHOLE}
    numbers |= {column: float(row[column]) if row.get(column) else None for column in REAL}
    return [
        Published(
            family=row["family"],
            name=row["name"],
            metric=metric,
            value=round(percent / 100, 6),
            data=DATA[metric],
            source=source,
            **numbers,
        )
        for metric, percent in percents.items()
    ]
