"""The names of lukemelas/EfficientNet-PyTorch: blocks counted through, norms numbered within a block."""

from effdet_lab.weights.grammars.blocks import Piece, Shapes, block_names

OUTSIDE = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
PARTS = {
    "_expand_conv": "expand",
    "_bn0": "expand_norm",
    "_depthwise_conv": "depthwise",
    "_bn1": "depthwise_norm",
    "_se_reduce": "squeeze",
    "_se_expand": "excite",
    "_project_conv": "project",
    "_bn2": "project_norm",
}


def knows(shapes: Shapes) -> bool:
    """Whether these are the names of this grammar."""
    return "_conv_stem.weight" in shapes


def rename(shapes: Shapes) -> dict[str, str]:
    """Our name of each tensor that has one."""
    names, pieces = {}, []
    for key in shapes:
        match key.split("."):
            case ["_blocks", number, part, tail] if part in PARTS:
                pieces.append(Piece(key, int(number), PARTS[part], tail))
            case [module, tail] if module in OUTSIDE:
                names[key] = f"{OUTSIDE[module]}.{tail}"
    return names | block_names(pieces, shapes)
