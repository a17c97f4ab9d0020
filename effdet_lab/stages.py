"""EfficientNet-B0 as seven rows, and the rounding that scales them.

Source: Tan & Le, EfficientNet (ICML 2019), table 1; tensorflow/tpu efficientnet_builder.py.
"""

import math
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class StageSpec:
    """A run of MBConv blocks; only the first one strides and changes the channels."""

    kernel_size: int
    stride: int
    expand_ratio: int
    in_channels: int
    out_channels: int
    repeats: int
    se_ratio: float  # of the block's input channels; 0 means no squeeze-excite


STEM_CHANNELS = 32
HEAD_CHANNELS = 1280
B0_STAGES = (
    StageSpec(kernel_size=3, stride=1, expand_ratio=1, in_channels=32, out_channels=16, repeats=1, se_ratio=0.25),
    StageSpec(kernel_size=3, stride=2, expand_ratio=6, in_channels=16, out_channels=24, repeats=2, se_ratio=0.25),
    StageSpec(kernel_size=5, stride=2, expand_ratio=6, in_channels=24, out_channels=40, repeats=2, se_ratio=0.25),
    StageSpec(kernel_size=3, stride=2, expand_ratio=6, in_channels=40, out_channels=80, repeats=3, se_ratio=0.25),
    StageSpec(kernel_size=5, stride=1, expand_ratio=6, in_channels=80, out_channels=112, repeats=3, se_ratio=0.25),
    StageSpec(kernel_size=5, stride=2, expand_ratio=6, in_channels=112, out_channels=192, repeats=4, se_ratio=0.25),
    StageSpec(kernel_size=3, stride=1, expand_ratio=6, in_channels=192, out_channels=320, repeats=1, se_ratio=0.25),
)


@dataclass(frozen=True)
class ScaledStages:
    """The channels and stages of one scaled network."""

    stem_channels: int
    stages: tuple[StageSpec, ...]
    head_channels: int


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


def scaled_stages(width: float, depth: float) -> ScaledStages:
    """EfficientNet: every stage, the stem and the head are scaled."""
    stages = tuple(
        replace(
            stage,
            in_channels=round_channels(stage.in_channels * width),
            out_channels=round_channels(stage.out_channels * width),
            repeats=round_repeats(stage.repeats * depth),
        )
        for stage in B0_STAGES
    )
    return ScaledStages(stages[0].in_channels, stages, round_channels(HEAD_CHANNELS * width))


def scaled_lite_stages(width: float, depth: float) -> ScaledStages:
    """EfficientNet-Lite: no squeeze-excite; stem, head and the repeats of the first and last stage stay.

    Source: tensorflow/tpu efficientnet/lite/efficientnet_lite_builder.py (fix_head_stem).
    """
    scaled = scaled_stages(width, depth).stages
    stages = [replace(stage, se_ratio=0.0) for stage in scaled]
    stages[0] = replace(stages[0], in_channels=STEM_CHANNELS, repeats=B0_STAGES[0].repeats)
    stages[-1] = replace(stages[-1], repeats=B0_STAGES[-1].repeats)
    return ScaledStages(STEM_CHANNELS, tuple(stages), HEAD_CHANNELS)
