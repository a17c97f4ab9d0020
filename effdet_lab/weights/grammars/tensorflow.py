"""The variable names of tensorflow/tpu's EfficientNet and google/automl's EfficientDet, tensors laid out as torch's.

A name in a block is its first use's counter, so that blocks without an expansion count from another start.
"""

import re
from collections.abc import Iterator

from effdet_lab.weights.grammars.blocks import Piece, Shapes, block_names

STEM = re.compile(r"(?:^|.*/)stem/conv2d/kernel$")
TAILS = {
    "kernel": "weight",
    "depthwise_kernel": "weight",
    "pointwise_kernel": "weight",
    "gamma": "weight",
    "beta": "bias",
    "bias": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
OUTSIDE = {
    "stem/conv2d": "conv_stem",
    "stem/tpu_batch_normalization": "bn1",
    "head/conv2d": "conv_head",
    "head/tpu_batch_normalization": "bn2",
    "head/dense": "classifier",
}
EXPANDED = {
    "conv2d": "expand",
    "tpu_batch_normalization": "expand_norm",
    "depthwise_conv2d": "depthwise",
    "tpu_batch_normalization_1": "depthwise_norm",
    "se/conv2d": "squeeze",
    "se/conv2d_1": "excite",
    "conv2d_1": "project",
    "tpu_batch_normalization_2": "project_norm",
}
UNEXPANDED = {
    "depthwise_conv2d": "depthwise",
    "tpu_batch_normalization": "depthwise_norm",
    "se/conv2d": "squeeze",
    "se/conv2d_1": "excite",
    "conv2d": "project",
    "tpu_batch_normalization_1": "project_norm",
}
MIN_LEVEL = 3
FEATURE_NETWORK = [
    (r"fpn_cells/cell_(\d+)/fnode(\d+)/WSM", r"fpn.cell.\1.fnode.\2.combine.edge_weights"),
    (
        r"fpn_cells/cell_(\d+)/fnode(\d+)/resample_\d+_(\d+)_\d+/conv2d",
        r"fpn.cell.\1.fnode.\2.combine.resample.\3.conv.conv",
    ),
    (
        r"fpn_cells/cell_(\d+)/fnode(\d+)/resample_\d+_(\d+)_\d+/bn",
        r"fpn.cell.\1.fnode.\2.combine.resample.\3.conv.bn",
    ),
    (r"fpn_cells/cell_(\d+)/fnode(\d+)/op_after_combine\d+/bn", r"fpn.cell.\1.fnode.\2.after_combine.conv.bn"),
]
SEPARABLE = [
    (r"fpn_cells/cell_(\d+)/fnode(\d+)/op_after_combine\d+/conv", r"fpn.cell.\1.fnode.\2.after_combine.conv"),
    (r"class_net/class-(\d+)", r"class_net.conv_rep.\1"),
    (r"class_net/class-predict", r"class_net.predict"),
    (r"box_net/box-(\d+)", r"box_net.conv_rep.\1"),
    (r"box_net/box-predict", r"box_net.predict"),
]


def knows(shapes: Shapes) -> bool:
    """Whether these are the names of this grammar."""
    return any(STEM.match(key) for key in shapes)


def rename(shapes: Shapes) -> dict[str, str]:
    """Our name of each tensor that has one."""
    root = next(key for key in shapes if STEM.match(key)).removesuffix("stem/conv2d/kernel")
    detector = any(key.startswith(("fpn_cells/", "class_net/")) for key in shapes)
    backbone = _backbone({key.removeprefix(root): shape for key, shape in shapes.items() if key.startswith(root)})
    prefix = "backbone." if detector else ""
    names = {f"{root}{key}": f"{prefix}{ours}" for key, ours in backbone.items()}
    if detector:
        names |= dict(_detector(shapes))
    return names


def _backbone(shapes: Shapes) -> dict[str, str]:
    names, pieces = {}, []
    for key in shapes:
        module, _, tail = key.rpartition("/")
        if tail not in TAILS:
            continue
        match = re.fullmatch(r"blocks_(\d+)/(.+)", module)
        if module in OUTSIDE:
            names[key] = f"{OUTSIDE[module]}.{TAILS[tail]}"
        elif match:
            expanded = f"blocks_{match[1]}/conv2d_1/kernel" in shapes
            part = (EXPANDED if expanded else UNEXPANDED).get(match[2])
            if part is not None:
                pieces.append(Piece(key, int(match[1]), part, TAILS[tail]))
    return names | block_names(pieces, shapes)


def _detector(shapes: Shapes) -> Iterator[tuple[str, str]]:
    for key in shapes:
        module, _, tail = key.rpartition("/")
        lateral = re.fullmatch(r"resample_p(\d+)/(conv2d|bn)", module)
        norm = re.fullmatch(r"(class|box)_net/\1-(\d+)-bn-(\d+)", module)
        if tail == "WSM":
            yield key, _first(FEATURE_NETWORK, key)
        elif tail not in TAILS:
            continue
        elif lateral:
            layer = {"conv2d": "conv", "bn": "bn"}[lateral[2]]
            yield key, f"fpn.resample.{int(lateral[1]) - MIN_LEVEL}.conv.{layer}.{TAILS[tail]}"
        elif norm:
            yield key, f"{norm[1]}_net.bn_rep.{norm[2]}.{int(norm[3]) - MIN_LEVEL}.bn.{TAILS[tail]}"
        elif ours := _first(FEATURE_NETWORK, module):
            yield key, f"{ours}.{TAILS[tail]}"
        elif ours := _first(SEPARABLE, module):
            conv = "conv_dw" if tail == "depthwise_kernel" else "conv_pw"
            yield key, f"{ours}.{conv}.{TAILS[tail]}"


def _first(rules: list[tuple[str, str]], name: str) -> str:
    for pattern, ours in rules:
        match = re.fullmatch(pattern, name)
        if match:
            return match.expand(ours)
    return ""
