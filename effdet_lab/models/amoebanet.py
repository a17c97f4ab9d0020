"""AmoebaNet, as a classifier and as a detector's backbone.

B batch, C channels, H W image or feature size, K classes

Source: Real et al., Regularized Evolution for Image Classifier Architecture Search (AAAI 2019), figure 6 and
appendix D; tensorflow/tpu models/official/amoeba_net: model_specs.py (the cells), network_utils.py, model_builder.py.
"""

from collections.abc import Mapping
from functools import partial
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from effdet_lab.models.layers import DropPath, StridedConv2d, conv2d, fan_out_normal, init_convs, norm

STEM_CHANNELS = 32
NUM_STACKS = 3

Operation = tuple[str, int]  # its name, and the number of the state that it reads


class CellSpec(NamedTuple):
    """Sums of two operations each.

    State 0 is the map before the cell, 1 the map before that, 2 and up are the sums in turn.
    """

    sums: tuple[tuple[Operation, Operation], ...]
    outputs: tuple[int, ...]  # the states that are joined; the reference's choice, not only the ones nobody reads


class CellPair(NamedTuple):
    """The cell that a stack repeats and the one that halves a map."""

    normal: CellSpec
    reduction: CellSpec


CELLS = {
    "a": CellPair(
        normal=CellSpec(
            (
                (("avg_pool_3", 0), ("max_pool_3", 0)),
                (("separable_3", 1), ("identity", 1)),
                (("identity", 0), ("avg_pool_3", 1)),
                (("separable_3", 0), ("separable_5", 2)),
                (("avg_pool_3", 5), ("separable_3", 0)),
            ),
            outputs=(1, 3, 4, 6),
        ),
        reduction=CellSpec(
            (
                (("separable_3", 1), ("avg_pool_3", 0)),
                (("max_pool_3", 0), ("separable_7", 2)),
                (("max_pool_3", 1), ("max_pool_3", 0)),
                (("separable_3", 4), ("conv_1x7_7x1", 0)),
                (("avg_pool_3", 1), ("separable_7", 0)),
            ),
            outputs=(2, 3, 4, 5, 6),
        ),
    ),
    "b": CellPair(
        normal=CellSpec(
            (
                (("conv_1", 1), ("max_pool_3", 1)),
                (("identity", 1), ("separable_3", 0)),
                (("conv_1", 1), ("separable_3", 0)),
                (("conv_1", 2), ("identity", 2)),
                (("avg_pool_3", 1), ("conv_1", 5)),
            ),
            outputs=(0, 3, 4, 6),
        ),
        reduction=CellSpec(
            (
                (("max_pool_2", 0), ("max_pool_3", 0)),
                (("identity", 2), ("conv_3", 1)),
                # The search found a dilated one, which the reference runs undilated.
                (("separable_5", 2), ("max_pool_3", 2)),
                (("identity", 3), ("separable_3", 1)),
                (("avg_pool_3", 4), ("conv_1", 3)),
            ),
            outputs=(5, 6),
        ),
    ),
    "c": CellPair(
        normal=CellSpec(
            (
                (("avg_pool_3", 0), ("separable_3", 0)),
                (("identity", 0), ("separable_3", 0)),
                (("avg_pool_3", 2), ("separable_3", 1)),
                (("identity", 0), ("separable_3", 1)),
                (("avg_pool_3", 3), ("separable_3", 0)),
            ),
            outputs=(1, 2, 4, 5, 6),
        ),
        reduction=CellSpec(
            (
                (("max_pool_3", 0), ("max_pool_3", 0)),
                (("separable_7", 2), ("separable_3", 0)),
                (("separable_7", 0), ("max_pool_3", 1)),
                (("separable_5", 4), ("separable_5", 4)),
                (("max_pool_3", 1), ("separable_3", 1)),
            ),
            outputs=(0, 2, 3, 4, 5, 6),
        ),
    ),
    "d": CellPair(
        normal=CellSpec(
            (
                (("conv_1", 1), ("max_pool_3", 1)),
                (("identity", 1), ("conv_1x7_7x1", 0)),
                (("conv_1", 0), ("conv_1x7_7x1", 0)),
                (("max_pool_3", 2), ("identity", 2)),
                (("avg_pool_3", 1), ("conv_1", 5)),
            ),
            outputs=(0, 3, 4, 6),
        ),
        reduction=CellSpec(
            (
                (("max_pool_2", 0), ("max_pool_3", 0)),
                (("identity", 2), ("conv_3", 1)),
                (("conv_1x7_7x1", 2), ("max_pool_3", 2)),
                (("identity", 3), ("max_pool_2", 1)),
                (("avg_pool_3", 2), ("conv_1", 3)),
            ),
            outputs=(4, 5, 6),
        ),
    ),
}


class AmoebaNet(nn.Module):
    """Two reduction cells, then three stacks of `cells` normal cells with a reduction cell between two.

    The sizes of the papers: (6, 190) and (6, 204) of cell a, (6, 228) of cell c; GPipe's is (6, 512) of cell b.
    `drop_path` is the rate of the last cell: it grows linearly over the cells, where the reference also lets it grow
    over the training. The stem pads its picture where the reference does not, so that the extents of the maps are
    those of a pyramid. The auxiliary head that the reference trains along is left out, as papers leave it uncounted.
    Shapes: images_BCHW, normalised -> logits_BK.
    """

    parts: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "stem": ("conv_stem", "bn1"),
        "stages": ("cells",),
        "head": ("classifier",),
    }

    def __init__(
        self,
        *,
        cells: int,
        filters: int,
        num_classes: int = 0,
        cell: str = "a",
        norm_eps: float = 1e-3,
        norm_momentum: float = 0.01,
        drop_path: float = 0.3,
        dropout: float = 0.5,
        with_head: bool = True,
    ) -> None:
        super().__init__()
        assert cells >= 1, cells
        assert filters >= 16, filters  # a quarter of a quarter of them must remain
        normed = partial(norm, eps=norm_eps, momentum=norm_momentum)
        pair = CELLS[cell]
        steps = [(pair.reduction, filters // 4, 2), (pair.reduction, filters // 2, 2)]
        for stack in range(NUM_STACKS):
            channels = filters * 2**stack
            steps += [(pair.reduction, channels, 2)] if stack else []
            steps += [(pair.normal, channels, 1)] * cells

        self.conv_stem = conv2d(3, STEM_CHANNELS, 3, stride=2)
        self.bn1 = normed(STEM_CHANNELS)
        self.cells = nn.ModuleList()
        earlier_channels, in_channels, is_halved = None, STEM_CHANNELS, False
        for number, (spec, channels, stride) in enumerate(steps, start=1):
            made = Cell(
                spec,
                earlier_channels=earlier_channels,
                in_channels=in_channels,
                channels=channels,
                stride=stride,
                is_earlier_larger=is_halved,
                drop_path=drop_path * number / len(steps),
                normed=normed,
            )
            self.cells.append(made)
            earlier_channels, in_channels, is_halved = in_channels, made.out_channels, stride == 2

        # A map is taken before the next one is halved.
        next_strides = [*(stride for _, _, stride in steps[1:]), 2]
        self.tapped_cells = tuple(index for index, stride in enumerate(next_strides) if stride == 2)
        self.channels = (STEM_CHANNELS, *(self.cells[index].out_channels for index in self.tapped_cells))
        self.strides = (2, 4, 8, 16, 32)

        if with_head:
            self.dropout = nn.Dropout(dropout)
            self.classifier = nn.Linear(in_channels, num_classes)
        init_convs(self, fan_out_normal)

    def features(self, images_BCHW: Tensor) -> list[Tensor]:
        """The last map of each stride, finest first, before the rectifier that every reader applies."""
        x_BCHW = earlier_BCHW = self.bn1(self.conv_stem(images_BCHW))
        maps = [x_BCHW]
        for index, cell in enumerate(self.cells):
            earlier_BCHW, x_BCHW = x_BCHW, cell(earlier_BCHW, x_BCHW)
            if index in self.tapped_cells:
                maps.append(x_BCHW)
        return maps

    def forward(self, images_BCHW: Tensor) -> Tensor:
        x_BCHW = self.features(images_BCHW)[-1].relu()
        return self.classifier(self.dropout(x_BCHW.mean((2, 3))))


class Cell(nn.Module):
    """Brings two maps to its channels, applies the operations of its sums, and joins states.

    Without `earlier_channels` the map itself stands for the one before it, as it comes.
    Shapes: earlier_BCHW, x_BCHW -> joined_BCHW of `out_channels`, its extents ceil(extent / stride).
    """

    def __init__(
        self,
        spec: CellSpec,
        *,
        earlier_channels: int | None,
        in_channels: int,
        channels: int,
        stride: int,
        is_earlier_larger: bool,
        drop_path: float,
        normed: partial,
    ) -> None:
        super().__init__()
        self.spec = spec
        self.enter = _relu_conv_norm(in_channels, channels, normed)
        state_channels = [channels, channels]
        if earlier_channels is None:
            self.enter_earlier = nn.Identity()
            state_channels[1] = in_channels
        elif is_earlier_larger:
            self.enter_earlier = nn.Sequential(nn.ReLU(), Halve(earlier_channels, channels, normed))
        elif earlier_channels != channels:
            self.enter_earlier = _relu_conv_norm(earlier_channels, channels, normed)
        else:
            self.enter_earlier = nn.Identity()
        state_channels += [channels] * len(spec.sums)
        self.operations = nn.ModuleList()
        for name, state in (operation for pair in spec.sums for operation in pair):
            # Only the cell's inputs are halved: its sums are small already.
            layers = _operation(name, state_channels[state], channels, stride if state < 2 else 1, normed)
            if name != "identity" and drop_path > 0:
                layers = nn.Sequential(layers, DropPath(drop_path))
            self.operations.append(layers)
        self.exits = nn.ModuleList(
            Halve(state_channels[state], channels, normed) if state < 2 and stride == 2 else nn.Identity()
            for state in spec.outputs
        )
        self.out_channels = channels * len(spec.outputs)

    def forward(self, earlier_BCHW: Tensor, x_BCHW: Tensor) -> Tensor:
        states = [self.enter(x_BCHW), self.enter_earlier(earlier_BCHW)]
        operations = iter(self.operations)
        for (_, left), (_, right) in self.spec.sums:
            states.append(next(operations)(states[left]) + next(operations)(states[right]))
        return torch.cat([leave(states[state]) for leave, state in zip(self.exits, self.spec.outputs, strict=True)], 1)


class Halve(nn.Module):
    """Every second pixel, and every second pixel one further down and right, each through its own convolution.

    Source: tensorflow/tpu amoeba_net network_utils.py, factorized_reduction; an odd channel goes to the second one.
    """

    def __init__(self, in_channels: int, out_channels: int, normed: partial) -> None:
        super().__init__()
        self.conv1 = conv2d(in_channels, out_channels // 2, 1)
        self.conv2 = conv2d(in_channels, out_channels - out_channels // 2, 1)
        self.bn = normed(out_channels)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        shifted_BCHW = F.pad(x_BCHW[:, :, 1:, 1:], (0, 1, 0, 1))
        halves = [self.conv1(x_BCHW[:, :, ::2, ::2]), self.conv2(shifted_BCHW[:, :, ::2, ::2])]
        return self.bn(torch.cat(halves, dim=1))


class Pool(nn.Module):
    """Pooling padded like TensorFlow's SAME; a mean counts no padding."""

    def __init__(self, kind: str, kernel_size: int, stride: int) -> None:
        super().__init__()
        # A window of two would be padded on one side alone if it did not stride.
        assert (kernel_size, stride) in {(3, 1), (3, 2), (2, 2)}, (kernel_size, stride)
        self.pool = partial(F.avg_pool2d, count_include_pad=False) if kind == "avg" else F.max_pool2d
        self.kernel_size = kernel_size
        self.stride = stride

    def forward(self, x_BCHW: Tensor) -> Tensor:
        # An even extent lacks one pixel at the end, which ceil_mode supplies; an odd one lacks one at each end.
        odd = self.kernel_size % 2
        padding = [odd if self.stride == 1 else extent % 2 * odd for extent in x_BCHW.shape[2:]]
        return self.pool(x_BCHW, self.kernel_size, stride=self.stride, padding=padding, ceil_mode=self.stride == 2)


def _operation(name: str, in_channels: int, channels: int, stride: int, normed: partial) -> nn.Module:
    kind, _, size = name.rpartition("_")
    match kind:
        case "separable":
            return nn.Sequential(
                *_separable(in_channels, channels, int(size), stride, normed),
                *_separable(channels, channels, int(size), 1, normed),
            )
        case "avg_pool" | "max_pool":
            pool = Pool(kind.removesuffix("_pool"), int(size), stride)
            if in_channels == channels:
                return pool
            return nn.Sequential(pool, conv2d(in_channels, channels, 1), normed(channels))
    if name == "identity" and stride == 1 and in_channels == channels:
        return nn.Identity()
    if name in ("identity", "conv_1"):
        return _relu_conv_norm(in_channels, channels, normed, stride=stride)
    # The rest work on a quarter of the channels.
    inner = channels // 4
    if name == "conv_3":
        convs = [conv2d(inner, inner, 3, stride=stride)]
    else:
        assert name == "conv_1x7_7x1", name
        convs = [
            StridedConv2d(inner, inner, (1, 7), stride=(1, stride), padding=(0, 3), bias=False),
            normed(inner),
            nn.ReLU(),
            StridedConv2d(inner, inner, (7, 1), stride=(stride, 1), padding=(3, 0), bias=False),
        ]
    return nn.Sequential(
        *_relu_conv_norm(in_channels, inner, normed),
        nn.ReLU(),
        *convs,
        normed(inner),
        *_relu_conv_norm(inner, channels, normed),
    )


def _separable(in_channels: int, channels: int, kernel_size: int, stride: int, normed: partial) -> list[nn.Module]:
    filtered = conv2d(in_channels, in_channels, kernel_size, stride=stride, groups=in_channels)
    return [nn.ReLU(), filtered, conv2d(in_channels, channels, 1), normed(channels)]


def _relu_conv_norm(in_channels: int, channels: int, normed: partial, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.ReLU(), conv2d(in_channels, channels, 1, stride=stride), normed(channels))
