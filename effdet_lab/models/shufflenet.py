"""ShuffleNet V1, as a classifier and as a detector's backbone.

B batch, C channels, H W image or feature size, K classes

Source: Zhang et al., ShuffleNet (CVPR 2018), section 3.3 and table 1; megvii-model/ShuffleNet-Series, ShuffleNetV1.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from effdet_lab.models.layers import conv2d, fan_out_normal, init_convs, norm

# Groups -> channels of the first stage; each next stage has twice as many.
FIRST_CHANNELS = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}
STEM_CHANNELS = 24
# The reference scales the stem too, but for this width.
KEPT_STEMS = {1.5: STEM_CHANNELS}
REPEATS = (4, 8, 4)


class ShuffleNet(nn.Module):
    """ShuffleNet V1: a stem and three stages of grouped convolutions with shuffled channels.

    `groups` is 1, 2, 3, 4 or 8. `width` multiplies the channels, which are then rounded to what the groups divide: the
    reference's networks of 3 and 8 groups and width 0.5, 1, 1.5 and 2 are exact. The shuffle is the paper's.
    Shapes: images_BCHW, normalised -> logits_BK.
    """

    parts: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "stem": ("conv_stem", "bn1"),
        "stages": ("stages",),
        "head": ("classifier",),
    }

    def __init__(
        self,
        *,
        groups: int,
        width: float,
        num_classes: int = 0,
        repeats: Sequence[int] = REPEATS,
        norm_eps: float = 1e-5,
        norm_momentum: float = 0.1,
        dropout: float = 0.0,
        with_head: bool = True,
    ) -> None:
        super().__init__()
        normed = partial(norm, eps=norm_eps, momentum=norm_momentum)
        stem_channels = _multiple(KEPT_STEMS.get(width, STEM_CHANNELS * width), groups)
        # The bottleneck, a quarter of the channels, is grouped too.
        step = 4 * groups
        wider_than_stem = stem_channels // step * step + step
        first_channels = max(_multiple(FIRST_CHANNELS[groups] * width, step), wider_than_stem)
        self.conv_stem = conv2d(3, stem_channels, 3, stride=2, padding="symmetric")
        self.bn1 = normed(stem_channels)
        self.act1 = nn.ReLU(inplace=True)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.stages = nn.Sequential()
        channels = [stem_channels]
        for stage, repeat in enumerate(repeats):
            out_channels = first_channels * 2**stage
            # The very first convolution sees so few channels that it is not grouped.
            blocks = [
                Halving(channels[-1], out_channels, groups, entry_groups=groups if stage else 1, normed=normed),
                *(Residual(out_channels, groups, normed) for _ in range(repeat - 1)),
            ]
            self.stages.append(nn.Sequential(*blocks))
            channels.append(out_channels)
        self.channels = (stem_channels, *channels)
        self.strides = (2, *(4 * 2**stage for stage in range(len(repeats) + 1)))
        if with_head:
            self.dropout = nn.Dropout(dropout)
            self.classifier = nn.Linear(channels[-1], num_classes, bias=False)
        init_convs(self, fan_out_normal)

    def features(self, images_BCHW: Tensor) -> list[Tensor]:
        """The last map of each stride, finest first: `channels` and `strides` describe them."""
        maps = [self.act1(self.bn1(self.conv_stem(images_BCHW)))]
        maps.append(self.pool(maps[-1]))
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps

    def forward(self, images_BCHW: Tensor) -> Tensor:
        return self.classifier(self.dropout(self.features(images_BCHW)[-1].mean((2, 3))))


class Bottleneck(nn.Sequential):
    """A grouped convolution to a quarter of the channels, a shuffle, a depthwise convolution, a grouped one back."""

    def __init__(
        self,
        in_channels: int,
        inner_channels: int,
        out_channels: int,
        groups: int,
        *,
        entry_groups: int,
        stride: int,
        normed: partial,
    ) -> None:
        super().__init__(
            conv2d(in_channels, inner_channels, 1, groups=entry_groups),
            normed(inner_channels),
            nn.ReLU(inplace=True),
            nn.ChannelShuffle(groups),
            conv2d(inner_channels, inner_channels, 3, stride=stride, groups=inner_channels, padding="symmetric"),
            normed(inner_channels),
            conv2d(inner_channels, out_channels, 1, groups=groups),
            normed(out_channels),
        )


class Residual(nn.Module):
    """A bottleneck added to its input: figure 2b."""

    def __init__(self, channels: int, groups: int, normed: partial) -> None:
        super().__init__()
        self.branch = Bottleneck(
            channels, channels // 4, channels, groups, entry_groups=groups, stride=1, normed=normed
        )

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return (x_BCHW + self.branch(x_BCHW)).relu()


class Halving(nn.Module):
    """A bottleneck of stride 2 beside the mean-pooled input: figure 2c."""

    def __init__(self, in_channels: int, out_channels: int, groups: int, *, entry_groups: int, normed: partial) -> None:
        super().__init__()
        self.branch = Bottleneck(
            in_channels,
            out_channels // 4,
            out_channels - in_channels,
            groups,
            entry_groups=entry_groups,
            stride=2,
            normed=normed,
        )
        self.pool = nn.AvgPool2d(3, stride=2, padding=1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return torch.cat([self.pool(x_BCHW), self.branch(x_BCHW).relu()], dim=1)


def _multiple(channels: float, divisor: int) -> int:
    """The nearest multiple, the larger of two.

    >>> _multiple(12, 8), _multiple(272, 16)
    (16, 272)
    """
    return max(1, int(channels / divisor + 0.5)) * divisor
