"""Weights as a safetensors file, for us and for others."""

import os
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor, nn

from effdet_lab.spec import ExportGrammar
from effdet_lab.weights.load import TIMM_MODEL
from effdet_lab.weights.parts import BACKBONE


def save_weights(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, str]) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    try:
        save_file(plain, unfinished, metadata=dict(header))
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def named_for(model: nn.Module, grammar: ExportGrammar) -> dict[str, Tensor]:
    """A model's tensors under the names of another code; ours are timm's and effdet's but for timm's own pyramids."""
    tensors = model.state_dict()
    if grammar != "effdet":
        return tensors
    return {name.replace(f"{BACKBONE}{TIMM_MODEL}", BACKBONE, 1): tensor for name, tensor in tensors.items()}
