"""Weight files as plain tensors by name: safetensors, and pickles of which nothing but tensors is read."""

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from effdet_lab.errors import DataError

TIMM = "timm:"  # before the name of published weights
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


def read_file(path: Path) -> dict[str, Tensor]:
    """Tensors by name, on the CPU.

    Raises: DataError if the file is missing, damaged, holds code, no tensors, or numbers that are none.
    """
    if not path.is_file():
        raise DataError(f"{path}: there is no such file. Name a weight file, a run's folder or timm:NAME.")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty. Copy or download it again.")
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    tensors = _unwrapped(_state_dict(content))
    if not tensors:
        raise DataError(f"{path}: holds no tensors. Save a model's state_dict() in it.")
    strange = [key for key, tensor in tensors.items() if tensor.is_floating_point() and not tensor.isfinite().all()]
    if strange:
        raise DataError(
            f"{path}: {len(strange)} of {len(tensors)} tensors hold nan or infinity, {strange[0]} first. "
            "The training that wrote them failed; use an earlier checkpoint."
        )
    return tensors


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise DataError(f"{path}: is no safetensors file, or not all of it ({error}). Copy it again.") from None


def _read_pickle(path: Path) -> Any:
    if path.suffix not in PICKLES:
        raise DataError(f"{path}: not a kind of file that is read. Use .safetensors, {', '.join(PICKLES)}.")
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
    tensors = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    for wrapper in WRAPPERS * 2:
        if tensors and all(key.startswith(wrapper) for key in tensors):
            tensors = {key.removeprefix(wrapper): value for key, value in tensors.items()}
    return tensors
