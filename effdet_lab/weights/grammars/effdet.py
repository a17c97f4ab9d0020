"""The names of rwightman/efficientdet-pytorch, which are ours but for the order in some of its heads."""

import re

from effdet_lab.weights.grammars.blocks import Shapes

# With head_bn_level_first its norms are counted by level, then by repeat.
LEVEL_FIRST = re.compile(r"(class_net|box_net)\.bn_rep\.(\d+)\.(\d+)\.(\w+)$")


def knows(shapes: Shapes) -> bool:
    """Whether these are the names of this grammar."""
    return "class_net.predict.conv_pw.weight" in shapes


def rename(shapes: Shapes) -> dict[str, str]:
    """Our name of each tensor."""
    return {key: LEVEL_FIRST.sub(r"\1.bn_rep.\3.\2.bn.\4", key) for key in shapes}
