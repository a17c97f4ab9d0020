"""Any torchvision classifier, and its maps as a backbone; a densenet264 of its parts, too.

B batch, C channels, H W image or feature size
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torchvision.models.feature_extraction import create_feature_extractor

from effdet_lab.errors import ConfigError
from effdet_lab.models.counting import meta_copy
from effdet_lab.models.extents import NEEDED_STRIDES, did_you_mean, extents_at, refusing_sizes

PYRAMIDS = "Pyramids such as resnet50, mobilenet_v3_large or regnet_y_400mf do"
STRIDES = (2, 4, *NEEDED_STRIDES)
HEADS = ("classifier", "dropout", "fc", "head", "heads")
# Without their auxiliary classifiers, and without an initialisation that takes seconds.
PLAIN = {"aux_logits": False, "init_weights": False}
ARGUMENTS = {"googlenet": PLAIN, "inception_v3": PLAIN}
# Source: Huang et al., DenseNet (CVPR 2017), table 1; torchvision stops at 201 layers.
DENSENET_264 = {"growth_rate": 32, "block_config": (6, 12, 64, 48), "num_init_features": 64}


class Tap(NamedTuple):
    """Where a map comes from."""

    module: str
    channels: int
    is_channels_last: bool


class TorchvisionBackbone(nn.Module):
    """A torchvision network's maps, the last one of each stride up to 32, finest first.

    `image_size`, height and width, is where the maps are sought, by their extents.
    Raises: ConfigError if torchvision has no such network, or if it gives no maps of the extents a pyramid needs.
    """

    def __init__(self, name: str, *, image_size: tuple[int, int] = (256, 256)) -> None:
        super().__init__()
        network = _create(name)
        setting = f"backbone.architecture={name}"
        with refusing_sizes(setting, image_size, PYRAMIDS):
            taps = _taps(network, image_size)
        missing = [stride for stride in NEEDED_STRIDES if stride not in taps]
        if missing:
            sizes = ", ".join("{}x{}".format(*extents_at(stride, image_size)) for stride in missing)
            raise ConfigError(
                f"{setting}: has no map of {sizes} for pictures of {'{}x{}'.format(*image_size)}, "
                f"where the anchors of stride {', '.join(map(str, missing))} lie. {PYRAMIDS}."
            )
        # What follows the last map goes: it would never see a gradient.
        self.model = create_feature_extractor(network, {tap.module: str(stride) for stride, tap in taps.items()})
        self.strides = tuple(taps)
        self.channels = tuple(tap.channels for tap in taps.values())
        self.channels_last = tuple(tap.is_channels_last for tap in taps.values())

    def features(self, images_BCHW: Tensor) -> list[Tensor]:
        """The last map of each stride: `channels` and `strides` describe them."""
        maps = self.model(images_BCHW)
        return [
            maps[str(stride)].permute(0, 3, 1, 2) if is_channels_last else maps[str(stride)]
            for stride, is_channels_last in zip(self.strides, self.channels_last, strict=True)
        ]


def torchvision_classifier(name: str, num_classes: int, dropout: float = 0.0) -> nn.Module:
    """A torchvision network with random weights: images_BCHW -> logits_BK; `dropout` goes before its last layer.

    Raises: ConfigError if torchvision has no such network.
    """
    model = _create(name, num_classes)
    head = [name for name, _ in model.named_children() if name in HEADS]
    dropouts = [layer for name in head for layer in getattr(model, name).modules() if isinstance(layer, nn.Dropout)]
    for layer in dropouts:
        layer.p = dropout
    if not dropouts and dropout > 0:
        path = [name for name, layer in model.named_modules() if isinstance(layer, nn.Linear)][-1]
        model.set_submodule(path, LinearAfterDropout(model.get_submodule(path), dropout))
    return model


class LinearAfterDropout(nn.Linear):
    """The same layer, by the same names, behind a dropout."""

    def __init__(self, linear: nn.Linear, dropout: float) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias
        self.dropout = dropout

    def forward(self, x_BC: Tensor) -> Tensor:
        return super().forward(F.dropout(x_BC, self.dropout, self.training))


def _create(name: str, num_classes: int = 1000) -> nn.Module:
    known = [*torchvision.models.list_models(module=torchvision.models), "densenet264"]
    if name not in known:
        hint = did_you_mean(name, known, "torchvision.models.list_models() prints their names.")
        raise ConfigError(f"backbone.architecture={name}: torchvision has no such classifier. {hint}")
    make = partial(torchvision.models.get_model, name, weights=None, num_classes=num_classes, **ARGUMENTS.get(name, {}))
    if name == "densenet264":
        return torchvision.models.DenseNet(num_classes=num_classes, **DENSENET_264)
    try:
        return make()
    except NotImplementedError:
        # RegNet computes its widths in tensors, which hold no numbers on the meta device.
        with torch.device("cpu"):
            return meta_copy(make())


def _taps(network: nn.Module, image_size: tuple[int, int]) -> dict[int, Tap]:
    """Stride -> the outermost module whose output has that stride's extents, the last of these.

    What lies deeper may be part of a block that ends at the next stride.
    """
    by_extents = {extents_at(stride, image_size): stride for stride in reversed(STRIDES)}
    taps: dict[int, Tap] = {}

    def note(name: str, module: nn.Module, inputs: object, output: object) -> None:
        # The head's pooling may keep the extents, of a small picture for instance.
        if not isinstance(output, Tensor) or output.ndim != 4 or isinstance(module, nn.AdaptiveAvgPool2d):
            return
        for axes, is_channels_last in ((slice(2, 4), False), (slice(1, 3), True)):
            stride = by_extents.get(tuple(output.shape[axes]))
            if stride is None:
                continue
            if stride not in taps or name.count(".") <= taps[stride].module.count("."):
                taps[stride] = Tap(name, output.shape[3 if is_channels_last else 1], is_channels_last)
            return

    probe = meta_copy(network).eval()
    for name, module in probe.named_modules():
        if name:
            listener: Callable[..., None] = partial(note, name)
            module.register_forward_hook(listener)
    with torch.no_grad():
        probe(torch.empty(1, 3, *image_size, device="meta"))
    return dict(sorted(taps.items()))
