"""Weights from wherever they are, under our names, with what belongs to them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from effdet_lab.errors import DataError
from effdet_lab.spec import ExperimentSpec
from effdet_lab.weights.classes import classes_of, count_classes
from effdet_lab.weights.conventions import Conventions, conventions_in, conventions_of
from effdet_lab.weights.files import read_file
from effdet_lab.weights.grammars import recognise
from effdet_lab.weights.identity import Identity, identify, looks_like
from effdet_lab.weights.published import CONFIG, WEIGHTS, fetch, is_published, read_config
from effdet_lab.weights.tensorflow import INDEX

# What a folder is opened for, best first: a run of ours, or a hub's repository.
INSIDE = ("checkpoints/best.ckpt", "checkpoints/last.ckpt", WEIGHTS, "pytorch_model.bin")
# Files whose own name says nothing.
NAMELESS = ("model", "pytorch_model", "best", "last", "weights", "checkpoint")
OWN = "effdet_lab"


@dataclass(frozen=True)
class Source:
    """Tensors by our names, and the file's name of each."""

    name: str  # as it was asked for
    tensors: dict[str, Tensor]
    file_names: Mapping[str, str]
    grammar: str  # whose names the file had
    identity: Identity | None
    conventions: Conventions
    spec: ExperimentSpec | None = field(default=None, repr=False)  # of our own experiments

    @property
    def classes(self) -> tuple[str, ...]:
        """What the predictor's outputs mean; empty where nobody knows."""
        return self.spec.data.classes if self.spec else classes_of(self.tensors)

    @property
    def num_classes(self) -> int:
        """Outputs of the predictor; 0 where there is none."""
        return count_classes(self.tensors)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: tuple(tensor.shape) for name, tensor in self.tensors.items()}

    @property
    def looks(self) -> str:
        """What to call it in a sentence."""
        return looks_like(self.shapes)


def read(source: str | Path) -> Source:
    """A weight file, a run's folder, a hub's folder, a TensorFlow checkpoint, timm:NAME or hub:OWNER/NAME.

    Raises: DataError where there is nothing to load; MachineError where a reader is not installed.
    """
    path, name, config = _locate(str(source))
    content = read_file(path)
    shapes = {key: tuple(tensor.shape) for key, tensor in content.tensors.items()}
    grammar = recognise(shapes)
    names = grammar.rename(shapes) if grammar else {}
    names = {key: names.get(key, key) for key in shapes}
    tensors = {names[key]: tensor for key, tensor in content.tensors.items()}
    identity = identify({names[key]: shape for key, shape in shapes.items()})
    if content.spec is not None:
        conventions, said_by = conventions_in(content.spec), OWN
    else:
        said_by = _grammar_of(path, grammar.name if grammar else "")
        conventions = conventions_of(said_by, name, _phi(identity), config)
    return Source(
        name=str(source),
        tensors=tensors,
        file_names={ours: key for key, ours in names.items()},
        grammar=said_by,
        identity=identity,
        conventions=conventions,
        spec=content.spec,
    )


def _locate(source: str) -> tuple[Path, str, Mapping[str, Any]]:
    """The file to read, what it is called, and timm's description of it where there is one."""
    if is_published(source):
        return fetch(source)
    path = Path(source).expanduser()
    folder = path if path.is_dir() else path.parent
    if path.is_dir():
        path = _inside(path)
    config = read_config(folder / CONFIG)
    name = config.get("architecture") or (folder.absolute().name if path.stem in NAMELESS else path.stem)
    return path, str(name), config


def _inside(folder: Path) -> Path:
    inside = [folder / name for name in INSIDE if (folder / name).is_file()]
    inside += sorted(folder.glob(f"*{INDEX}"))
    if not inside:
        raise DataError(
            f"{folder}: this folder has none of {', '.join(INSIDE)} and no TensorFlow checkpoint. "
            "Name a file or a run's folder."
        )
    return inside[0]


def _grammar_of(path: Path, recognised: str) -> str:
    """TF-Lite files have no names of their own."""
    return "tflite" if path.suffix.lower() == ".tflite" else recognised


def _phi(identity: Identity | None) -> int | None:
    """The number of a published classifier."""
    members = Identity(identity.trunk, None).members() if identity else []
    return int(members[0].name[-1]) if members else None
