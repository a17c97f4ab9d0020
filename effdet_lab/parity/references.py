"""The reference implementations, built for the same network and filled with the same weights."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any, NamedTuple

import timm
import torchvision
from torch import Tensor, nn

from effdet_lab.errors import DataError, MachineError
from effdet_lab.spec import ClassifierSpec, DetectorSpec, EfficientNetSpec, ExperimentSpec
from effdet_lab.weights.identity import identity_of
from effdet_lab.weights.save import named_for
from effdet_lab.weights.source import Source

# How effdet calls the ways of fusion.
FUSIONS = {"fast": "bifpn_fa", "softmax": "bifpn_attn", "sum": "bifpn_sum"}


class Stage(NamedTuple):
    """A place where both networks can be watched: the names of a module of ours and of the reference's."""

    title: str
    ours: str
    theirs: str


class Reference(NamedTuple):
    """Another code's network, in evaluation mode, with the weights under test."""

    name: str
    model: nn.Module
    stages: tuple[Stage, ...]


def reference_for(spec: ExperimentSpec, found: Source, model: nn.Module) -> Reference:
    """The reference of these weights: torchvision's own for its names, timm for classifiers, effdet for detectors.

    It is filled with the file's tensors under the file's names where they are its own, else with those of `model`.
    Raises: DataError for a network nobody else builds; MachineError where the reference is not installed.
    """
    identity = identity_of(spec.model)
    members = identity.members() if identity else []
    if not members:
        raise DataError(
            f"checkpoint={found.name}: only the published EfficientNets and EfficientDets have a reference. "
            f"This is {identity or 'built by timm itself'}."
        )
    # D6 and D7 are one network at two sizes.
    member = members[0].name.rpartition("-")[2].lower()
    if isinstance(spec.model, DetectorSpec):
        reference = _effdet(spec.model, member, spec.data.num_classes)
        own_names = found.grammar == "effdet"
    else:
        assert isinstance(spec.model, ClassifierSpec)
        build = _torchvision if found.grammar == "torchvision" else _timm
        reference = build(spec.model, member, spec.data.num_classes)
        own_names = found.grammar in ("timm", "torchvision")
    tensors = _in_file(found) if own_names else named_for(model, "own")
    _fill(reference, tensors, found)
    reference.model.eval()
    return reference


def _timm(classifier: ClassifierSpec, member: str, num_classes: int) -> Reference:
    name = f"{_prefix(classifier.backbone)}efficientnet_{member}"
    model = timm.create_model(name, num_classes=num_classes)
    stages = [Stage("stem", "act1", "bn1"), *_block_stages(classifier, "blocks.{}", ""), Stage("head", "act2", "bn2")]
    return Reference(f"timm {name}", model, tuple(stages))


def _torchvision(classifier: ClassifierSpec, member: str, num_classes: int) -> Reference:
    name = f"efficientnet_{member}"
    model = getattr(torchvision.models, name)(num_classes=num_classes)
    number = len(_efficientnet(classifier.backbone).stages)
    blocks = [Stage(f"stage {stage + 1}", f"blocks.{stage}", f"features.{stage + 1}") for stage in range(number)]
    stages = [Stage("stem", "act1", "features.0"), *blocks, Stage("head", "act2", f"features.{number + 1}")]
    return Reference(f"torchvision {name}", model, tuple(stages))


def _effdet(detector: DetectorSpec, member: str, num_classes: int) -> Reference:
    effdet = _import_effdet()
    bifpn, head = detector.bifpn, detector.head
    config = effdet.get_efficientdet_config(f"tf_efficientdet_{member}")
    config.backbone_name = f"{_prefix(detector.backbone)}{config.backbone_name.removeprefix('tf_')}"
    config.backbone_args = {"drop_path_rate": 0.0}
    config.num_classes, config.image_size = num_classes, detector.input.image_size
    config.fpn_name, config.redundant_bias = FUSIONS[bifpn.fusion], bifpn.redundant_bias
    config.pad_type = "same" if detector.style.padding == "same" else ""
    config.anchor_scale, config.num_scales, config.aspect_ratios = head.anchor_scale, head.octaves, head.aspect_ratios
    config.soft_nms = detector.postprocess.nms == "soft"
    stages = [
        Stage("backbone stem", "backbone.act1", "backbone.bn1"),
        *_block_stages(detector, "backbone.blocks.{}", "backbone "),
        *(Stage(f"BiFPN cell {cell + 1}", f"fpn.cell.{cell}", f"fpn.cell.{cell}") for cell in range(bifpn.repeats)),
    ]
    prefix = "tf_" if detector.style.padding == "same" else ""
    model = effdet.EfficientDet(config, pretrained_backbone=False)
    return Reference(f"effdet {prefix}efficientdet_{member}", model, tuple(stages))


def _block_stages(model: ClassifierSpec | DetectorSpec, names: str, title: str) -> list[Stage]:
    count = len(_efficientnet(model.backbone).stages)
    return [Stage(f"{title}stage {stage + 1}", names.format(stage), names.format(stage)) for stage in range(count)]


def _efficientnet(backbone: object) -> EfficientNetSpec:
    assert isinstance(backbone, EfficientNetSpec)
    return backbone


def _prefix(backbone: object) -> str:
    """timm's word for networks that pad and norm like TensorFlow's."""
    return "tf_" if _efficientnet(backbone).style.padding == "same" else ""


def _in_file(found: Source) -> dict[str, Tensor]:
    return {found.file_names[name]: tensor for name, tensor in found.tensors.items()}


def _fill(reference: Reference, tensors: Mapping[str, Tensor], found: Source) -> None:
    """Every tensor but the norms' counters must be there: a reference that loads loosely proves nothing.

    A bias before a norm may be zero on one side and absent on the other.
    """
    wanted = reference.model.state_dict()
    absent = {name for name in wanted if name not in tensors and not name.endswith("num_batches_tracked")}
    redundant = {name for name in absent if name.endswith(".bias") and f"{name.removesuffix('bias')}weight" in tensors}
    if absent - redundant:
        raise DataError(
            f"checkpoint={found.name}: {len(absent)} tensors of {reference.name} are not in it, {min(absent)} first."
        )
    zeros = {name: wanted[name].new_zeros(wanted[name].shape) for name in redundant}
    known = {name: tensor for name, tensor in tensors.items() if name in wanted}
    reference.model.load_state_dict({**known, **zeros}, strict=False)


def _import_effdet() -> Any:
    try:
        return import_module("effdet")
    except ImportError:
        raise MachineError(
            "task=verify: effdet is not installed. Install it with pip install 'effdet-lab[verify]'."
        ) from None
