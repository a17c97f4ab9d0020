"""From a settled experiment to a network: the only place where modules meet a spec."""

from typing import Any, assert_never

from torch import nn

from effdet_lab.models.bifpn import BiFPN
from effdet_lab.models.efficientdet import Backbone, EfficientDet
from effdet_lab.models.efficientnet import EfficientNet
from effdet_lab.models.heads import CLASS_PRIOR_LOGIT, Head
from effdet_lab.spec import (
    AmoebaNetSpec,
    BackboneSpec,
    ClassifierSpec,
    DetectorSpec,
    EfficientNetSpec,
    ExperimentSpec,
    PolyNetSpec,
    ResNetSpec,
    ShuffleNetSpec,
    TimmSpec,
    TorchvisionSpec,
)


def build_model(spec: ExperimentSpec) -> nn.Module:
    """The network of an experiment whose classes are known; under `torch.device("meta")` it costs no memory."""
    assert spec.data.num_classes > 0, "the data tells the classes first"
    match spec.model:
        case DetectorSpec() as detector:
            return build_detector(detector, spec.data.num_classes)
        case ClassifierSpec() as classifier:
            return build_classifier(classifier, spec.data.num_classes)
        case other:
            assert_never(other)


def build_detector(detector: DetectorSpec, num_classes: int) -> EfficientDet:
    """Backbone, BiFPN and the two heads."""
    backbone = _build_backbone(detector.backbone, detector.input.image_size)
    bifpn, head, style = detector.bifpn, detector.head, detector.style
    style_arguments = {
        "activation_name": style.activation,
        "norm_eps": style.norm_eps,
        "norm_momentum": style.norm_momentum,
        "redundant_bias": bifpn.redundant_bias,
    }
    head_arguments = {
        "channels": bifpn.channels,
        "repeats": head.repeats,
        "num_levels": bifpn.max_level - bifpn.min_level + 1,
        "num_anchors": head.octaves * len(head.aspect_ratios),
        **style_arguments,
    }
    return EfficientDet(
        backbone=backbone,
        fpn=BiFPN(
            in_channels=backbone.channels[-3:],
            channels=bifpn.channels,
            repeats=bifpn.repeats,
            min_level=bifpn.min_level,
            max_level=bifpn.max_level,
            fusion=bifpn.fusion,
            padding=style.padding,
            topology=bifpn.topology,
            **style_arguments,
        ),
        class_net=Head(num_outputs=num_classes, output_bias=CLASS_PRIOR_LOGIT, **head_arguments),
        box_net=Head(num_outputs=4, **head_arguments),
    )


def build_classifier(classifier: ClassifierSpec, num_classes: int) -> nn.Module:
    """A backbone with its own classifier head."""
    backbone, dropout = classifier.backbone, classifier.dropout
    # Other libraries and rare networks are imported where they are asked for: timm takes seconds.
    match backbone:
        case EfficientNetSpec():
            return _efficientnet(backbone, num_classes=num_classes, dropout=dropout)
        case TimmSpec() | ResNetSpec():
            from effdet_lab.models.comparators import timm_classifier

            return timm_classifier(num_classes=num_classes, dropout=dropout, **_timm_arguments(backbone))
        case TorchvisionSpec():
            from effdet_lab.models.comparators import torchvision_classifier

            return torchvision_classifier(backbone.architecture, num_classes, dropout=dropout)
        case AmoebaNetSpec():
            return _amoebanet(backbone, num_classes=num_classes, dropout=dropout)
        case PolyNetSpec():
            from effdet_lab.models.polynet import PolyNet

            return PolyNet(num_classes=num_classes, dropout=dropout, drop_path=backbone.drop_path)
        case ShuffleNetSpec():
            return _shufflenet(backbone, num_classes=num_classes, dropout=dropout)
        case other:
            assert_never(other)


def _build_backbone(backbone: BackboneSpec, image_size: tuple[int, int]) -> Backbone:
    match backbone:
        case EfficientNetSpec():
            return _efficientnet(backbone, with_head=False)
        case TimmSpec() | ResNetSpec():
            from effdet_lab.models.comparators import TimmBackbone

            return TimmBackbone(image_size=image_size, **_timm_arguments(backbone))
        case TorchvisionSpec():
            from effdet_lab.models.comparators import TorchvisionBackbone

            return TorchvisionBackbone(backbone.architecture, image_size=image_size)
        case AmoebaNetSpec():
            return _amoebanet(backbone, with_head=False)
        case PolyNetSpec():
            raise AssertionError("settings refuse it: its maps have no strides")
        case ShuffleNetSpec():
            return _shufflenet(backbone, with_head=False)
        case other:
            assert_never(other)


def _timm_arguments(backbone: TimmSpec | ResNetSpec) -> dict[str, Any]:
    arguments: dict[str, Any] = {"name": backbone.architecture, "drop_path": backbone.drop_path}
    if isinstance(backbone, ResNetSpec):
        arguments |= {
            "layers": backbone.repeats,
            "channels": backbone.channels,
            "stem_channels": backbone.stem_channels,
        }
    return arguments


def _amoebanet(backbone: AmoebaNetSpec, **arguments: Any) -> Any:
    from effdet_lab.models.amoebanet import AmoebaNet

    sizes = {"cell": backbone.cell, "cells": backbone.cells, "filters": backbone.filters}
    return AmoebaNet(**sizes, drop_path=backbone.drop_path, **arguments)


def _shufflenet(backbone: ShuffleNetSpec, **arguments: Any) -> Any:
    from effdet_lab.models.shufflenet import ShuffleNet

    return ShuffleNet(groups=backbone.groups, width=backbone.width, **arguments)


def _efficientnet(
    backbone: EfficientNetSpec, *, num_classes: int = 0, dropout: float = 0.0, with_head: bool = True
) -> EfficientNet:
    return EfficientNet(
        stages=backbone.stages,
        stem_channels=backbone.stem_channels,
        head_channels=backbone.head_channels,
        num_classes=num_classes,
        activation_name=backbone.style.activation,
        padding=backbone.style.padding,
        norm_eps=backbone.style.norm_eps,
        norm_momentum=backbone.style.norm_momentum,
        drop_path=backbone.drop_path,
        dropout=dropout,
        with_head=with_head,
    )
