"""Other weights into a model: files, run folders, published ones."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from torch import Tensor, nn

from effdet_lab.errors import DataError
from effdet_lab.weights.files import TIMM, read_file
from effdet_lab.weights.parts import BACKBONE, backbone_keys, head_name
from effdet_lab.weights.report import LoadReport, NamedShape, Reinitialised

Tensors = Mapping[str, Tensor]
CHECKPOINTS = ("checkpoints/best.ckpt", "checkpoints/last.ckpt")
FEWEST_OF_BACKBONE = 0.5
# A counter that only matters to norms without momentum; some formats leave it out.
COUNTER = "num_batches_tracked"
# What people train elsewhere, told by a name that only they use.
STRANGERS = {
    "features.0.0.weight": "a torchvision model",
    "_conv_stem.weight": "an EfficientNet of lukemelas/EfficientNet-PyTorch",
    "backbone_net.model._conv_stem.conv.weight": "an EfficientDet of zylo117/Yet-Another-EfficientDet-Pytorch",
    "conv1.weight": "a ResNet",
    "conv_stem.weight": "an EfficientNet of another size or family",
    "backbone.conv_stem.weight": "an EfficientDet of another size or family",
}


def load_weights(model: nn.Module, source: str | Path) -> LoadReport:
    """Fills the model with what fits by name and shape; the rest keeps its own initial numbers.

    `source` is a .safetensors, .pth, .pt or .ckpt file, a run's folder, or timm:NAME, which may ask the network.
    A classifier's file fills a detector's backbone. A classifier's last layer that starts anew starts at
    zero. Where a file holds averaged weights, those are taken.
    Raises: DataError if the file is unsafe or damaged, or fits less than half of the backbone.
    """
    tensors = read(source)
    names, fitting = _best_fit(model, tensors)
    wanted = [key for key in backbone_keys(model) if not key.endswith(COUNTER)]
    filled = sum(key in fitting for key in wanted)
    if filled < FEWEST_OF_BACKBONE * len(wanted):
        raise DataError(
            f"{source}: only {filled} of the backbone's {len(wanted)} tensors fit. {_looks(tensors)} "
            "Give weights of the same backbone and phi, or start from random ones with init=null."
        )
    report = _fill(model, tensors, names, fitting, source)
    _silence_new_head(model, report)
    return report


def load_trained(model: nn.Module, source: str | Path) -> LoadReport:
    """Fills the whole model, as it was when it was saved.

    Raises: DataError if anything is missing or has another shape.
    """
    tensors = read(source)
    names, fitting = _best_fit(model, tensors)
    missing = [key for key in model.state_dict() if key not in fitting and not key.endswith(COUNTER)]
    if missing:
        raise DataError(
            f"{source}: {len(missing)} of the model's {len(model.state_dict())} tensors are not in it or have another "
            f"shape, {missing[0]} first. {_looks(tensors)} Give the settings it was trained with."
        )
    return _fill(model, tensors, names, fitting, source)


def read(source: str | Path) -> dict[str, Tensor]:
    """The tensors of a source by their names in it, without the wrappings that trainers put around them.

    Raises: DataError where there is nothing to load.
    """
    if str(source).startswith(TIMM):
        from effdet_lab.weights.published import read_timm  # timm takes seconds to import

        return read_timm(str(source).removeprefix(TIMM))
    path = Path(source)
    if path.is_dir():
        inside = [path / name for name in CHECKPOINTS if (path / name).exists()]
        if not inside:
            raise DataError(f"{source}: this folder has no {' or '.join(CHECKPOINTS)}. Name a file or a run's folder.")
        path = inside[0]
    return read_file(path)


def renamings(tensors: Tensors) -> Iterator[dict[str, str]]:
    """The ways a file's names may translate to a model's; the one that fits most is taken."""
    yield {key: key for key in tensors}
    yield {key: f"{BACKBONE}{key}" for key in tensors}
    yield {key: f"{BACKBONE}model.{key}" for key in tensors}
    if any(key.startswith(BACKBONE) for key in tensors):
        yield {key: key.removeprefix(BACKBONE) for key in tensors}


def _best_fit(model: nn.Module, tensors: Tensors) -> tuple[dict[str, str], dict[str, Tensor]]:
    """The model's name of each of the file's tensors, and the tensors that fit by the model's names."""
    own = model.state_dict()

    def fitting(names: dict[str, str]) -> dict[str, Tensor]:
        pairs = ((name, tensors[key]) for key, name in names.items())
        return {name: tensor for name, tensor in pairs if name in own and own[name].shape == tensor.shape}

    return max(((names, fitting(names)) for names in renamings(tensors)), key=lambda choice: len(choice[1]))


def _fill(
    model: nn.Module, tensors: Tensors, names: dict[str, str], fitting: Tensors, source: str | Path
) -> LoadReport:
    own = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found = {name: tuple(tensors[key].shape) for key, name in names.items()}
    model.load_state_dict(fitting, strict=False)
    return LoadReport(
        source=str(source),
        matched=tuple(NamedShape(name, shape) for name, shape in own.items() if name in fitting),
        reinitialised=tuple(
            Reinitialised(name, shape, found.get(name))
            for name, shape in own.items()
            if name not in fitting and not name.endswith(COUNTER)
        ),
        dropped=tuple(NamedShape(key, found[name]) for key, name in names.items() if name not in own),
    )


def _silence_new_head(model: nn.Module, report: LoadReport) -> None:
    """On trained features random weights would shout: the first answer is every class alike.

    Source: Kolesnikov et al., Big Transfer (ECCV 2020), section 3.3.
    """
    head = head_name(model)
    if head is not None and f"{head}.weight" in {tensor.name for tensor in report.reinitialised}:
        for parameter in model.get_submodule(head).parameters():
            nn.init.zeros_(parameter)


def _looks(tensors: Tensors) -> str:
    kind = next((kind for name, kind in STRANGERS.items() if name in tensors), None)
    return f"It looks like {kind}." if kind else f"Its names begin with {', '.join(list(tensors)[:3])}."
