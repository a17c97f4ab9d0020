"""Other networks behind this package's contracts: any timm model as a backbone or as a classifier.

B batch, C channels, H W image or feature size
"""

from difflib import get_close_matches

import timm
import torch
from timm.layers import Format
from torch import Tensor, nn

from effdet_lab.errors import ConfigError
from effdet_lab.models.counting import meta_copy

# A detector pools P6 and P7 from these; finer maps come along where a model has them.
NEEDED_STRIDES = (8, 16, 32)
PYRAMIDS = "Pyramids such as resnet50, convnext_tiny or mobilenetv3_large_100 do"


class TimmBackbone(nn.Module):
    """A timm model's maps, the last one of each stride up to 32, finest first.

    `image_size`, height and width, is where the extents of the maps are checked.
    Raises: ConfigError if timm has no such model, or if the model gives no maps of the extents a pyramid needs.
    """

    def __init__(
        self,
        name: str,
        *,
        drop_path: float = 0.0,
        pretrained: bool = False,
        image_size: tuple[int, int] = (256, 256),
    ) -> None:
        super().__init__()
        self.model = _create(name, drop_path=drop_path, pretrained=pretrained, features_only=True)
        self.channels_last = getattr(self.model, "output_fmt", Format.NCHW) == Format.NHWC
        info = self.model.feature_info
        by_stride = {stride: index for index, stride in enumerate(info.reduction()) if stride <= NEEDED_STRIDES[-1]}
        if not set(NEEDED_STRIDES) <= set(by_stride):
            strides = ", ".join(map(str, info.reduction()))
            raise ConfigError(f"backbone.architecture={name}: its strides are {strides}, not 8, 16 and 32. {PYRAMIDS}.")
        self.strides = tuple(sorted(by_stride))
        self.indices = tuple(by_stride[stride] for stride in self.strides)
        self.channels = tuple(info.channels()[index] for index in self.indices)
        self._check_extents(name, image_size)

    def features(self, images_BCHW: Tensor) -> list[Tensor]:
        """The last map of each stride: `channels` and `strides` describe them."""
        maps = self.model(images_BCHW)
        maps_BCHW = [maps[index] for index in self.indices]
        return [map_BHWC.permute(0, 3, 1, 2) for map_BHWC in maps_BCHW] if self.channels_last else maps_BCHW

    def _check_extents(self, name: str, image_size: tuple[int, int]) -> None:
        height, width = image_size
        setting = f"backbone.architecture={name}"
        try:
            with torch.no_grad():
                maps = meta_copy(self).eval().features(torch.empty(1, 3, height, width, device="meta"))
        except (AssertionError, RuntimeError, ValueError) as error:
            raise ConfigError(
                f"{setting}: refuses pictures of {height}x{width}: {str(error).rstrip('.')}. {PYRAMIDS}."
            ) from error
        for stride, map_BCHW in zip(self.strides, maps, strict=True):
            expected = (-(-height // stride), -(-width // stride))
            if stride in NEEDED_STRIDES and tuple(map_BCHW.shape[2:]) != expected:
                found = "x".join(map(str, map_BCHW.shape[2:]))
                raise ConfigError(
                    f"{setting}: its map of stride {stride} is {found} for pictures of {height}x{width}, "
                    f"where the anchors lie on {expected[0]}x{expected[1]}. {PYRAMIDS}."
                )


def timm_classifier(name: str, num_classes: int, dropout: float = 0.0, drop_path: float = 0.0) -> nn.Module:
    """A timm model with random weights: images_BCHW -> logits_BK.

    Raises: ConfigError if timm has no such model, or the model has no dropout or no stochastic depth where asked.
    """
    return _create(name, dropout=dropout, drop_path=drop_path, num_classes=num_classes)


def _create(name: str, *, dropout: float = 0.0, drop_path: float = 0.0, **arguments: object) -> nn.Module:
    architecture, _, tag = name.partition(".")
    known = timm.list_pretrained() if tag else timm.list_models()
    if name not in known:
        close = get_close_matches(name, known, n=3) or get_close_matches(architecture, timm.list_models(), n=3)
        hint = f"Did you mean {' or '.join(close)}?" if close else "timm.list_models() prints their names."
        raise ConfigError(f"backbone.architecture={name}: timm has no such model. {hint}")
    # Not every model knows these words, so they are said only where they mean something.
    rates = {"drop_rate": dropout, "drop_path_rate": drop_path}
    rates = {word: rate for word, rate in rates.items() if rate > 0}
    try:
        return timm.create_model(name, **rates, **arguments)
    except TypeError as error:
        settings = {"drop_rate": "dropout", "drop_path_rate": "drop_path"}
        for word, rate in rates.items():
            if word in str(error):
                raise ConfigError(f"backbone.{settings[word]}={rate:g}: {name} has none. Use 0.") from error
        raise
