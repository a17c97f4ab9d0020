"""Any timm network as a backbone or as a classifier; its ResNets in any depth and width.

B batch, C channels, H W image or feature size
"""

from collections.abc import Sequence
from typing import Any

import timm
from timm.layers import Format
from torch import Tensor, nn

from effdet_lab.errors import ConfigError
from effdet_lab.models.extents import NEEDED_STRIDES, check_extents, did_you_mean

PYRAMIDS = "Pyramids such as resnet50, convnext_tiny or mobilenetv3_large_100 do"


class TimmBackbone(nn.Module):
    """A timm network's maps, the last one of each stride up to 32, finest first.

    `image_size`, height and width, is where the extents of the maps are checked. `layers`, `channels` (within its
    blocks) and `stem_channels` scale a ResNet, ResNeXt or SE-ResNet; empty and 0 are its own.
    Raises: ConfigError if timm has no such network, if it is no ResNet where it is to be scaled, or if it gives no
    maps of the extents a pyramid needs.
    """

    def __init__(
        self,
        name: str,
        *,
        drop_path: float = 0.0,
        pretrained: bool = False,
        image_size: tuple[int, int] = (256, 256),
        layers: Sequence[int] = (),
        channels: Sequence[int] = (),
        stem_channels: int = 0,
    ) -> None:
        super().__init__()
        self.model = _create(
            name,
            drop_path=drop_path,
            layers=layers,
            channels=channels,
            stem_channels=stem_channels,
            pretrained=pretrained,
            features_only=True,
        )
        self.channels_last = getattr(self.model, "output_fmt", Format.NCHW) == Format.NHWC
        info = self.model.feature_info
        by_stride = {stride: index for index, stride in enumerate(info.reduction()) if stride <= NEEDED_STRIDES[-1]}
        setting = f"backbone.architecture={name}"
        if not set(NEEDED_STRIDES) <= set(by_stride):
            strides = ", ".join(map(str, info.reduction()))
            raise ConfigError(f"{setting}: its strides are {strides}, not 8, 16 and 32. {PYRAMIDS}.")
        self.strides = tuple(sorted(by_stride))
        self.indices = tuple(by_stride[stride] for stride in self.strides)
        self.channels = tuple(info.channels()[index] for index in self.indices)
        check_extents(self, setting, image_size, PYRAMIDS)

    def features(self, images_BCHW: Tensor) -> list[Tensor]:
        """The last map of each stride: `channels` and `strides` describe them."""
        maps = self.model(images_BCHW)
        maps_BCHW = [maps[index] for index in self.indices]
        return [map_BHWC.permute(0, 3, 1, 2) for map_BHWC in maps_BCHW] if self.channels_last else maps_BCHW


def timm_classifier(
    name: str,
    num_classes: int,
    dropout: float = 0.0,
    drop_path: float = 0.0,
    *,
    layers: Sequence[int] = (),
    channels: Sequence[int] = (),
    stem_channels: int = 0,
) -> nn.Module:
    """A timm network with random weights: images_BCHW -> logits_BK; a ResNet scaled like TimmBackbone.

    Raises: ConfigError if timm has no such network, if it is no ResNet where it is to be scaled, or if it has no
    dropout or no stochastic depth where asked.
    """
    return _create(
        name,
        dropout=dropout,
        drop_path=drop_path,
        layers=layers,
        channels=channels,
        stem_channels=stem_channels,
        num_classes=num_classes,
    )


def _create(
    name: str,
    *,
    dropout: float = 0.0,
    drop_path: float = 0.0,
    layers: Sequence[int] = (),
    channels: Sequence[int] = (),
    stem_channels: int = 0,
    **arguments: Any,
) -> nn.Module:
    architecture, _, tag = name.partition(".")
    known = timm.list_pretrained() if tag else timm.list_models()
    if name not in known:
        hint = did_you_mean(architecture, timm.list_models(), "timm.list_models() prints their names.")
        hint = did_you_mean(name, known, hint)
        raise ConfigError(f"backbone.architecture={name}: timm has no such model. {hint}")
    is_scaled = bool(layers or channels or stem_channels)
    if is_scaled:
        _refuse_unscalable(name)
        assert not arguments.get("pretrained"), "published weights have published shapes"
    # Not every model knows these words, so they are said only where they mean something.
    rates = {"drop_rate": dropout, "drop_path_rate": drop_path}
    rates = {word: rate for word, rate in rates.items() if rate > 0}
    sizes = {"layers": tuple(layers), "channels": tuple(channels)}
    sizes = {word: size for word, size in sizes.items() if size}
    # timm takes a width for deep stems alone, and knows a plain stem in its published width.
    has_plain_stem = is_scaled and timm.get_pretrained_cfg(architecture).first_conv == "conv1"
    if stem_channels:
        assert stem_channels % 2 == 0, stem_channels
        sizes |= {"stem_width": stem_channels // 2, **({"stem_type": "deep"} if has_plain_stem else {})}
    try:
        model = timm.create_model(name, **rates, **sizes, **arguments)
    except TypeError as error:
        settings = {"drop_rate": "dropout", "drop_path_rate": "drop_path"}
        for word, rate in rates.items():
            if word in str(error):
                raise ConfigError(f"backbone.{settings[word]}={rate:g}: {name} has none. Use 0.") from error
        raise
    if stem_channels and has_plain_stem:
        model.conv1 = nn.Conv2d(3, stem_channels, 7, stride=2, padding=3, bias=False)
        if not model.conv1.weight.is_meta:
            nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
    return model


def _refuse_unscalable(name: str) -> None:
    architecture = name.partition(".")[0]
    module = timm.models.model_entrypoint(architecture).__module__
    if module != "timm.models.resnet" or architecture.endswith("_pruned"):
        raise ConfigError(
            f"backbone.architecture={name}: cannot be made deeper or wider. "
            "ResNets can: resnet50, resnext50_32x4d or seresnet50."
        )
