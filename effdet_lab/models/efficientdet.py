"""EfficientDet, figure 3 of its paper (Tan et al., CVPR 2020): backbone, BiFPN, class net and box net.

B batch, C channels, H W image size
"""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor, nn

from effdet_lab.models.bifpn import BiFPN
from effdet_lab.models.heads import Head
from effdet_lab.records import RawDetections


class Backbone(Protocol):
    """What a detector asks of a backbone: maps, finest first, of known channels and strides."""

    channels: Sequence[int]
    strides: Sequence[int]

    def features(self, images_BCHW: Tensor) -> list[Tensor]: ...


class EfficientDet(nn.Module):
    """Says a class and a box of every anchor.

    Shapes: images_BCHW, normalised, of any size -> RawDetections.
    """

    def __init__(self, backbone: Backbone, fpn: BiFPN, class_net: Head, box_net: Head) -> None:
        super().__init__()
        self.backbone = backbone
        self.fpn = fpn
        self.class_net = class_net
        self.box_net = box_net

    def forward(self, images_BCHW: Tensor) -> RawDetections:
        features = self.backbone.features(images_BCHW)[-self.fpn.num_inputs :]
        pyramid = self.fpn(features)
        return RawDetections(self.class_net(pyramid), self.box_net(pyramid))
