"""The published networks as rows, and builders of ours by their names."""

from typing import NamedTuple

import torch
from torch import nn

from effdet_lab.models.bifpn import BiFPN
from effdet_lab.models.efficientdet import EfficientDet
from effdet_lab.models.efficientnet import EfficientNet
from effdet_lab.models.heads import CLASS_PRIOR_LOGIT, Head
from effdet_lab.stages import NETWORKS, scaled

# Width and depth. Source: tensorflow/tpu efficientnet_builder.py and lite/efficientnet_lite_builder.py.
MULTIPLIERS = {
    "b0": (1.0, 1.0),
    "b1": (1.0, 1.1),
    "b2": (1.1, 1.2),
    "b3": (1.2, 1.4),
    "b4": (1.4, 1.8),
    "b5": (1.6, 2.2),
    "b6": (1.8, 2.6),
    "b7": (2.0, 3.1),
    "b8": (2.2, 3.6),
    "lite0": (1.0, 1.0),
    "lite1": (1.0, 1.1),
    "lite2": (1.1, 1.2),
    "lite3": (1.2, 1.4),
    "lite4": (1.4, 1.8),
}


class DetectorRow(NamedTuple):
    backbone: str
    channels: int
    repeats: int
    head_repeats: int
    fusion: str
    max_level: int


# Source: google/automl hparams_config.py.
DETECTORS = {
    "d0": DetectorRow("b0", 64, 3, 3, "fast", 7),
    "d1": DetectorRow("b1", 88, 4, 3, "fast", 7),
    "d2": DetectorRow("b2", 112, 5, 3, "fast", 7),
    "d3": DetectorRow("b3", 160, 6, 4, "fast", 7),
    "d4": DetectorRow("b4", 224, 7, 4, "fast", 7),
    "d5": DetectorRow("b5", 288, 7, 4, "fast", 7),
    "d6": DetectorRow("b6", 384, 8, 5, "sum", 7),
    "d7": DetectorRow("b6", 384, 8, 5, "sum", 7),
    "d7x": DetectorRow("b7", 384, 8, 5, "sum", 8),
    "lite0": DetectorRow("lite0", 64, 3, 3, "sum", 7),
    "lite1": DetectorRow("lite1", 88, 4, 3, "sum", 7),
    "lite2": DetectorRow("lite2", 112, 5, 3, "sum", 7),
    "lite3": DetectorRow("lite3", 160, 6, 4, "sum", 7),
    "lite3x": DetectorRow("lite3", 200, 6, 4, "sum", 7),
    "lite4": DetectorRow("lite4", 224, 7, 4, "sum", 7),
}


def build_efficientnet(name: str, **arguments: object) -> EfficientNet:
    is_lite = name.startswith("lite")
    network = scaled(NETWORKS["efficientnet_lite" if is_lite else "efficientnet"], *MULTIPLIERS[name])
    arguments = {"num_classes": 1000, "activation_name": "relu6" if is_lite else "silu", **arguments}
    return EfficientNet(
        stages=network.stages, stem_channels=network.stem_channels, head_channels=network.head_channels, **arguments
    )


def build_efficientdet(
    name: str, num_classes: int = 90, redundant_bias: bool = True, drop_path: float = 0.0, fusion: str | None = None
):
    row = DETECTORS[name]
    activation_name = "relu6" if name.startswith("lite") else "silu"
    backbone = build_efficientnet(row.backbone, with_head=False, drop_path=drop_path)
    shared = {"channels": row.channels, "activation_name": activation_name, "redundant_bias": redundant_bias}
    fpn = BiFPN(
        in_channels=backbone.channels[-3:],
        repeats=row.repeats,
        max_level=row.max_level,
        fusion=fusion or row.fusion,
        **shared,
    )
    shared |= {"repeats": row.head_repeats, "num_levels": row.max_level - 2, "num_anchors": 9}
    class_net = Head(num_outputs=num_classes, output_bias=CLASS_PRIOR_LOGIT, **shared)
    return EfficientDet(backbone, fpn, class_net, Head(num_outputs=4, **shared))


def randomise(model: nn.Module) -> nn.Module:
    """Statistics, scales and biases away from the 0 and 1 that hide mistakes."""
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.7, 1.3)
                module.bias.normal_(std=0.2)
                module.running_mean.normal_(std=0.2)
                module.running_var.uniform_(0.7, 1.3)
            elif isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
                module.bias.normal_(std=0.2)
        for name, parameter in model.named_parameters():
            if name.endswith("edge_weights"):
                parameter.uniform_(-0.3, 1.5)
    return model


def relative_difference(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return ((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1e-12)).item()
