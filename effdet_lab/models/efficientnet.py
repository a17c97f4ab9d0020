"""EfficientNet, MobileNet and their kin, as classifiers and as detectors' backbones.

B batch, C channels, H W image or feature size, K classes

Modules carry timm's names, so that published weights load by key.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

from torch import Tensor, nn

from effdet_lab.models.layers import (
    DropPath,
    SqueezeExcite,
    activation,
    conv2d,
    dense_uniform,
    fan_out_normal,
    init_convs,
    norm,
)
from effdet_lab.stages import StageSpec

MBCONV_NAMES = ("conv_pw", "bn1", "act1", "conv_dw", "bn2", "act2", "se", "conv_pwl", "bn3")
# Without an expansion timm starts counting at the depthwise convolution and calls the projection conv_pw.
MBCONV_NAMES_UNEXPANDED = ("conv_dw", "bn1", "act1", "se", "conv_pw", "bn2")


class MBConv(nn.Sequential):
    """Expand the channels, filter each one, gate them, project them back; a residual where the shape stays.

    Source: Tan & Le 2019, section 4; tensorflow/tpu efficientnet_model.py, MBConvBlock.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int,
        expand_ratio: int,
        se_ratio: float,
        skip: bool = True,
        activation_name: str = "silu",
        padding: str = "same",
        norm_eps: float = 1e-3,
        norm_momentum: float = 0.01,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.is_residual = skip and stride == 1 and in_channels == out_channels
        expanded = in_channels * expand_ratio
        normed = partial(norm, eps=norm_eps, momentum=norm_momentum)
        # The gate's bottleneck is a share of the block's input, not of the expanded channels.
        reduced = max(1, int(in_channels * se_ratio))
        gate = SqueezeExcite(expanded, reduced, activation_name) if se_ratio else nn.Identity()
        layers = [
            conv2d(expanded, expanded, kernel_size, stride=stride, groups=expanded, padding=padding),
            normed(expanded),
            activation(activation_name),
            gate,
            conv2d(expanded, out_channels, 1),
            normed(out_channels),
        ]
        if expand_ratio > 1:
            layers = [conv2d(in_channels, expanded, 1), normed(expanded), activation(activation_name), *layers]
        names = MBCONV_NAMES if expand_ratio > 1 else MBCONV_NAMES_UNEXPANDED
        for name, layer in zip(names, layers, strict=True):
            self.add_module(name, layer)
        if self.is_residual:
            self.drop_path = DropPath(drop_path)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        branch_BCHW = super().forward(x_BCHW)
        return x_BCHW + branch_BCHW if self.is_residual else branch_BCHW


class PlainBlock(nn.Sequential):
    """Convolutions, each normed and activated; a residual where the shape stays.

    A separable block filters each channel, then mixes them; a conv does both at once. Source: Howard et al. 2017,
    figure 3; Tan et al., MnasNet (CVPR 2019), section 4.1.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int,
        is_separable: bool,
        skip: bool,
        activation_name: str,
        padding: str,
        norm_eps: float,
        norm_momentum: float,
        drop_path: float,
    ) -> None:
        super().__init__()
        self.is_residual = skip and stride == 1 and in_channels == out_channels
        strided = {"stride": stride, "padding": padding}
        if is_separable:
            self.conv_dw = conv2d(in_channels, in_channels, kernel_size, groups=in_channels, **strided)
            self.bn1 = norm(in_channels, norm_eps, norm_momentum)
            self.act1 = activation(activation_name)
            self.conv_pw = conv2d(in_channels, out_channels, 1)
            self.bn2 = norm(out_channels, norm_eps, norm_momentum)
            self.act2 = activation(activation_name)
        else:
            self.conv = conv2d(in_channels, out_channels, kernel_size, **strided)
            self.bn1 = norm(out_channels, norm_eps, norm_momentum)
            self.act1 = activation(activation_name)
        if self.is_residual:
            self.drop_path = DropPath(drop_path)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        if not self.is_residual:
            return super().forward(x_BCHW)
        return x_BCHW + super().forward(x_BCHW)


class EfficientNet(nn.Module):
    """A stem, stages of equal blocks and, for a classifier, a head.

    Source: Tan & Le 2019, table 1. Without `head_channels` the classifier follows the last stage. `drop_path` is the
    rate a block after the last would have; it grows linearly from 0 over all blocks and acts on the residual ones.
    Shapes: images_BCHW, normalised -> logits_BK.
    """

    parts: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "stem": ("conv_stem", "bn1"),
        "stages": ("blocks",),
        "head": ("conv_head", "bn2", "classifier"),
    }

    def __init__(
        self,
        *,
        stages: Sequence[StageSpec],
        stem_channels: int,
        head_channels: int,
        num_classes: int,
        activation_name: str = "silu",
        padding: str = "same",
        norm_eps: float = 1e-3,
        norm_momentum: float = 0.01,
        drop_path: float = 0.2,
        dropout: float = 0.2,
        with_head: bool = True,
    ) -> None:
        super().__init__()
        normed = partial(norm, eps=norm_eps, momentum=norm_momentum)
        self.conv_stem = conv2d(3, stem_channels, 3, stride=2, padding=padding)
        self.bn1 = normed(stem_channels)
        self.act1 = activation(activation_name)
        self.blocks = nn.Sequential()
        num_blocks = sum(stage.repeats for stage in stages)
        block_number = 0
        for stage in stages:
            blocks = nn.Sequential()
            for repeat in range(stage.repeats):
                block = _block(
                    stage,
                    in_channels=stage.out_channels if repeat else stage.in_channels,
                    stride=1 if repeat else stage.stride,
                    activation_name=activation_name,
                    padding=padding,
                    norm_eps=norm_eps,
                    norm_momentum=norm_momentum,
                    drop_path=drop_path * block_number / num_blocks,
                )
                blocks.append(block)
                block_number += 1
            self.blocks.append(blocks)
        # A map is taken after the last stage of its stride.
        next_strides = [*(stage.stride for stage in stages[1:]), 2]
        self.tapped_stages = tuple(index for index, stride in enumerate(next_strides) if stride > 1)
        self.channels = tuple(stages[index].out_channels for index in self.tapped_stages)
        strides = [2]
        for stage in stages:
            strides.append(strides[-1] * stage.stride)
        self.strides = tuple(strides[index + 1] for index in self.tapped_stages)

        if with_head:
            channels = stages[-1].out_channels
            if head_channels:
                self.conv_head = conv2d(channels, head_channels, 1)
                self.bn2 = normed(head_channels)
                self.act2 = activation(activation_name)
                channels = head_channels
            self.head_channels = head_channels
            self.dropout = nn.Dropout(dropout)
            self.classifier = nn.Linear(channels, num_classes)
            dense_uniform(self.classifier)
        init_convs(self, fan_out_normal)

    def features(self, images_BCHW: Tensor) -> list[Tensor]:
        """The last map of each stride, finest first: `channels` and `strides` describe them."""
        x_BCHW = self.act1(self.bn1(self.conv_stem(images_BCHW)))
        maps = []
        for index, stage in enumerate(self.blocks):
            x_BCHW = stage(x_BCHW)
            if index in self.tapped_stages:
                maps.append(x_BCHW)
        return maps

    def forward(self, images_BCHW: Tensor) -> Tensor:
        x_BCHW = self.features(images_BCHW)[-1]
        if self.head_channels:
            x_BCHW = self.act2(self.bn2(self.conv_head(x_BCHW)))
        return self.classifier(self.dropout(x_BCHW.mean((2, 3))))


def _block(stage: StageSpec, **arguments: Any) -> MBConv | PlainBlock:
    """One block of a stage."""
    shape = {"out_channels": stage.out_channels, "kernel_size": stage.kernel_size, "skip": stage.skip}
    if stage.operator == "mbconv":
        return MBConv(expand_ratio=stage.expand_ratio, se_ratio=stage.se_ratio, **shape, **arguments)
    return PlainBlock(is_separable=stage.operator == "separable", **shape, **arguments)
