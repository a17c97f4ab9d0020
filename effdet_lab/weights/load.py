"""Other weights into a model."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, get_args

from torch import Tensor, nn

from effdet_lab.errors import ConfigError, DataError
from effdet_lab.spec import InitClasses
from effdet_lab.weights.classes import anchors_of, by_name, copy_rows, predictor_of
from effdet_lab.weights.conventions import apply
from effdet_lab.weights.identity import difference, identify
from effdet_lab.weights.parts import BACKBONE, backbone_keys, head_name
from effdet_lab.weights.redundant import settle_biases
from effdet_lab.weights.report import LoadReport, NamedShape, Reinitialised
from effdet_lab.weights.source import Source, read

FEWEST_OF_BACKBONE = 0.5
# A counter that only matters to norms without momentum; some formats leave it out.
COUNTER = "num_batches_tracked"
EDGE_WEIGHTS = "edge_weights"
PYRAMID = ("fpn.", "class_net.", "box_net.")
# Where a backbone of timm's lives, and how timm joins `stages.0.` to `stages_0.` in some of its pyramids.
TIMM_MODEL = "model."
FIRST_ITEM, ITEM_JOINED = r"^(\w+)\.(\d+)\.", r"\1_\2."


def load_weights(
    model: nn.Module,
    source: str | Path | Source,
    *,
    init_classes: InitClasses = "fit",
    classes: Sequence[str] = (),
    set_conventions: bool = True,
) -> LoadReport:
    """Fills the model with what fits by name and shape; the rest keeps its own initial numbers.

    `source` is a .safetensors, .pth, .pt, .ckpt, .npz or .tflite file, a TensorFlow checkpoint, a run's folder,
    timm:NAME or hub:OWNER/NAME, the last two of which may ask the network; its tensors may have the names of timm,
    torchvision, lukemelas/EfficientNet-PyTorch, effdet, zylo117's EfficientDet or google/automl. Where a file holds
    averaged weights, those are taken. A classifier's file fills a detector's backbone.

    The predictor's rows are taken where there are as many ("fit"), from classes of the same name among the model's
    `classes` ("by_name"), or not at all ("new"); a classifier's last layer that starts anew starts at zero. The
    model is set to pad and norm as the source does, unless `set_conventions` is off.
    Raises: DataError if the file is unsafe or damaged, or belongs to another network.
    """
    if init_classes not in get_args(InitClasses):
        raise ConfigError(f"init_classes={init_classes}: must be one of {', '.join(get_args(InitClasses))}.")
    found = source if isinstance(source, Source) else read(source)
    _refuse_another_network(model, found)
    placed = _placed(model, found)
    wanted = [key for key in backbone_keys(model) if not key.endswith(COUNTER)]
    filled = sum(key in placed.fitting for key in wanted)
    if filled < FEWEST_OF_BACKBONE * len(wanted):
        raise DataError(
            f"{found.name}: only {filled} of the backbone's {len(wanted)} tensors fit. This is {found.looks}. "
            "Give weights of the same backbone and phi, or start from random ones with init=null."
        )
    predictor = predictor_of(model)
    pairs = _rows_by_name(found, classes, placed, predictor) if init_classes == "by_name" else {}
    if init_classes != "fit":
        placed = placed.without(f"{predictor}.")
    report = _fill(model, found, placed, tuple(classes[label] for label in pairs))
    _silence_new_head(model, report)
    _copy_classes(model, placed, predictor, pairs)
    if set_conventions:
        apply(found.conventions, model)
    return report


def load_trained(model: nn.Module, source: str | Path | Source) -> LoadReport:
    """Fills the whole model, as it was when it was saved.

    Raises: DataError if anything is missing or has another shape.
    """
    found = source if isinstance(source, Source) else read(source)
    _refuse_another_network(model, found)
    placed = _placed(model, found)
    own = model.state_dict()
    missing = [key for key in own if key not in placed.fitting and not key.endswith(COUNTER)]
    if missing:
        there, asked = _class_counts(model, placed)
        if there != asked and all(key.startswith(f"{predictor_of(model)}.") for key in missing):
            raise DataError(
                f"{found.name}: has {there} classes, and {asked} were asked for. Give data.classes=[...] as it was "
                "trained, or use it as init=."
            )
        raise DataError(
            f"{found.name}: {len(missing)} of the model's {len(own)} tensors are not in it or have another "
            f"shape, {missing[0]} first. This is {found.looks}. Give the settings it was trained with."
        )
    return _fill(model, found, placed, ())


class Placed(NamedTuple):
    """A source's tensors by the model's names, where it has them, and those that fit."""

    tensors: dict[str, Tensor]
    fitting: dict[str, Tensor]
    file_names: dict[str, str]
    added: int  # biases that say nothing, set to zero
    folded: int  # the same, moved into the norm that follows

    def without(self, prefix: str) -> "Placed":
        kept = {name: tensor for name, tensor in self.fitting.items() if not name.startswith(prefix)}
        return self._replace(fitting=kept)


def _renamings(names: Sequence[str]) -> Iterator[dict[str, str]]:
    """The ways a source's names may translate to a model's; the one that fits most is taken."""
    yield {name: name for name in names}
    yield {name: f"{BACKBONE}{name}" for name in names}
    for flatten in (False, True):
        yield {name: _timm_pyramid_name(name, flatten) for name in names}
    for prefix in (BACKBONE, f"{BACKBONE}{TIMM_MODEL}"):
        if any(name.startswith(prefix) for name in names):
            yield {name: name.removeprefix(prefix) for name in names}


def _timm_pyramid_name(name: str, flatten: bool) -> str:
    """A classifier's or effdet's name where timm's model is one module of the backbone, its first items joined on."""
    inner, in_pyramid = name.removeprefix(BACKBONE), name.startswith(PYRAMID)
    if in_pyramid:
        return name
    return f"{BACKBONE}{TIMM_MODEL}{re.sub(FIRST_ITEM, ITEM_JOINED, inner) if flatten else inner}"


def _placed(model: nn.Module, found: Source) -> Placed:
    own = model.state_dict()

    def fitting(names: dict[str, str]) -> int:
        return sum(own[name].shape == found.tensors[key].shape for key, name in names.items() if name in own)

    names = max(_renamings(list(found.tensors)), key=fitting)
    tensors, added, folded = settle_biases(
        {names[key]: tensor for key, tensor in found.tensors.items()}, frozenset(own)
    )
    fits = {name: tensor for name, tensor in tensors.items() if name in own and own[name].shape == tensor.shape}
    # A counter fits any norm; it goes with its norm's weight.
    fits = {name: tensor for name, tensor in fits.items() if name.replace(COUNTER, "weight") in fits}
    return Placed(tensors, fits, {names[key]: found.file_names[key] for key in names}, added, folded)


def _refuse_another_network(model: nn.Module, found: Source) -> None:
    wanted = identify({name: tuple(tensor.shape) for name, tensor in model.state_dict().items()})
    if found.identity is None or wanted is None:
        return
    problem = difference(found.identity, wanted)
    if problem:
        raise DataError(f"{found.name}: {problem[0].lower()}{problem[1:]}")


def _class_counts(model: nn.Module, placed: Placed) -> tuple[int, int]:
    """How many classes the source and the model have; 0 where it has no predictor."""
    own = model.state_dict()
    rows, anchors = f"{predictor_of(model)}.weight", anchors_of(own)
    there, asked = (len(tensors[rows]) // anchors if rows in tensors else 0 for tensors in (placed.tensors, own))
    return there, asked


def _rows_by_name(found: Source, classes: Sequence[str], placed: Placed, predictor: str | None) -> dict[int, int]:
    """For each class of the model that the source knows, its number there."""
    if not classes:
        raise ConfigError("init_classes=by_name: the model's classes have no names. Use init_classes=fit or new.")
    if f"{predictor}.weight" not in placed.tensors:
        return {}
    if not found.classes:
        raise DataError(
            f"init_classes=by_name: {found.name} does not tell what its outputs are. Use init_classes=fit or new."
        )
    return by_name(classes, found.classes)


def _copy_classes(model: nn.Module, placed: Placed, predictor: str | None, pairs: dict[int, int]) -> None:
    if not pairs:
        return
    own = model.state_dict()
    for tail in ("weight", "bias"):
        name = f"{predictor}.{tail}"
        copy_rows(own[name], placed.tensors[name], pairs, anchors_of(own))


def _fill(model: nn.Module, found: Source, placed: Placed, copied: tuple[str, ...]) -> LoadReport:
    own = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    shapes = {name: tuple(tensor.shape) for name, tensor in placed.tensors.items()}
    model.load_state_dict(placed.fitting, strict=False)
    return LoadReport(
        source=found.name,
        looks=found.looks,
        grammar=found.grammar,
        conventions=str(found.conventions),
        matched=tuple(NamedShape(name, shape) for name, shape in own.items() if name in placed.fitting),
        reinitialised=tuple(
            Reinitialised(name, shape, shapes.get(name))
            for name, shape in own.items()
            if name not in placed.fitting and not name.endswith(COUNTER)
        ),
        dropped=tuple(
            NamedShape(placed.file_names[name], shape)
            for name, shape in shapes.items()
            if name not in own and not name.endswith(COUNTER)
        ),
        copied_classes=copied,
        notes=tuple(_notes(found, placed, own)),
    )


def _notes(found: Source, placed: Placed, own: Mapping[str, object]) -> Iterator[str]:
    if found.identity and found.identity.is_detector and any(name.startswith(PYRAMID) for name in own):
        fused, fuses = (any(name.endswith(EDGE_WEIGHTS) for name in names) for names in (placed.tensors, own))
        if fused != fuses:
            way, option = ("weighs what it fuses", "fast") if fused else ("only adds what it fuses", "sum")
            yield f"Its BiFPN {way}: use bifpn={option}."
    if placed.added:
        yield f"{placed.added} biases before a norm are not in the file; zeros say the same."
    if placed.folded:
        yield f"{placed.folded} biases before a norm have no place in the model; the norms' means took them up."
    if found.grammar == "tflite":
        yield "Its norms are folded into its convolutions: judge with it or keep it frozen; training would renew them."
    if found.grammar == "zylo":
        yield "Its own code pads max-pooling with zeros; here it is minus infinity, as in the code that trained it."


def _silence_new_head(model: nn.Module, report: LoadReport) -> None:
    """On trained features random weights would shout: the first answer is every class alike.

    Source: Kolesnikov et al., Big Transfer (ECCV 2020), section 3.3.
    """
    head = head_name(model)
    if head is not None and f"{head}.weight" in {tensor.name for tensor in report.reinitialised}:
        for parameter in model.get_submodule(head).parameters():
            nn.init.zeros_(parameter)
