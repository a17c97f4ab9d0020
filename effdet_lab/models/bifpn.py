"""The BiFPN: a pyramid of maps, fused from coarse to fine and back, several times, with learnt weights.

The same parts, wired otherwise, make the feature networks its paper compares it with.

B batch, C channels, H W feature size, N maps that a node fuses

Modules carry effdet's names, so that published weights load by key.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from effdet_lab.models.layers import SeparableConv, activation, conv2d, glorot_uniform, init_convs, max_pool, norm
from effdet_lab.topology import Node, Topology, pyramid_nodes, pyramid_outputs

FAST_FUSION_EPS = 1e-4


def fast_shares(weights_N: Tensor) -> Tensor:
    """Nearly softmax, without its exponentials. Source: Tan et al. 2020, section 3.3, fast normalized fusion."""
    weights_N = weights_N.relu()
    return weights_N / (weights_N.sum() + FAST_FUSION_EPS)


def softmax_shares(weights_N: Tensor) -> Tensor:
    """Source: Tan et al. 2020, section 3.3, softmax-based fusion."""
    return weights_N.softmax(dim=0)


# What a node's learnt weights mean; a sum learns none.
FUSIONS: dict[str, Callable[[Tensor], Tensor] | None] = {"fast": fast_shares, "softmax": softmax_shares, "sum": None}


class Resample(nn.Module):
    """Brings a map to a node's channels, then to its level.

    Source: google/automl efficientdet_keras.py, ResampleFeatureMap.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        levels_up: int,
        *,
        norm_eps: float,
        norm_momentum: float,
        redundant_bias: bool,
        padding: str = "same",
    ) -> None:
        super().__init__()
        self.levels_up = levels_up
        self.padding_rule = padding
        self.conv = nn.Sequential()
        if in_channels != out_channels:
            self.conv.add_module("conv", conv2d(in_channels, out_channels, 1, bias=redundant_bias))
            self.conv.add_module("bn", norm(out_channels, norm_eps, norm_momentum))

    def forward(self, x_BCHW: Tensor, size: Sequence[int] | None = None) -> Tensor:
        """A map from a coarser level grows to `size`: by size, not twofold, because an extent of 5 halves to 3."""
        x_BCHW = self.conv(x_BCHW)
        if self.levels_up > 0:
            return max_pool(x_BCHW, self.padding_rule, stride=2**self.levels_up)
        if self.levels_up < 0:
            return F.interpolate(x_BCHW, size=size, mode="nearest")
        return x_BCHW


class Combine(nn.Module):
    """Resamples every map that a node fuses, each by layers of its own, and adds them by weight.

    Shapes: N maps of any level -> fused_BCHW, of height and width `size`.
    """

    def __init__(self, resample: dict[int, Resample], fusion: str) -> None:
        super().__init__()
        self.resample = nn.ModuleDict({str(number): layer for number, layer in resample.items()})
        self.shares = FUSIONS[fusion]
        self.edge_weights = nn.Parameter(torch.ones(len(resample))) if self.shares else None

    def forward(self, maps_BCHW: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        resampled = [layer(map_BCHW, size) for layer, map_BCHW in zip(self.resample.values(), maps_BCHW, strict=True)]
        if self.shares is not None:
            shares = self.shares(self.edge_weights).unbind()
            resampled = [share * map_BCHW for share, map_BCHW in zip(shares, resampled, strict=True)]
        return reduce(torch.add, resampled)


class FusionNode(nn.Module):
    """Fuses maps, then activates, convolves and norms: in this order, unlike the paper's text.

    Source: google/automl efficientdet_keras.py, FNode and OpAfterCombine.
    """

    def __init__(self, combine: Combine, activation_name: str, conv: SeparableConv) -> None:
        super().__init__()
        self.combine = combine
        self.after_combine = nn.Sequential(OrderedDict(act=activation(activation_name), conv=conv))

    def forward(self, maps_BCHW: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        return self.after_combine(self.combine(maps_BCHW, size))


class Cell(nn.Module):
    """One pass through the pyramid: for BiFPN, down and up.

    Shapes: one map per level, finest first -> as many, of the same heights and widths.
    """

    def __init__(
        self, nodes: Sequence[Node], outputs: Sequence[int], fnode: Sequence[FusionNode], min_level: int
    ) -> None:
        super().__init__()
        self.wires = tuple((node.level - min_level, node.inputs) for node in nodes)
        self.outputs = tuple(outputs)
        self.fnode = nn.ModuleList(fnode)

    def forward(self, maps_BCHW: Sequence[Tensor]) -> list[Tensor]:
        maps_BCHW = list(maps_BCHW)
        for (same_level, inputs), fusion_node in zip(self.wires, self.fnode, strict=True):
            size = maps_BCHW[same_level].shape[2:]
            maps_BCHW.append(fusion_node([maps_BCHW[number] for number in inputs], size))
        return [maps_BCHW[number] for number in self.outputs]


class BiFPN(nn.Module):
    """Pools the backbone's last map to the coarser levels, then repeats one cell, wired as `topology` says.

    `in_channels` are the backbone's, from `min_level` up. `redundant_bias` keeps the biases that a norm follows, as
    the published weights have them.
    Source: Tan et al. 2020, section 3; google/automl tf2/fpn_configs.py.
    Shapes: one map per entry of in_channels, finest first -> one map per level, each of `channels`.
    """

    def __init__(
        self,
        *,
        in_channels: Sequence[int],
        channels: int,
        repeats: int,
        min_level: int = 3,
        max_level: int = 7,
        fusion: str = "fast",
        activation_name: str = "silu",
        norm_eps: float = 1e-3,
        norm_momentum: float = 0.01,
        redundant_bias: bool = True,
        padding: str = "same",
        topology: Topology = "bifpn",
    ) -> None:
        super().__init__()
        self.num_inputs = len(in_channels)
        shared = {
            "norm_eps": norm_eps,
            "norm_momentum": norm_momentum,
            "redundant_bias": redundant_bias,
            "padding": padding,
        }
        nodes = pyramid_nodes(topology, min_level, max_level)
        outputs = pyramid_outputs(topology, min_level, max_level)
        num_levels = max_level - min_level + 1
        map_levels = [*range(min_level, max_level + 1), *(node.level for node in nodes)]

        def resample(in_channels: int, levels_up: int) -> Resample:
            return Resample(in_channels, channels, levels_up, **shared)

        def fusion_node(node: Node, map_channels: Sequence[int]) -> FusionNode:
            edges = {number: resample(map_channels[number], node.level - map_levels[number]) for number in node.inputs}
            conv = SeparableConv(channels, channels, bias=redundant_bias)
            conv.add_module("bn", norm(channels, norm_eps, norm_momentum))
            return FusionNode(Combine(edges, fusion), activation_name, conv)

        self.resample = nn.ModuleDict()
        map_channels = list(in_channels)
        for level in range(len(in_channels), num_levels):
            self.resample[str(level)] = resample(map_channels[-1], levels_up=1)
            map_channels.append(channels)
        self.cell = nn.Sequential()
        for _ in range(repeats):
            map_channels += [channels] * len(nodes)
            self.cell.append(Cell(nodes, outputs, [fusion_node(node, map_channels) for node in nodes], min_level))
            map_channels = [channels] * num_levels
        init_convs(self, glorot_uniform)

    def forward(self, maps_BCHW: Sequence[Tensor]) -> list[Tensor]:
        maps_BCHW = list(maps_BCHW)
        for resample in self.resample.values():
            maps_BCHW.append(resample(maps_BCHW[-1]))
        return self.cell(maps_BCHW)
