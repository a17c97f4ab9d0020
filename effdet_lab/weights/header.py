"""What a safetensors file tells before its tensors are read. No torch here."""

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open

from effdet_lab.spec import ExperimentSpec, from_dict, to_dict
from effdet_lab.weights.grammars import recognise
from effdet_lab.weights.identity import Shapes

SPEC = "spec"
SUFFIX = ".safetensors"


def header_of(spec: ExperimentSpec) -> dict[str, str]:
    """What others need beside the tensors: the experiment, its classes, and what the network does to pixels."""
    pixels = {"mean": spec.model.input.mean, "std": spec.model.input.std, "size": spec.model.input.image_size}
    return {
        "format": "pt",
        SPEC: json.dumps(to_dict(spec)),
        "classes": json.dumps(spec.data.classes),
        "pixels": json.dumps(pixels),
    }


def spec_of(header: Mapping[str, str] | None) -> ExperimentSpec | None:
    """The inverse of `header_of`; None for another program's file, or an experiment of another version."""
    try:
        return from_dict(json.loads((header or {})[SPEC]))
    except (KeyError, TypeError, ValueError, StopIteration):
        return None


def read_spec_of(path: Path) -> ExperimentSpec | None:
    """The experiment in a file's header; None where there is none."""
    try:
        with safe_open(path, framework="numpy") as file:
            return spec_of(file.metadata())
    except (SafetensorError, OSError):
        return None


def read_shapes(path: Path) -> Shapes:
    """The shapes of a file's tensors by our names; none of a file that cannot be read, which is told later."""
    try:
        with safe_open(path, framework="numpy") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError):
        return {}
    grammar = recognise(shapes)
    names = grammar.rename(shapes) if grammar else {}
    return {names.get(key, key): shape for key, shape in shapes.items()}
