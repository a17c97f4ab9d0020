"""The names of torchvision's EfficientNet: everything is a numbered item of `features`."""

from effdet_lab.weights.grammars.blocks import EXPANDED, UNEXPANDED, Shapes

# Items of an expanded block; without an expansion all come one earlier.
PARTS = {
    (0, "0"): "expand",
    (0, "1"): "expand_norm",
    (1, "0"): "depthwise",
    (1, "1"): "depthwise_norm",
    (2, "fc1"): "squeeze",
    (2, "fc2"): "excite",
    (3, "0"): "project",
    (3, "1"): "project_norm",
}
STEM = {"0": "conv_stem", "1": "bn1"}
HEAD = {"0": "conv_head", "1": "bn2"}


def knows(shapes: Shapes) -> bool:
    """Whether these are the names of this grammar; its other networks have no gate in the first block."""
    return "features.0.0.weight" in shapes and "features.1.0.block.1.fc1.weight" in shapes


def rename(shapes: Shapes) -> dict[str, str]:
    """Our name of each tensor that has one."""
    names = {}
    for key in shapes:
        match key.split("."):
            case ["features", "0", item, tail]:
                names[key] = f"{STEM[item]}.{tail}"
            case ["features", _, item, tail] if item in HEAD:
                names[key] = f"{HEAD[item]}.{tail}"
            case ["features", stage, block, "block", item, inner, tail]:
                expanded = f"features.{stage}.{block}.block.3.0.weight" in shapes
                part = PARTS.get((int(item) + (not expanded), inner))
                if part is not None:
                    ours = (EXPANDED if expanded else UNEXPANDED)[part]
                    names[key] = f"blocks.{int(stage) - 1}.{block}.{ours}.{tail}"
            case ["classifier", "1", tail]:
                names[key] = f"classifier.{tail}"
    return names
