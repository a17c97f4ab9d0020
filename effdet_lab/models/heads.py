"""The class net and the box net: the same convolutions on every level, each level with norms of its own.

B batch, C channels, H W feature size, A anchors of all levels, K numbers said of an anchor

Modules carry effdet's names, so that published weights load by key.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from effdet_lab.models.layers import SeparableConv, activation, fan_in_truncated_normal, init_convs, norm

# Focal loss starts best where every class is rare. Source: Lin et al., Focal Loss (ICCV 2017), section 4.1.
CLASS_PRIOR = 0.01
CLASS_PRIOR_LOGIT = -math.log((1 - CLASS_PRIOR) / CLASS_PRIOR)


class Head(nn.Module):
    """Says `num_outputs` numbers of each of the `num_anchors` anchors of each cell.

    Source: Tan et al. 2020, section 4.2; google/automl efficientdet_keras.py, ClassNet and BoxNet.
    Shapes: maps_BCHW, finest level first -> outputs_BAK, anchors ordered level, y, x, anchor.
    """

    def __init__(
        self,
        *,
        channels: int,
        repeats: int,
        num_levels: int,
        num_anchors: int,
        num_outputs: int,
        output_bias: float = 0.0,
        activation_name: str = "silu",
        norm_eps: float = 1e-3,
        norm_momentum: float = 0.01,
        redundant_bias: bool = True,
    ) -> None:
        super().__init__()
        self.num_outputs = num_outputs
        self.conv_rep = nn.ModuleList(SeparableConv(channels, channels, bias=redundant_bias) for _ in range(repeats))
        self.bn_rep = nn.ModuleList(
            nn.ModuleList(nn.ModuleDict({"bn": norm(channels, norm_eps, norm_momentum)}) for _ in range(num_levels))
            for _ in range(repeats)
        )
        self.act = activation(activation_name)
        self.predict = SeparableConv(channels, num_anchors * num_outputs)
        init_convs(self, fan_in_truncated_normal)
        nn.init.constant_(self.predict.conv_pw.bias, output_bias)

    def forward(self, maps_BCHW: Sequence[Tensor]) -> Tensor:
        outputs = [self.of_level(level, map_BCHW) for level, map_BCHW in enumerate(maps_BCHW)]
        # Channels hold anchor, then output; the concatenation is the only copy.
        flat = [output_BCHW.flatten(2).transpose(1, 2) for output_BCHW in outputs]
        return torch.cat(flat, dim=1).reshape(len(maps_BCHW[0]), -1, self.num_outputs)

    def of_level(self, level: int, x_BCHW: Tensor) -> Tensor:
        for conv, norms in zip(self.conv_rep, self.bn_rep, strict=True):
            x_BCHW = self.act(norms[level]["bn"](conv(x_BCHW)))
        return self.predict(x_BCHW)
