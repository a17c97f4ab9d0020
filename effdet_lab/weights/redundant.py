"""Biases before a batch norm: the official detectors carry them, others leave them out, and they say nothing."""

import re

from torch import Tensor

# A convolution and the norms that follow it; a head's are one a level.
FOLLOWERS = (
    (r"(fpn\..*\.conv)\.conv", r"\1\.bn"),
    (r"(fpn\..*\.after_combine\.conv)\.conv_pw", r"\1\.bn"),
    (r"((?:class|box)_net)\.conv_rep\.(\d+)\.conv_pw", r"\1\.bn_rep\.\2\.\\d+\.bn"),
)
BIAS = ".bias"


def settle_biases(tensors: dict[str, Tensor], wanted: frozenset[str]) -> tuple[dict[str, Tensor], int, int]:
    """The tensors with the biases that a model wants: absent ones are zero, surplus ones move into the norms' means.

    Evaluation is unchanged, and training knows no difference: a norm takes any constant away again.
    Returns the tensors, and how many biases were added and folded.
    """
    tensors = dict(tensors)
    added = folded = 0
    for name in [name for name in tensors if name.endswith(".weight")]:
        conv = name.removesuffix(".weight")
        pattern = _norms_after(conv)
        bias = f"{conv}{BIAS}"
        if not pattern or (bias in tensors) == (bias in wanted):
            continue
        if bias in wanted:
            tensors[bias] = tensors[name].new_zeros(len(tensors[name]))
            added += 1
            continue
        surplus = tensors.pop(bias)
        for mean in [key for key in tensors if re.fullmatch(rf"{pattern}\.running_mean", key)]:
            tensors[mean] = tensors[mean] - surplus
        folded += 1
    return tensors, added, folded


def _norms_after(conv: str) -> str:
    for pattern, norms in FOLLOWERS:
        match = re.fullmatch(pattern, conv)
        if match:
            return match.expand(norms)
    return ""
