"""The names of zylo117/Yet-Another-EfficientDet-Pytorch: BiFPN nodes by level, a wrapper around each convolution."""

import re
from collections.abc import Iterator

from effdet_lab.weights.grammars import lukemelas
from effdet_lab.weights.grammars.blocks import Shapes

BACKBONE = "backbone_net.model."
MIN_LEVEL = 3
CHANNELS_WITHOUT_FUSION_WEIGHTS = 384  # of D6 and larger, which only add
HEADS = {"classifier": "class_net", "regressor": "box_net"}
CONVS = {"depthwise_conv": "conv_dw", "pointwise_conv": "conv_pw"}
LATERAL = {"0.conv": "conv.conv", "1": "conv.bn"}


def knows(shapes: Shapes) -> bool:
    """Whether these are the names of this grammar."""
    return f"{BACKBONE}_conv_stem.conv.weight" in shapes


def rename(shapes: Shapes) -> dict[str, str]:
    """Our name of each tensor that has one; the fusion weights that its D6 and D7 keep and do not use have none."""
    unwrapped = {key: key.removeprefix(BACKBONE).replace(".conv.", ".") for key in shapes if key.startswith(BACKBONE)}
    backbone = lukemelas.rename({inner: shapes[key] for key, inner in unwrapped.items()})
    names = {key: f"backbone.{backbone[inner]}" for key, inner in unwrapped.items() if inner in backbone}
    rules = [*_feature_network_rules(shapes), *_head_rules()]
    for key in shapes:
        for pattern, ours in rules:
            match = re.fullmatch(pattern, key)
            if match:
                names[key] = match.expand(ours)
                break
    return names


def _feature_network_rules(shapes: Shapes) -> Iterator[tuple[str, str]]:
    weighs = shapes["bifpn.0.conv6_up.bn.weight"][0] < CHANNELS_WITHOUT_FUSION_WEIGHTS
    max_level = 8 if "bifpn.0.conv8_down.bn.weight" in shapes else 7
    up = [(level, "up", "1", "") for level in range(max_level - 1, MIN_LEVEL - 1, -1)]
    down = [(level, "down", "2", "_2") for level in range(MIN_LEVEL + 1, max_level + 1)]
    for number, (level, direction, pass_number, suffix) in enumerate([*up, *down]):
        node = rf"fpn.cell.\1.fnode.{number}"
        if weighs:
            yield rf"bifpn\.(\d+)\.p{level}_w{pass_number}", rf"{node}.combine.edge_weights"
        for theirs, ours in CONVS.items():
            conv = rf"bifpn\.(\d+)\.conv{level}_{direction}\.{theirs}\.conv\.(\w+)"
            yield conv, rf"{node}.after_combine.conv.{ours}.\2"
        yield rf"bifpn\.(\d+)\.conv{level}_{direction}\.bn\.(\w+)", rf"{node}.after_combine.conv.bn.\2"
        for theirs, ours in LATERAL.items():
            lateral = rf"bifpn\.(\d+)\.p{level}_down_channel{suffix}\.{re.escape(theirs)}\.(\w+)"
            yield lateral, rf"{node}.combine.resample.{level - MIN_LEVEL}.{ours}.\2"
    for theirs, ours in LATERAL.items():
        yield rf"bifpn\.0\.p5_to_p6\.{re.escape(theirs)}\.(\w+)", rf"fpn.resample.3.{ours}.\1"


def _head_rules() -> Iterator[tuple[str, str]]:
    for theirs, ours in HEADS.items():
        for their_conv, our_conv in CONVS.items():
            yield rf"{theirs}\.conv_list\.(\d+)\.{their_conv}\.conv\.(\w+)", rf"{ours}.conv_rep.\1.{our_conv}.\2"
            yield rf"{theirs}\.header\.{their_conv}\.conv\.(\w+)", rf"{ours}.predict.{our_conv}.\1"
        yield rf"{theirs}\.bn_list\.(\d+)\.(\d+)\.(\w+)", rf"{ours}.bn_rep.\2.\1.bn.\3"
