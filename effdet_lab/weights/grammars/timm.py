"""The names of huggingface/pytorch-image-models, which are ours."""

from effdet_lab.weights.grammars.blocks import Shapes


def knows(shapes: Shapes) -> bool:
    """Whether these are the names of timm's EfficientNets."""
    return "conv_stem.weight" in shapes


def rename(shapes: Shapes) -> dict[str, str]:
    """Our name of each tensor."""
    return {key: key for key in shapes}
