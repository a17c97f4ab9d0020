"""Parameters and multiply-adds of a settled network, by arithmetic alone: a millisecond, where building takes a second.

It knows the networks that scaling grows; `models/counting.py` counts any network by running it without numbers, and the
tests hold both together.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from effdet_lab.spec import BiFPNSpec, ClassifierSpec, DetectorSpec, EfficientNetSpec, ModelSpec, ResNetSpec
from effdet_lab.stages import StageSpec
from effdet_lab.topology import feature_sizes, pyramid_nodes

Extents = tuple[int, int]  # height and width of a map
Scaled = EfficientNetSpec | ResNetSpec
IN_CHANNELS = 3
BASIC_BLOCKS = ("resnet18", "resnet34")  # two 3x3 convolutions; the others are bottlenecks
BOTTLENECK = 4  # a bottleneck gives so many times the channels it works with


class Count(NamedTuple):
    """What the papers print of a network."""

    parameters: int  # trainable ones
    multiply_adds: int  # of convolutions and matrix products, for one picture


def can_count(model: ModelSpec) -> bool:
    """Whether its backbone is one of those that scaling grows."""
    return isinstance(model.backbone, Scaled)


def count_model(model: ModelSpec, num_classes: int) -> Count:
    """One picture of the model's own size; False `can_count` is a mistake of the caller."""
    backbone, extents = model.backbone, model.input.image_size
    assert isinstance(backbone, Scaled), backbone
    counts = [*_backbone(backbone, extents)]
    if isinstance(model, ClassifierSpec):
        return _sum([*counts, *_classifier(backbone, num_classes, extents)])
    return _sum([*counts, *_pyramid(model, _map_channels(backbone), extents), *_heads(model, num_classes, extents)])


def _backbone(backbone: Scaled, extents: Extents) -> Iterator[Count]:
    if isinstance(backbone, ResNetSpec):
        yield from _resnet(backbone, extents)
        return
    extents = _halved(extents)
    yield _conv(IN_CHANNELS, backbone.stem_channels, 3, extents)
    for stage in backbone.stages:
        for repeat in range(stage.repeats):
            channels = stage.out_channels if repeat else stage.in_channels
            outside = extents
            if stage.stride == 2 and not repeat:
                extents = _halved(extents)
            yield from _block(stage, channels, outside, extents)


def _block(stage: StageSpec, channels: int, outside: Extents, extents: Extents) -> Iterator[Count]:
    """One block; `outside` are the extents of its input."""
    if stage.operator == "conv":
        yield _conv(channels, stage.out_channels, stage.kernel_size, extents)
        return
    expanded = channels * stage.expand_ratio
    if stage.expand_ratio > 1:
        yield _conv(channels, expanded, 1, outside)
    yield _depthwise(expanded, stage.kernel_size, extents)
    if stage.se_ratio:
        reduced = max(1, int(channels * stage.se_ratio))
        yield _conv(expanded, reduced, 1, (1, 1), bias=True, normed=False)
        yield _conv(reduced, expanded, 1, (1, 1), bias=True, normed=False)
    yield _conv(expanded, stage.out_channels, 1, extents)


def _resnet(backbone: ResNetSpec, extents: Extents) -> Iterator[Count]:
    extents = _halved(extents)
    yield _conv(IN_CHANNELS, backbone.stem_channels, 7, extents)
    extents = _halved(extents)  # the pooling after the stem
    channels = backbone.stem_channels
    is_basic = backbone.architecture in BASIC_BLOCKS
    for index, (inner, repeats) in enumerate(zip(backbone.channels, backbone.repeats, strict=True)):
        outer = inner if is_basic else BOTTLENECK * inner
        for repeat in range(repeats):
            outside = extents
            if index and not repeat:
                extents = _halved(extents)
            if is_basic:
                yield _conv(channels, inner, 3, extents)
            else:
                yield _conv(channels, inner, 1, outside)
                yield _conv(inner, inner, 3, extents)
            yield _conv(inner, outer, 3 if is_basic else 1, extents)
            if not repeat and (channels != outer or index):
                yield _conv(channels, outer, 1, extents)  # the shortcut
            channels = outer


def _classifier(backbone: Scaled, num_classes: int, extents: Extents) -> Iterator[Count]:
    channels = _map_channels(backbone)[-1]
    if isinstance(backbone, EfficientNetSpec) and backbone.head_channels:
        strides = 1 + sum(stage.stride == 2 for stage in backbone.stages)
        yield _conv(channels, backbone.head_channels, 1, _halved(extents, strides))
        channels = backbone.head_channels
    yield _conv(channels, num_classes, 1, (1, 1), bias=True, normed=False)


def _pyramid(model: DetectorSpec, map_channels: Sequence[int], extents: Extents) -> Iterator[Count]:
    bifpn = model.bifpn
    sizes = feature_sizes(*extents, bifpn.min_level, bifpn.max_level)
    nodes = pyramid_nodes(bifpn.topology, bifpn.min_level, bifpn.max_level)
    map_sizes = [*sizes, *(sizes[node.level - bifpn.min_level] for node in nodes)]
    channels = list(map_channels[-3:])
    for level in range(len(channels), len(sizes)):
        yield from _lateral(channels[-1], sizes[level - 1], bifpn)
        channels.append(bifpn.channels)
    for _ in range(bifpn.repeats):
        channels += [bifpn.channels] * len(nodes)
        for node in nodes:
            for number in node.inputs:
                yield from _lateral(channels[number], map_sizes[number], bifpn)
            if bifpn.fusion != "sum":
                yield Count(len(node.inputs), 0)
            yield from _separable(bifpn.channels, bifpn, [sizes[node.level - bifpn.min_level]])
            yield Count(2 * bifpn.channels, 0)
        channels = [bifpn.channels] * len(sizes)


def _lateral(channels: int, extents: Extents, bifpn: BiFPNSpec) -> Iterator[Count]:
    """Brings a map to the pyramid's channels, where it has others."""
    if channels != bifpn.channels:
        yield _conv(channels, bifpn.channels, 1, extents, bias=bifpn.redundant_bias)


def _heads(model: DetectorSpec, num_classes: int, extents: Extents) -> Iterator[Count]:
    bifpn, head = model.bifpn, model.head
    sizes = feature_sizes(*extents, bifpn.min_level, bifpn.max_level)
    anchors = head.octaves * len(head.aspect_ratios)
    for outputs in (num_classes, 4):
        for _ in range(head.repeats):
            yield from _separable(bifpn.channels, bifpn, sizes)
            yield Count(2 * bifpn.channels * len(sizes), 0)  # each level has norms of its own
        yield from _separable(bifpn.channels, bifpn, sizes, anchors * outputs)


def _separable(
    channels: int, bifpn: BiFPNSpec, sizes: Sequence[Extents], out_channels: int | None = None
) -> Iterator[Count]:
    """A depthwise 3x3 and a pointwise convolution, the same for maps of all these sizes; the norm is not counted."""
    pixels = sum(map(math.prod, sizes))
    yield Count(9 * channels, 9 * channels * pixels)
    mixed = channels * (out_channels or channels)
    # Without a norm after it a convolution always has its bias.
    has_bias = bifpn.redundant_bias or out_channels is not None
    yield Count(mixed + (out_channels or channels) * has_bias, mixed * pixels)


def _map_channels(backbone: Scaled) -> list[int]:
    """Of the last map of each stride, finest first."""
    if isinstance(backbone, ResNetSpec):
        factor = 1 if backbone.architecture in BASIC_BLOCKS else BOTTLENECK
        return [factor * channels for channels in backbone.channels]
    next_strides = [*(stage.stride for stage in backbone.stages[1:]), 2]
    return [stage.out_channels for stage, stride in zip(backbone.stages, next_strides, strict=True) if stride > 1]


def _conv(
    in_channels: int, out_channels: int, kernel_size: int, extents: Extents, *, bias: bool = False, normed: bool = True
) -> Count:
    """A convolution, with its norm unless there is none; `extents` are those of its output."""
    weights = in_channels * out_channels * kernel_size**2
    return Count(weights + out_channels * (bias + 2 * normed), weights * math.prod(extents))


def _depthwise(channels: int, kernel_size: int, extents: Extents) -> Count:
    weights = channels * kernel_size**2
    return Count(weights + 2 * channels, weights * math.prod(extents))


def _halved(extents: Extents, times: int = 1) -> Extents:
    """Upwards, as every strided layer does."""
    height, width = extents
    return -(-height // 2**times), -(-width // 2**times)


def _sum(counts: Iterable[Count]) -> Count:
    parameters, multiply_adds = 0, 0
    for count in counts:
        parameters += count.parameters
        multiply_adds += count.multiply_adds
    return Count(parameters, multiply_adds)
