"""The network of an experiment: what phi implies, and what was written instead. No torch here."""

from typing import Any

from effdet_lab import spec as settled
from effdet_lab.scaling import (
    PAPERS_COEFFICIENTS,
    BackboneScale,
    Base,
    Coefficients,
    DetectorScale,
    along,
    backbone_scale,
    detector_scale,
    from_base,
)
from effdet_lab.settings import schema
from effdet_lab.settings.rules import exponents_of, family_of
from effdet_lab.stages import NETWORKS, Network, StageSpec, scaled, scaled_resnet

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
LITE_MEAN = (127 / 255,) * 3  # tensorflow/tpu efficientnet/lite: (pixel - 127) / 128
LITE_STD = (128 / 255,) * 3
DROP_PATH = 0.2  # 1 - survival probability; EfficientNet, section 5.2
# TensorFlow's padding and constant, in which the papers' networks were trained.
PADDING, NORM_EPS = "same", 1e-3


def _choose(written: Any, implied: Any, where: str, left: list[str]) -> Any:
    """A written number wins, and is remembered when it is not what phi says."""
    if written is None:
        return implied
    if written != implied:
        left.append(where)
    return written


def coefficients_of(scaling: schema.ScalingSettings) -> Coefficients:
    """Those that were written, and the paper's."""
    papers = PAPERS_COEFFICIENTS
    return Coefficients(scaling.alpha or papers.alpha, scaling.beta or papers.beta, scaling.gamma or papers.gamma)


def left_of_scaling(experiment: schema.Experiment) -> list[str]:
    """Coefficients that are not the paper's, and axes that have an exponent of their own."""
    scaling, coefficients = experiment.scaling, coefficients_of(experiment.scaling)
    left = [
        f"scaling.{name}"
        for name in ("alpha", "beta", "gamma")
        if getattr(coefficients, name) != getattr(PAPERS_COEFFICIENTS, name)
    ]
    left += [f"scaling.base.{name}" for name, value in vars(base_of(scaling)).items() if value != 1]
    moved = [axis for axis, exponent in exponents_of(scaling).items() if exponent != experiment.phi]
    return [*left, *(f"scaling.exponents.{axis}" for axis in moved)]


def _classifier_at(experiment: schema.Experiment, phi: float) -> BackboneScale:
    """The backbone's numbers, each axis at the exponent it has."""
    scaling, family = experiment.scaling, family_of(experiment.backbone)
    coefficients = coefficients_of(scaling)

    def member_at(phi: float) -> BackboneScale:
        return backbone_scale(phi, family, scaling.mode, coefficients)

    return from_base(along(member_at, phi, exponents_of(scaling)), base_of(scaling))


def _detector_at(experiment: schema.Experiment, phi: float) -> DetectorScale:
    scaling, family = experiment.scaling, family_of(experiment.backbone)
    coefficients = coefficients_of(scaling)

    def member_at(phi: float) -> DetectorScale:
        return detector_scale(phi, family, scaling.mode, coefficients)

    return from_base(along(member_at, phi, exponents_of(scaling)), base_of(scaling))


def base_of(scaling: schema.ScalingSettings) -> Base:
    """What phi=0 is against the published network."""
    return Base(**scaling.base.model_dump())


def settle_model(experiment: schema.Experiment, left: list[str]) -> settled.ModelSpec:
    """The network; what left the table joins `left`."""
    return _detector(experiment, left) if experiment.model.name == "efficientdet" else _classifier(experiment, left)


def _detector(experiment: schema.Experiment, left: list[str]) -> settled.DetectorSpec:
    bifpn, head = experiment.bifpn, experiment.head
    assert isinstance(bifpn, schema.BiFPN)
    assert isinstance(head, schema.DetectionHead)
    scale = _detector_at(experiment, experiment.phi)
    return settled.DetectorSpec(
        backbone=_backbone(experiment, scale.backbone_phi, left),
        bifpn=settled.BiFPNSpec(
            channels=_choose(bifpn.channels, scale.bifpn_channels, "bifpn.channels", left),
            repeats=_choose(bifpn.repeats, scale.bifpn_repeats, "bifpn.repeats", left),
            min_level=bifpn.min_level,
            max_level=bifpn.max_level,
            fusion=_choose(bifpn.fusion, scale.fusion, "bifpn.fusion", left),
            redundant_bias=bifpn.redundant_bias,
            topology=_choose(bifpn.topology, "bifpn", "bifpn.topology", left),
        ),
        head=settled.DetectionHeadSpec(
            repeats=_choose(head.repeats, scale.head_repeats, "head.repeats", left),
            anchor_scale=_choose(head.anchor_scale, scale.anchor_scale, "head.anchor_scale", left),
            octaves=head.octaves,
            aspect_ratios=tuple(head.aspect_ratios),
        ),
        style=_style(experiment),
        loss=settled.DetectionLossSpec(**head.loss.model_dump()),
        postprocess=settled.PostprocessSpec(**head.postprocess.model_dump()),
        input=_input(experiment, scale.image_size, left),
    )


def _classifier(experiment: schema.Experiment, left: list[str]) -> settled.ClassifierSpec:
    head = experiment.head
    assert isinstance(head, schema.ClassifierHead)
    scale = _classifier_at(experiment, experiment.phi)
    return settled.ClassifierSpec(
        backbone=_backbone(experiment, experiment.phi, left),
        dropout=_choose(head.dropout, scale.dropout, "head.dropout", left),
        label_smoothing=head.label_smoothing,
        input=_input(experiment, scale.image_size, left),
    )


def _backbone(experiment: schema.Experiment, implied_phi: float, left: list[str]) -> settled.BackboneSpec:
    backbone = experiment.backbone
    match backbone:
        case schema.TimmBackbone():
            return settled.TimmSpec(backbone.architecture, backbone.drop_path)
        case schema.TorchvisionBackbone():
            return settled.TorchvisionSpec(backbone.architecture)
        case schema.AmoebaNet():
            return settled.AmoebaNetSpec(backbone.cell, backbone.cells, backbone.filters, backbone.drop_path)
        case schema.PolyNet():
            return settled.PolyNetSpec(backbone.drop_path)
        case schema.ShuffleNet():
            return settled.ShuffleNetSpec(backbone.groups, backbone.width)
        case _:
            return _scaled_backbone(experiment, backbone, implied_phi, left)


def _scaled_backbone(
    experiment: schema.Experiment, backbone: schema.ScaledBackbone, implied_phi: float, left: list[str]
) -> settled.EfficientNetSpec | settled.ResNetSpec:
    phi = _choose(backbone.phi, implied_phi, "backbone.phi", left)
    scale = _classifier_at(experiment, phi)
    width = _choose(backbone.width, scale.width, "backbone.width", left)
    depth = _choose(backbone.depth, scale.depth, "backbone.depth", left)
    if isinstance(backbone, schema.ResNet):
        resnet = scaled_resnet(backbone.architecture, width, depth)
        sizes = (resnet.stem_channels, resnet.channels, resnet.repeats)
        return settled.ResNetSpec(backbone.architecture, backbone.drop_path or 0.0, phi, width, depth, *sizes)
    network = scaled(_base(backbone), width, depth)
    # google/automl trains detectors on B0 without drop path (efficientdet/backbone/backbone_factory.py).
    plain = experiment.model.name == "efficientdet" and backbone.name == "efficientnet" and phi <= 0
    return settled.EfficientNetSpec(
        family=backbone.name,
        phi=phi,
        width=width,
        depth=depth,
        stem_channels=network.stem_channels,
        stages=network.stages,
        head_channels=network.head_channels,
        drop_path=backbone.drop_path if backbone.drop_path is not None else (0.0 if plain else DROP_PATH),
        style=_style(experiment),
    )


def _base(backbone: schema.AnyBackbone | schema.ScaledBackbone) -> Network:
    """The network that scaling starts from; of networks that are no rows of ours, EfficientNet's."""
    if isinstance(backbone, schema.WrittenStages):
        inputs = [backbone.stem_channels, *(stage.channels for stage in backbone.stages)]
        stages = tuple(map(_stage, backbone.stages, inputs))
        return Network(backbone.stem_channels, stages, backbone.head_channels, backbone.activation)
    return NETWORKS.get(family_of(backbone), NETWORKS["efficientnet"])


def _stage(stage: schema.Stage, in_channels: int) -> StageSpec:
    """Only an MBConv expands and gates."""
    is_mbconv = stage.operator == "mbconv"
    return StageSpec(
        kernel_size=stage.kernel_size,
        stride=stage.stride,
        expand_ratio=stage.expand_ratio if is_mbconv else 1,
        in_channels=in_channels,
        out_channels=stage.channels,
        repeats=stage.repeats,
        se_ratio=stage.se_ratio if is_mbconv else 0.0,
        operator=stage.operator,
        skip=stage.skip,
    )


def _style(experiment: schema.Experiment) -> settled.LayerStyle:
    backbone, model = experiment.backbone, experiment.model
    return settled.LayerStyle(
        activation=_base(backbone).activation,
        padding=getattr(backbone, "padding", None) or PADDING,
        norm_eps=model.norm_eps or NORM_EPS,
        norm_momentum=model.norm_momentum,
    )


def _input(experiment: schema.Experiment, implied: int, left: list[str]) -> settled.InputSpec:
    lite = experiment.backbone.name == "efficientnet_lite"
    return settled.InputSpec(
        image_size=_choose(experiment.model.image_size, (implied, implied), "model.image_size", left),
        mean=experiment.model.mean or (LITE_MEAN if lite else IMAGENET_MEAN),
        std=experiment.model.std or (LITE_STD if lite else IMAGENET_STD),
    )
