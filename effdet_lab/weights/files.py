"""Weight files as plain tensors by name: safetensors, pickles read for nothing but tensors, TensorFlow's kinds."""

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from effdet_lab.errors import DataError
from effdet_lab.spec import ExperimentSpec, from_dict
from effdet_lab.weights.header import SUFFIX, spec_of
from effdet_lab.weights.tensorflow import INDEX, read_checkpoint, torch_layout
from effdet_lab.weights.tflite import read_tflite

HYPER_PARAMETERS = "hyper_parameters"  # where Lightning's checkpoints hold the experiment
PICKLES = (".pth", ".pt", ".ckpt", ".tar", ".bin")
# Where trainers keep the state dict inside their files; averaged weights come first.
CONTAINERS = (
    "state_dict_ema",
    "model_ema",
    "ema_state_dict",
    "ema",
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
)
WRAPPERS = ("module.", "model.", "_orig_mod.")


class Content(NamedTuple):
    """What a weight file holds."""

    tensors: dict[str, Tensor]
    spec: ExperimentSpec | None  # the experiment it comes from, where it is one of ours


def read_file(path: Path) -> Content:
    """Tensors by name, on the CPU; a TensorFlow checkpoint is named by its prefix or by its .index file.

    Raises: DataError if the file is missing, damaged, holds code, no tensors, or numbers that are none; MachineError
    where TensorFlow's kinds need a reader that is not installed.
    """
    if path.suffix == INDEX or path.with_name(f"{path.name}{INDEX}").is_file():
        return Content(_checked(path, read_checkpoint(path.with_suffix("") if path.suffix == INDEX else path)), None)
    if not path.is_file():
        raise DataError(f"{path}: there is no such file. Name a weight file, a run's folder, timm:NAME or hub:NAME.")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty. Copy or download it again.")
    match path.suffix.lower():
        case suffix if suffix == SUFFIX:
            tensors, spec = _read_safetensors(path)
        case ".npz":
            tensors, spec = _read_arrays(path), None
        case ".tflite":
            tensors, spec = read_tflite(path), None
        case suffix if suffix in PICKLES:
            content = _read_pickle(path)
            tensors, spec = _state_dict(content), _spec_in(content)
        case _:
            kinds = ", ".join((SUFFIX, *PICKLES, ".npz", ".tflite", INDEX))
            raise DataError(f"{path}: not a kind of file that is read. Use {kinds}.")
    return Content(_checked(path, _unwrapped(tensors)), spec)


def _checked(path: Path, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    if not tensors:
        raise DataError(f"{path}: holds no tensors. Save a model's state_dict() in it.")
    strange = [key for key, tensor in tensors.items() if tensor.is_floating_point() and not tensor.isfinite().all()]
    if strange:
        raise DataError(
            f"{path}: {len(strange)} of {len(tensors)} tensors hold nan or infinity, {strange[0]} first. "
            "The training that wrote them failed; use an earlier checkpoint."
        )
    return tensors


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], ExperimentSpec | None]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, spec_of(file.metadata())  # noqa: SIM118
    except SafetensorError as error:
        raise DataError(f"{path}: is no safetensors file, or not all of it ({error}). Copy it again.") from None


def _spec_in(content: Any) -> ExperimentSpec | None:
    try:
        return from_dict(content[HYPER_PARAMETERS])
    except (KeyError, TypeError, ValueError, StopIteration):
        return None


def _read_arrays(path: Path) -> dict[str, Tensor]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return torch_layout({name: arrays[name] for name in arrays.files})
    except (zipfile.BadZipFile, ValueError, OSError, EOFError, KeyError):
        raise DataError(
            f"{path}: is no archive of plain arrays, or not all of it. Write it with numpy.savez(path, **arrays)."
        ) from None


def _read_pickle(path: Path) -> Any:
    if not _looks_like_torch(path):
        raise _damaged(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise DataError(
            f"{path}: holds Python objects besides tensors, and opening those could run foreign code, so it is not "
            "opened. Where you trust it, save it anew with safetensors.torch.save_file(model.state_dict(), ...)."
        ) from None
    except (RuntimeError, EOFError, ValueError, KeyError, OSError):
        raise _damaged(path) from None


def _looks_like_torch(path: Path) -> bool:
    """A zip archive, or a bare pickle as torch wrote until 1.6."""
    if zipfile.is_zipfile(path):
        return True
    with path.open("rb") as file:
        return file.read(1) == pickle.PROTO


def _damaged(path: Path) -> DataError:
    return DataError(f"{path}: is no torch file, or not all of it. Copy or download it again.")


def _state_dict(content: Any) -> Mapping[str, Any]:
    """The innermost dictionary that holds tensors."""
    while isinstance(content, Mapping):
        inside = next((content[key] for key in CONTAINERS if isinstance(content.get(key), Mapping)), None)
        if not inside:
            return content
        content = inside
    return {}


def _unwrapped(content: Mapping[str, Any]) -> dict[str, Tensor]:
    """Without what trainers put before the names; a trainer's own few tensors, such as anchors, keep theirs."""
    tensors = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    for wrapper in WRAPPERS * 2:
        if sum(key.startswith(wrapper) for key in tensors) > len(tensors) / 2:
            tensors = {key.removeprefix(wrapper): value for key, value in tensors.items()}
    return tensors
