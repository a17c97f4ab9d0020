"""What a tracker is told of an experiment: its settings under dotted names, its tags, the metric that counts."""

import os
from collections.abc import Iterator, Sequence
from typing import Any

from effdet_lab.data.wording import unique
from effdet_lab.spec import ExperimentSpec, is_detector, to_dict

LONGEST_TAG = 64  # characters; W&B refuses more
STEP = "trainer/global_step"  # Lightning's name of the x axis


def flatten(spec: ExperimentSpec) -> dict[str, Any]:
    """Every setting under one name: `model.backbone.phi`, `model.backbone.stages.0.repeats`."""
    return dict(_leaves("", to_dict(spec)))


def tags(spec: ExperimentSpec) -> tuple[str, ...]:
    """What a table of runs is filtered by: model, backbone, phi, and every setting that left the table."""
    backbone = spec.model.backbone
    family = getattr(backbone, "family", None) or getattr(backbone, "architecture", "")
    words = ("detector" if is_detector(spec) else "classifier", family, f"phi={spec.phi:g}", spec.scaling)
    return tuple(dict.fromkeys(word[:LONGEST_TAG] for word in (*words, *spec.off_table) if word))


def main_metric(spec: ExperimentSpec) -> str:
    """The number that runs are compared by; higher is better."""
    return "val/map" if is_detector(spec) else "val/top1"


def is_first_process() -> bool:
    """Whether this process speaks for the job."""
    return all(os.environ.get(name, "0") == "0" for name in ("RANK", "LOCAL_RANK", "NODE_RANK"))


def panel_names(paths: Sequence[str]) -> list[str]:
    """`pictures/NAME` of each file; files of the same name are numbered."""
    return [f"pictures/{name}" for name in unique(paths)]


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """A list of records is numbered; a list of anything else is a value."""
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        value = dict(enumerate(value))
    if not isinstance(value, dict):
        yield name, value
        return
    for key, part in value.items():
        yield from _leaves(f"{name}.{key}" if name else str(key), part)
