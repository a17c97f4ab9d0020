"""Base networks as rows of stages, and the rounding that scales them.

Sources: Tan & Le, EfficientNet (ICML 2019), table 1; tensorflow/tpu efficientnet_builder.py; Howard et al., MobileNets
(2017), table 1; Sandler et al., MobileNetV2 (CVPR 2018), table 2; He et al., ResNet (CVPR 2016), table 1.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

Operator = Literal["mbconv", "separable", "conv"]
Activation = Literal["silu", "relu6"]
Family = Literal["efficientnet", "efficientnet_lite", "mobilenet_v1", "mobilenet_v2", "staged", "resnet"]


@dataclass(frozen=True)
class StageSpec:
    """A run of equal blocks; only the first one strides and changes the channels.

    An MBConv expands, filters each channel, gates and projects; a separable block filters each channel and mixes them,
    with an activation after both, as MobileNet V1 does; a conv is one convolution.
    """

    kernel_size: int
    stride: int
    expand_ratio: int
    in_channels: int
    out_channels: int
    repeats: int
    se_ratio: float  # of the block's input channels; 0 means no squeeze-excite
    operator: Operator = "mbconv"
    skip: bool = True  # a residual where the shape stays


@dataclass(frozen=True)
class Network:
    """A stem, stages and a head; a base network, or one that was scaled."""

    stem_channels: int
    stages: tuple[StageSpec, ...]
    head_channels: int  # 0: the classifier follows the last stage
    activation: Activation = "silu"
    has_fixed_ends: bool = False  # scaling leaves stem, head and the repeats of the first and last stage alone


@dataclass(frozen=True)
class Row:
    """A stage as the papers print it."""

    expand_ratio: int
    channels: int
    repeats: int
    stride: int
    kernel_size: int = 3


def stages_of(
    stem_channels: int, rows: tuple[Row, ...], se_ratio: float = 0.0, operator: Operator = "mbconv", skip: bool = True
) -> tuple[StageSpec, ...]:
    """Stages of one kind, each of which takes what the one before gives."""
    inputs = (stem_channels, *(row.channels for row in rows))
    return tuple(
        StageSpec(
            kernel_size=row.kernel_size,
            stride=row.stride,
            expand_ratio=row.expand_ratio,
            in_channels=channels,
            out_channels=row.channels,
            repeats=row.repeats,
            se_ratio=se_ratio,
            operator=operator,
            skip=skip,
        )
        for row, channels in zip(rows, inputs, strict=False)
    )


B0_ROWS = (
    Row(expand_ratio=1, channels=16, repeats=1, stride=1, kernel_size=3),
    Row(expand_ratio=6, channels=24, repeats=2, stride=2, kernel_size=3),
    Row(expand_ratio=6, channels=40, repeats=2, stride=2, kernel_size=5),
    Row(expand_ratio=6, channels=80, repeats=3, stride=2, kernel_size=3),
    Row(expand_ratio=6, channels=112, repeats=3, stride=1, kernel_size=5),
    Row(expand_ratio=6, channels=192, repeats=4, stride=2, kernel_size=5),
    Row(expand_ratio=6, channels=320, repeats=1, stride=1, kernel_size=3),
)
MOBILENET_V1_ROWS = (
    Row(expand_ratio=1, channels=64, repeats=1, stride=1),
    Row(expand_ratio=1, channels=128, repeats=2, stride=2),
    Row(expand_ratio=1, channels=256, repeats=2, stride=2),
    Row(expand_ratio=1, channels=512, repeats=6, stride=2),
    Row(expand_ratio=1, channels=1024, repeats=2, stride=2),
)
MOBILENET_V2_ROWS = (
    Row(expand_ratio=1, channels=16, repeats=1, stride=1),
    Row(expand_ratio=6, channels=24, repeats=2, stride=2),
    Row(expand_ratio=6, channels=32, repeats=3, stride=2),
    Row(expand_ratio=6, channels=64, repeats=4, stride=2),
    Row(expand_ratio=6, channels=96, repeats=3, stride=1),
    Row(expand_ratio=6, channels=160, repeats=3, stride=2),
    Row(expand_ratio=6, channels=320, repeats=1, stride=1),
)
EFFICIENTNET_B0 = Network(32, stages_of(32, B0_ROWS, se_ratio=0.25), 1280)
# No squeeze-excite. Source: tensorflow/tpu efficientnet/lite/efficientnet_lite_builder.py (fix_head_stem).
EFFICIENTNET_LITE0 = Network(32, stages_of(32, B0_ROWS), 1280, "relu6", has_fixed_ends=True)
MOBILENET_V1 = Network(32, stages_of(32, MOBILENET_V1_ROWS, operator="separable", skip=False), 0, "relu6")
MOBILENET_V2 = Network(32, stages_of(32, MOBILENET_V2_ROWS), 1280, "relu6")
NETWORKS: dict[Family, Network] = {
    "efficientnet": EFFICIENTNET_B0,
    "efficientnet_lite": EFFICIENTNET_LITE0,
    "mobilenet_v1": MOBILENET_V1,
    "mobilenet_v2": MOBILENET_V2,
}


def round_channels(channels: float, divisor: int = 8) -> int:
    """The nearest multiple of the divisor that loses no more than a tenth.

    Source: tensorflow/tpu efficientnet_model.py, round_filters.

    >>> round_channels(32 * 1.1), round_channels(16 * 1.2)
    (32, 24)
    """
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


def round_repeats(repeats: float) -> int:
    """Repeats round up; the allowance keeps 1.1 * 10 at 11 where floating point says 11.000000000000002."""
    return max(1, math.ceil(repeats - 1e-9))


def scaled(network: Network, width: float, depth: float) -> Network:
    """Every stage, the stem and the head, unless the network's ends are fixed.

    >>> [stage.repeats for stage in scaled(EFFICIENTNET_B0, 1.0, 3.1).stages]
    [4, 7, 7, 10, 10, 13, 4]
    """
    ends = (0, len(network.stages) - 1) if network.has_fixed_ends else ()
    stages = tuple(
        replace(
            stage,
            in_channels=round_channels(stage.in_channels * width),
            out_channels=round_channels(stage.out_channels * width),
            repeats=stage.repeats if index in ends else round_repeats(stage.repeats * depth),
        )
        for index, stage in enumerate(network.stages)
    )
    if network.has_fixed_ends:
        return replace(network, stages=(replace(stages[0], in_channels=network.stem_channels), *stages[1:]))
    head_channels = round_channels(network.head_channels * width) if network.head_channels else 0
    return replace(network, stem_channels=stages[0].in_channels, stages=stages, head_channels=head_channels)


@dataclass(frozen=True)
class ResNetStages:
    """A ResNet as scaling sees it."""

    stem_channels: int
    channels: tuple[int, ...]  # of each stage, within its bottlenecks
    repeats: tuple[int, ...]


RESNET_CHANNELS = (64, 128, 256, 512)
# Blocks of each stage, by timm's name. ResNet-200: He et al., Identity Mappings (ECCV 2016).
RESNET_REPEATS = {
    "resnet18": (2, 2, 2, 2),
    "resnet34": (3, 4, 6, 3),
    "resnet50": (3, 4, 6, 3),
    "resnet101": (3, 4, 23, 3),
    "resnet152": (3, 8, 36, 3),
    "resnet200": (3, 24, 36, 3),
}


def scaled_resnet(architecture: str, width: float, depth: float) -> ResNetStages:
    """A ResNet whose stages and stem are widened, and whose stages are deepened.

    >>> scaled_resnet("resnet50", 1.2, 1.4)
    ResNetStages(stem_channels=80, channels=(80, 152, 304, 616), repeats=(5, 6, 9, 5))
    """
    channels = tuple(round_channels(channels * width) for channels in RESNET_CHANNELS)
    repeats = tuple(round_repeats(repeats * depth) for repeats in RESNET_REPEATS[architecture])
    return ResNetStages(channels[0], channels, repeats)
