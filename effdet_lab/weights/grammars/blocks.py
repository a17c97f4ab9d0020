"""MBConv blocks under timm's names, for grammars that name them otherwise or count them without stages.

Shapes are torch's: convolutions (out, in / groups, height, width).
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

Shapes = Mapping[str, tuple[int, ...]]

# A block's parts by timm's names. Without an expansion timm starts counting at the depthwise convolution.
GATE = {"squeeze": "se.conv_reduce", "excite": "se.conv_expand"}
EXPANDED = {
    "expand": "conv_pw",
    "expand_norm": "bn1",
    "depthwise": "conv_dw",
    "depthwise_norm": "bn2",
    **GATE,
    "project": "conv_pwl",
    "project_norm": "bn3",
}
UNEXPANDED = {"depthwise": "conv_dw", "depthwise_norm": "bn1", **GATE, "project": "conv_pw", "project_norm": "bn2"}


class Piece(NamedTuple):
    """A tensor of a block that is counted without stages."""

    key: str
    block: int
    part: str  # a key of EXPANDED
    tail: str  # weight, bias, running_mean, ...


def block_names(pieces: Iterable[Piece], shapes: Shapes) -> dict[str, str]:
    """Our name of each piece: a block whose output has other channels than its input opens a stage.

    True of every published EfficientNet: only the first block of a stage changes the channels.
    """
    blocks: dict[int, list[Piece]] = {}
    for piece in pieces:
        blocks.setdefault(piece.block, []).append(piece)
    names, stage, repeat = {}, -1, 0
    for number in sorted(blocks):
        weights = {piece.part: shapes[piece.key] for piece in blocks[number] if piece.tail == "weight"}
        expanded = "expand" in weights
        if not {"depthwise", "project"} <= set(weights):
            continue
        in_channels = weights["expand"][1] if expanded else weights["depthwise"][0]
        opens = stage < 0 or in_channels != weights["project"][0]
        stage, repeat = (stage + 1, 0) if opens else (stage, repeat + 1)
        parts = EXPANDED if expanded else UNEXPANDED
        for piece in blocks[number]:
            names[piece.key] = f"blocks.{stage}.{repeat}.{parts[piece.part]}.{piece.tail}"
    return names
