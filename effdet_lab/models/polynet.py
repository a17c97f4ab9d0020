"""The Very Deep PolyNet, a classifier.

B batch, C channels, H W image or feature size, K classes

Source: Zhang et al., PolyNet (CVPR 2017), sections 3 and 4; the authors' published network (open-mmlab/polynet) as
Cadene/pretrained-models.pytorch builds it, polynet.py.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from effdet_lab.models.layers import DropPath, fan_out_normal, init_convs, norm

Kernel = int | tuple[int, int]


class Layer(NamedTuple):
    """A convolution of a path; only the reductions stride, and those pad nothing."""

    channels: int
    kernel_size: Kernel
    stride: int = 1
    is_padded: bool = True


Path = tuple[Layer, ...]


class StageTable(NamedTuple):
    """The channels a stage keeps, the paths of its Inception block, and how its modules combine blocks in turn."""

    channels: int
    paths: tuple[Path, ...]
    modules: tuple[str, ...]


STAGES = (
    StageTable(
        384,
        ((Layer(32, 1), Layer(48, 3), Layer(64, 3)), (Layer(32, 1), Layer(32, 3)), (Layer(32, 1),)),
        ("2-way",) * 10,
    ),
    StageTable(
        1152,
        ((Layer(128, 1), Layer(160, (1, 7)), Layer(192, (7, 1))), (Layer(192, 1),)),
        ("poly-3", "2-way") * 10,
    ),
    StageTable(
        2048,
        ((Layer(192, 1), Layer(224, (1, 3)), Layer(256, (3, 1))), (Layer(192, 1),)),
        ("poly-3", "2-way") * 5,
    ),
)
# Beside these paths a reduction max-pools its input.
REDUCTIONS: tuple[tuple[Path, ...], ...] = (
    (
        (Layer(256, 1), Layer(256, 3), Layer(384, 3, stride=2, is_padded=False)),
        (Layer(384, 3, stride=2, is_padded=False),),
    ),
    (
        (Layer(256, 1), Layer(256, 3), Layer(256, 3, stride=2, is_padded=False)),
        (Layer(256, 1), Layer(256, 3, stride=2, is_padded=False)),
        (Layer(256, 1), Layer(384, 3, stride=2, is_padded=False)),
    ),
)
RESIDUAL_STEP = 1 / 130  # each module scales its residuals by so much less than the one before; the first one by 1


class PolyNet(nn.Module):
    """A stem and three stages of 10, 20 and 10 modules with a reduction between two.

    `drop_path` is the rate a module after the last would have; it grows linearly from 0 over the modules and drops
    their residual paths. Pictures are not padded, so the maps lack the extents of a pyramid: there are no `features`.
    Shapes: images_BCHW, normalised -> logits_BK.
    """

    parts: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "stem": ("stem",),
        "stages": ("stages",),
        "head": ("classifier",),
    }

    def __init__(
        self,
        *,
        num_classes: int,
        norm_eps: float = 1e-5,
        norm_momentum: float = 0.1,
        drop_path: float = 0.0,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        norm_arguments = {"norm_eps": norm_eps, "norm_momentum": norm_momentum}
        self.stem = Stem(**norm_arguments)
        self.stages = nn.Sequential()
        num_modules = sum(len(stage.modules) for stage in STAGES)
        number = 0
        in_channels = STAGES[0].channels
        for stage, reduction in zip(STAGES, (None, *REDUCTIONS), strict=True):
            if reduction is not None:
                self.stages.append(Reduction(in_channels, reduction, **norm_arguments))
            for kind in stage.modules:
                module = PolyInception(
                    stage.channels,
                    stage.paths,
                    kind,
                    scale=1 - number * RESIDUAL_STEP,
                    drop_path=drop_path * number / num_modules,
                    **norm_arguments,
                )
                self.stages.append(module)
                number += 1
            in_channels = stage.channels
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(in_channels, num_classes)
        init_convs(self, fan_out_normal)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        x_BCHW = self.stages(self.stem(images_BCHW))
        return self.classifier(self.dropout(x_BCHW.mean((2, 3))))


class PolyInception(nn.Module):
    """Inception blocks F and G around an identity: 2-way is I + F + G, poly-3 is I + F + FF + FFF.

    The orders of a poly module share the convolutions of F's paths, but neither norms nor the last projection.
    """

    def __init__(
        self,
        channels: int,
        paths: Sequence[Path],
        kind: str,
        *,
        scale: float,
        drop_path: float,
        norm_eps: float,
        norm_momentum: float,
    ) -> None:
        super().__init__()
        self.is_chained = kind == "poly-3"
        self.num_blocks = 3 if self.is_chained else 2
        self.scale = scale
        copies, uses = (1, 3) if self.is_chained else (2, 1)
        norm_arguments = {"norm_eps": norm_eps, "norm_momentum": norm_momentum}
        self.paths = nn.ModuleList(Paths(channels, paths, uses=uses, **norm_arguments) for _ in range(copies))
        joined = sum(path[-1].channels for path in paths)
        self.projections = nn.ModuleList(
            nn.Sequential(nn.Conv2d(joined, channels, 1, bias=False), norm(channels, norm_eps, norm_momentum))
            for _ in range(self.num_blocks)
        )
        self.drop_path = DropPath(drop_path)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        total_BCHW = block_BCHW = x_BCHW
        for number, project in enumerate(self.projections):
            if self.is_chained:
                block_BCHW = project(self.paths[0](block_BCHW, use=number))
            else:
                block_BCHW = project(self.paths[number](x_BCHW))
            total_BCHW = total_BCHW + self.scale * self.drop_path(block_BCHW)
            block_BCHW = block_BCHW.relu()
        return total_BCHW.relu()


class Reduction(nn.Module):
    """Halves a map by strided paths and a max-pooling, side by side."""

    def __init__(self, in_channels: int, paths: Sequence[Path], *, norm_eps: float, norm_momentum: float) -> None:
        super().__init__()
        self.paths = Paths(in_channels, paths, norm_eps=norm_eps, norm_momentum=norm_momentum)
        self.pool = nn.MaxPool2d(3, stride=2)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return torch.cat([self.paths(x_BCHW), self.pool(x_BCHW)], dim=1)


class Stem(nn.Module):
    """The stem of Inception-v4: an eighth of the extents, 384 channels."""

    def __init__(self, *, norm_eps: float, norm_momentum: float) -> None:
        super().__init__()

        def paths(in_channels: int, *tables: Path) -> Paths:
            return Paths(in_channels, tables, norm_eps=norm_eps, norm_momentum=norm_momentum)

        halve = {"kernel_size": 3, "stride": 2, "is_padded": False}
        self.first = paths(3, (Layer(32, **halve), Layer(32, 3, is_padded=False), Layer(64, 3)))
        self.halve = paths(64, (Layer(96, **halve),))
        self.widen = paths(
            160,
            (Layer(64, 1), Layer(96, 3, is_padded=False)),
            (Layer(64, 1), Layer(64, (7, 1)), Layer(64, (1, 7)), Layer(96, 3, is_padded=False)),
        )
        self.halve_again = paths(192, (Layer(192, **halve),))
        self.pool = nn.MaxPool2d(3, stride=2)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        x_BCHW = self.first(x_BCHW)
        x_BCHW = self.widen(torch.cat([self.pool(x_BCHW), self.halve(x_BCHW)], dim=1))
        return torch.cat([self.pool(x_BCHW), self.halve_again(x_BCHW)], dim=1)


class Paths(nn.Module):
    """Rows of convolutions side by side, their ends joined; each use of them has norms of its own."""

    def __init__(
        self, in_channels: int, paths: Sequence[Path], *, uses: int = 1, norm_eps: float, norm_momentum: float
    ) -> None:
        super().__init__()
        self.paths = nn.ModuleList()
        for layers in paths:
            widths = [in_channels, *(layer.channels for layer in layers)]
            self.paths.append(
                nn.ModuleList(
                    NormedConv(width, layer, uses, norm_eps, norm_momentum)
                    for width, layer in zip(widths, layers, strict=False)
                )
            )

    def forward(self, x_BCHW: Tensor, use: int = 0) -> Tensor:
        ends = []
        for path in self.paths:
            end_BCHW = x_BCHW
            for layer in path:
                end_BCHW = layer(end_BCHW, use)
            ends.append(end_BCHW)
        return torch.cat(ends, dim=1)


class NormedConv(nn.Module):
    """A convolution, then the norm of this use, then a rectifier."""

    def __init__(self, in_channels: int, layer: Layer, uses: int, norm_eps: float, norm_momentum: float) -> None:
        super().__init__()
        sides = (layer.kernel_size,) * 2 if isinstance(layer.kernel_size, int) else layer.kernel_size
        padding = tuple(side // 2 for side in sides) if layer.is_padded else 0
        self.conv = nn.Conv2d(in_channels, layer.channels, sides, stride=layer.stride, padding=padding, bias=False)
        self.norms = nn.ModuleList(norm(layer.channels, norm_eps, norm_momentum) for _ in range(uses))

    def forward(self, x_BCHW: Tensor, use: int) -> Tensor:
        return self.norms[use](self.conv(x_BCHW)).relu()
