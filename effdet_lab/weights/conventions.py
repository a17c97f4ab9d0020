"""What belongs to weights besides their numbers: how their network pads and norms, and what pixels it reads.

Wrong conventions load without complaint and cost accuracy in silence.
"""

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from effdet_lab.models.efficientdet import EfficientDet
from effdet_lab.models.efficientnet import EfficientNet
from effdet_lab.models.layers import set_norm_eps, set_padding
from effdet_lab.spec import ClassifierSpec, Colour, DetectorSpec, EfficientNetSpec, ExperimentSpec, LayerStyle

Padding = Literal["same", "symmetric"]
Pixels = tuple[Colour, Colour]  # mean and standard deviation

TENSORFLOW_EPS, TORCH_EPS = 1e-3, 1e-5
IMAGENET: Pixels = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF: Pixels = (
    (0.5, 0.5, 0.5),
    (0.5, 0.5, 0.5),
)  # AdvProp. Source: tensorflow/tpu efficientnet README
# Torchvision trained B5..B7 nowhere: they are TensorFlow's weights, with its constant, under symmetric padding.
TORCHVISION_CONVERTED = (5, 6, 7)


@dataclass(frozen=True)
class Conventions:
    """None: the source does not tell."""

    padding: Padding | None = None
    norm_eps: float | None = None
    pyramid_padding: Padding | None = None  # of BiFPN and heads
    pyramid_norm_eps: float | None = None
    pixels: Pixels | None = None
    crop_fraction: float | None = None
    interpolation: Literal["bilinear", "bicubic"] | None = None

    def __str__(self) -> str:
        told = []
        if self.padding:
            told.append(f"{self.padding} padding")
        if self.norm_eps:
            told.append(f"batch-norm constant {self.norm_eps:g}")
        if self.pixels:
            mean, std = (" ".join(f"{value:.3g}" for value in colour) for colour in self.pixels)
            told.append(f"pixels (x - {mean}) / {std}")
        return ", ".join(told)


TENSORFLOW = Conventions("same", TENSORFLOW_EPS, "same", TENSORFLOW_EPS)


def conventions_of(grammar: str, name: str, phi: int | None, config: Mapping[str, Any]) -> Conventions:
    """What a source's grammar, its name, its member's number and timm's description tell.

    The keys of timm's and effdet's own and of their TensorFlow models are the same: only their names part them.
    """
    name = name.lower()
    match grammar:
        case "torchvision":
            eps = TENSORFLOW_EPS if phi in TORCHVISION_CONVERTED else TORCH_EPS
            told = Conventions("symmetric", eps, pixels=IMAGENET)
        case "lukemelas" | "tensorflow" | "zylo":
            adversarial = re.search(r"(^|[^a-z])adv", name)
            pixels = IMAGENET if grammar != "tensorflow" else None
            told = dataclasses.replace(TENSORFLOW, pixels=HALF if adversarial else pixels)
        case "tflite":
            told = Conventions("same", TENSORFLOW_EPS)
        case "timm" | "effdet":
            told = _by_name(name)
        case _:
            told = Conventions()
    return _with_config(told, config.get("pretrained_cfg", config))


def conventions_in(spec: ExperimentSpec) -> Conventions:
    """Those of an experiment of ours."""
    model = spec.model
    style = model.backbone.style if isinstance(model.backbone, EfficientNetSpec) else None
    pyramid = model.style if isinstance(model, DetectorSpec) else None
    classifies = isinstance(model, ClassifierSpec)
    return Conventions(
        padding=style.padding if style else None,
        norm_eps=style.norm_eps if style else None,
        pyramid_padding=pyramid.padding if pyramid else None,
        pyramid_norm_eps=pyramid.norm_eps if pyramid else None,
        pixels=(model.input.mean, model.input.std),
        crop_fraction=spec.data.crop_fraction if classifies else None,
        interpolation=spec.data.interpolation if classifies else None,
    )


def apply(conventions: Conventions, model: nn.Module) -> None:
    """Pad and norm as the source does; networks that timm builds keep timm's ways."""
    if isinstance(model, EfficientNet):
        _set(model, conventions.padding, conventions.norm_eps)
    elif isinstance(model, EfficientDet):
        if isinstance(model.backbone, EfficientNet):
            _set(model.backbone, conventions.padding, conventions.norm_eps)
        for part in (model.fpn, model.class_net, model.box_net):
            _set(part, conventions.pyramid_padding, conventions.pyramid_norm_eps)


def adopted(spec: ExperimentSpec, conventions: Conventions) -> ExperimentSpec:
    """The experiment with the source's conventions wherever its settings left them open."""
    left, model, data = set(spec.left_to_weights), spec.model, spec.data
    padding = "backbone.padding" in left
    eps = "model.norm_eps" in left

    def styled(style: LayerStyle, told: Padding | None, told_eps: float | None) -> LayerStyle:
        style = dataclasses.replace(style, padding=told) if told and padding else style
        return dataclasses.replace(style, norm_eps=told_eps) if told_eps and eps else style

    if isinstance(model.backbone, EfficientNetSpec):
        style = styled(model.backbone.style, conventions.padding, conventions.norm_eps)
        model = dataclasses.replace(model, backbone=dataclasses.replace(model.backbone, style=style))
    if isinstance(model, DetectorSpec):
        style = styled(model.style, conventions.pyramid_padding, conventions.pyramid_norm_eps)
        model = dataclasses.replace(model, style=style)
    if conventions.pixels:
        told = dict(zip(("mean", "std"), conventions.pixels, strict=True))
        told = {name: value for name, value in told.items() if f"model.{name}" in left}
        model = dataclasses.replace(model, input=dataclasses.replace(model.input, **told))
    if isinstance(model, ClassifierSpec):
        names = ("crop_fraction", "interpolation")
        told = {name: getattr(conventions, name) for name in names if f"data.{name}" in left}
        data = dataclasses.replace(data, **{name: value for name, value in told.items() if value})
    return dataclasses.replace(spec, model=model, data=data)


def _by_name(name: str) -> Conventions:
    """Source: timm models/efficientnet.py; effdet config/model_config.py."""
    if re.search(r"(^|[^a-z])tf_efficient", name):
        adversarial = re.search(r"[._]ap([._-]|$)", name)
        return dataclasses.replace(TENSORFLOW, pixels=HALF if adversarial else None)
    if re.search(r"(^|[^a-z_])efficient(net|det)_", name):
        # Of effdet's own detectors the first four pad their BiFPN so too.
        pyramid: Padding = "symmetric" if re.search(r"efficientdet_d[0-3]", name) else "same"
        return Conventions("symmetric", TORCH_EPS, pyramid, TENSORFLOW_EPS)
    return Conventions()


def _with_config(told: Conventions, config: Mapping[str, Any]) -> Conventions:
    """timm's own words about its weights win."""
    if config.get("mean") and config.get("std"):
        mean, std = (tuple(float(value) for value in config[name]) for name in ("mean", "std"))
        if len(mean) == len(std) == 3:
            told = dataclasses.replace(told, pixels=(mean, std))
    if config.get("crop_pct"):
        told = dataclasses.replace(told, crop_fraction=min(1.0, float(config["crop_pct"])))
    if config.get("interpolation") in ("bilinear", "bicubic"):
        told = dataclasses.replace(told, interpolation=config["interpolation"])
    return told


def _set(part: nn.Module, padding: Padding | None, eps: float | None) -> None:
    if padding:
        set_padding(part, padding)
    if eps:
        set_norm_eps(part, eps)
