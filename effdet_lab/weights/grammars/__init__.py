"""One file for each way in which the field names the tensors of these networks.

Ours are timm's for classifiers and effdet's for detectors.
"""

from collections.abc import Callable
from dataclasses import dataclass

from effdet_lab.weights.grammars import effdet, lukemelas, tensorflow, timm, torchvision, zylo
from effdet_lab.weights.grammars.blocks import Shapes


@dataclass(frozen=True)
class Grammar:
    """How to know the names, and what they are here."""

    name: str
    code: str  # whose code it is, for people
    knows: Callable[[Shapes], bool]
    rename: Callable[[Shapes], dict[str, str]]


GRAMMARS = (
    Grammar("effdet", "rwightman/efficientdet-pytorch", effdet.knows, effdet.rename),
    Grammar("timm", "timm", timm.knows, timm.rename),
    Grammar("torchvision", "torchvision", torchvision.knows, torchvision.rename),
    Grammar("lukemelas", "lukemelas/EfficientNet-PyTorch", lukemelas.knows, lukemelas.rename),
    Grammar("zylo", "zylo117/Yet-Another-EfficientDet-Pytorch", zylo.knows, zylo.rename),
    Grammar("tensorflow", "google/automl or tensorflow/tpu", tensorflow.knows, tensorflow.rename),
)


def recognise(shapes: Shapes) -> Grammar | None:
    """The grammar of these names; None for networks that timm alone builds."""
    return next((grammar for grammar in GRAMMARS if grammar.knows(shapes)), None)
