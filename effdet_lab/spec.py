"""One runnable experiment, settled: every number is known, nothing is null that a run would have to guess."""

import dataclasses
import hashlib
import json
import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from effdet_lab.scaling import PAPERS_COEFFICIENTS, PUBLISHED_BASE, Axis, Base, Coefficients, Fusion, Scaling
from effdet_lab.stages import Activation, Family, StageSpec
from effdet_lab.topology import Topology

Task = Literal[
    "train",
    "evaluate",
    "predict",
    "plan",
    "search",
    "forecast",
    "report",
    "verify",
    "export",
    "compare",
    "status",
    "dashboard",
]
Size = tuple[int, int]  # height, width in pixels
Colour = tuple[float, float, float]  # red, green, blue as fractions of 255
InitClasses = Literal["fit", "by_name", "new"]
AmoebaNetCell = Literal["a", "b", "c"]
ExportGrammar = Literal["own", "timm", "effdet"]
Evaluator = Literal["faster_coco_eval", "pycocotools", "hotcoco"]


@dataclass(frozen=True)
class LayerStyle:
    """What every convolution of a network shares."""

    activation: Activation
    padding: Literal["same", "symmetric"]
    norm_eps: float
    norm_momentum: float  # torch's convention: the weight of the new batch


@dataclass(frozen=True)
class EfficientNetSpec:
    """An EfficientNet, or another network that is a stem, stages and a head, scaled."""

    family: Family
    phi: float
    width: float
    depth: float
    stem_channels: int
    stages: tuple[StageSpec, ...]
    head_channels: int  # 0: the classifier follows the last stage
    drop_path: float  # of block i of N it is i / N of this
    style: LayerStyle


@dataclass(frozen=True)
class TimmSpec:
    """Any timm network."""

    architecture: str
    drop_path: float


@dataclass(frozen=True)
class ResNetSpec:
    """One of timm's ResNets, scaled."""

    architecture: str
    drop_path: float
    phi: float
    width: float
    depth: float
    stem_channels: int
    channels: tuple[int, ...]  # of each stage, within its bottlenecks
    repeats: tuple[int, ...]


@dataclass(frozen=True)
class TorchvisionSpec:
    """Any of torchvision's classifiers."""

    architecture: str


@dataclass(frozen=True)
class AmoebaNetSpec:
    """AmoebaNet: which cell it repeats, how often in each of its three stacks, and how wide."""

    cell: AmoebaNetCell
    cells: int
    filters: int
    drop_path: float


@dataclass(frozen=True)
class PolyNetSpec:
    """The Very Deep PolyNet."""

    drop_path: float


@dataclass(frozen=True)
class ShuffleNetSpec:
    """ShuffleNet V1."""

    groups: int
    width: float


ComparatorSpec = TimmSpec | TorchvisionSpec | AmoebaNetSpec | PolyNetSpec | ShuffleNetSpec
BackboneSpec = EfficientNetSpec | ResNetSpec | ComparatorSpec


@dataclass(frozen=True)
class InputSpec:
    """What the network sees: its size and how pixels become numbers."""

    image_size: Size
    mean: Colour
    std: Colour


@dataclass(frozen=True)
class BiFPNSpec:
    """The feature network."""

    channels: int
    repeats: int
    min_level: int
    max_level: int
    fusion: Fusion
    redundant_bias: bool  # a bias before a batch norm, as the official weights carry it
    topology: Topology = "bifpn"


@dataclass(frozen=True)
class DetectionHeadSpec:
    """Class and box heads with their anchors."""

    repeats: int
    anchor_scale: float  # side of the smallest anchor, in strides
    octaves: int
    aspect_ratios: tuple[tuple[float, float], ...]  # width and height factors


@dataclass(frozen=True)
class DetectionLossSpec:
    """Focal and Huber loss."""

    alpha: float
    gamma: float
    label_smoothing: float
    huber_delta: float
    box_weight: float


@dataclass(frozen=True)
class PostprocessSpec:
    """From logits to at most `max_detections` boxes a picture."""

    nms: Literal["hard", "soft"]
    iou_threshold: float
    score_threshold: float
    soft_sigma: float
    max_points: int
    max_detections: int


@dataclass(frozen=True)
class DetectorSpec:
    """EfficientDet, or another backbone behind its BiFPN and heads."""

    backbone: BackboneSpec
    bifpn: BiFPNSpec
    head: DetectionHeadSpec
    style: LayerStyle  # of BiFPN and heads
    loss: DetectionLossSpec
    postprocess: PostprocessSpec
    input: InputSpec


@dataclass(frozen=True)
class ClassifierSpec:
    """A backbone with its own classifier head."""

    backbone: BackboneSpec
    dropout: float
    label_smoothing: float
    input: InputSpec


ModelSpec = DetectorSpec | ClassifierSpec


@dataclass(frozen=True)
class DigitScenesSource:
    """Handwritten digits on canvases, drawn on first use as a COCO data set."""

    canvas: Size
    train_images: int
    val_images: int
    seed: int


@dataclass(frozen=True)
class CocoSource:
    """COCO JSON; an empty path stands for the usual place under the root."""

    train_annotations: str
    train_images: str
    val_annotations: str
    val_images: str


@dataclass(frozen=True)
class VocSource:
    """Pascal VOC: ImageSets/Main/<split>.txt, Annotations, JPEGImages."""

    train_split: str
    val_split: str
    keep_difficult: bool


@dataclass(frozen=True)
class DigitsSource:
    """Handwritten digits for classification, every fifth one held out."""


@dataclass(frozen=True)
class FolderSource:
    """<split>/<class>/<picture>, or one flat folder whose file names tell the class."""

    train_folder: str
    val_folder: str
    class_pattern: str  # a regular expression whose first group is the class; empty: the folder's name is


@dataclass(frozen=True)
class Cifar10Source:
    """CIFAR-10's own archive, or its pictures as folders."""

    download: bool


TransferName = Literal["cifar100", "birdsnap", "stanford_cars", "flowers102", "fgvc_aircraft", "oxford_pets", "food101"]


@dataclass(frozen=True)
class TransferSource:
    """A data set that EfficientNet was transferred to, as its authors release it, or its pictures as folders."""

    name: TransferName
    download: bool


DetectionSource = DigitScenesSource | CocoSource | VocSource
ClassificationSource = DigitsSource | FolderSource | Cifar10Source | TransferSource


@dataclass(frozen=True)
class DetectionAugment:
    """Changes to a training picture and its boxes."""

    flip: float  # probability of a mirror image
    scale: tuple[float, float]  # size against the letterboxed one; (1, 1) is none
    colour: float  # strength of brightness, contrast and saturation jitter; 0 is none


@dataclass(frozen=True)
class ClassificationAugment:
    """Changes to a training picture."""

    flip: float
    crop_scale: tuple[float, float]  # area of the random crop, as a fraction
    randaugment_layers: int  # 0 is none
    randaugment_magnitude: int  # of 30


@dataclass(frozen=True)
class DataSpec:
    """A data set and how it is fed."""

    name: str
    root: str
    source: DetectionSource | ClassificationSource
    augment: DetectionAugment | ClassificationAugment
    classes: tuple[str, ...]  # empty until the data was read
    num_classes: int  # 0 until the data was read
    category_ids: tuple[int, ...]  # the file's id of each label; empty until the data was read
    batch_size: int  # over all devices
    workers: int  # processes a device
    on_error: Literal["refuse", "skip"]
    cache: bool  # keep decoded pictures in memory
    crop_fraction: float  # evaluation: the share of the resized picture a classifier sees
    interpolation: Literal["bilinear", "bicubic"]
    fold: int = -1  # which part of the training split evaluates; -1: the val split does
    folds: int = 5  # parts

    @property
    def is_cut(self) -> bool:
        """Whether the training split is cut into folds."""
        return self.fold >= 0


@dataclass(frozen=True)
class OptimSpec:
    """Optimiser, schedule and average."""

    name: Literal["sgd", "adamw", "rmsproptf"]
    learning_rate: float  # settled for this batch size
    momentum: float
    weight_decay: float  # on kernels only
    schedule: Literal["cosine", "constant"]
    warmup_epochs: float
    clip_norm: float  # 0 is none
    ema_decay: float  # 0 is none
    freeze: tuple[str, ...]  # regular expressions; a parameter whose name one of them finds is not trained
    backbone_rate: float  # factor on the backbone's learning rate


@dataclass(frozen=True)
class TrainerSpec:
    """Where and how long."""

    gpus: int
    processes: int  # CPU processes, when there are no GPUs
    num_nodes: int
    precision: Literal["32", "bf16", "16"]
    max_epochs: int
    max_steps: int  # -1: as long as the epochs last
    accumulate: int  # batches a step
    evaluate_every: int  # epochs
    channels_last: bool
    compile: bool
    deterministic: bool
    strategy: Literal["ddp", "fsdp"] = "ddp"  # of several processes: each has all weights, or a part
    min_steps: int = 0  # the epochs become as many as it takes, once the data is known

    @property
    def world_size(self) -> int:
        """Processes in all."""
        return max(self.gpus, self.processes) * self.num_nodes


@dataclass(frozen=True)
class LoggerSpec:
    """Who keeps the curves besides metrics.csv."""

    name: Literal["wandb", "csv", "tensorboard", "trackio"]
    project: str
    group: str
    mode: Literal["auto", "online", "offline"]
    images: int  # pictures drawn at the end
    artifact: bool = False  # W&B keeps the checkpoints too


@dataclass(frozen=True)
class BudgetSpec:
    """What a network may cost; 0 is no limit. It is no part of an experiment: it finds one's phi."""

    macs: int
    growth: float  # of the multiply-adds, from phi=0 on
    params: int
    latency_ms: float
    memory: int  # bytes
    free: tuple[Axis, ...]

    @property
    def is_given(self) -> bool:
        """Whether anything is limited."""
        return bool(self.macs or self.growth or self.params or self.latency_ms or self.memory)


@dataclass(frozen=True)
class ExportSpec:
    """How task=export writes weights."""

    grammar: ExportGrammar
    hub: str  # OWNER/NAME to push to; empty: nowhere


@dataclass(frozen=True)
class PlanSpec:
    """How an experiment is priced."""

    probe: bool  # by training a few steps
    memory: int  # bytes of the device it shall fit; 0: this machine's


@dataclass(frozen=True)
class ExperimentSpec:
    """Everything a run needs to know."""

    name: str
    task: Task
    phi: float
    scaling: Scaling
    seed: int
    model: ModelSpec
    data: DataSpec
    optim: OptimSpec
    trainer: TrainerSpec
    logger: LoggerSpec
    evaluator: Evaluator
    checkpoint: str  # empty: none
    init: str  # empty: random
    predictions: str  # empty: the model predicts
    annotations: str  # ground truth for `predictions`
    input: str  # pictures for task=predict
    off_table: tuple[str, ...]  # settings that left what phi implies
    overrides: tuple[str, ...] = ()  # what was typed
    init_classes: InitClasses = "fit"
    export: ExportSpec = ExportSpec("own", "")
    target: Literal["local", "wandb"] = "local"  # of task=dashboard
    runs: tuple[str, ...] = ()  # folders for task=compare, report and forecast
    published: tuple[str, ...] = ()  # tables for task=report
    coefficients: Coefficients = PAPERS_COEFFICIENTS
    base: Base = PUBLISHED_BASE
    left_to_weights: tuple[str, ...] = ()  # settings that nobody wrote and that belong to the weights, where they tell
    plan: PlanSpec = PlanSpec(False, 0)


def is_detector(spec: ExperimentSpec) -> bool:
    """Whether the model draws boxes."""
    return isinstance(spec.model, DetectorSpec)


def with_classes(spec: ExperimentSpec, classes: tuple[str, ...], category_ids: tuple[int, ...]) -> ExperimentSpec:
    """The same experiment, once its data told what the classes are."""
    data = dataclasses.replace(spec.data, classes=classes, num_classes=len(classes), category_ids=category_ids)
    return dataclasses.replace(spec, data=data)


def to_dict(value: Any) -> Any:
    """Plain lists, dictionaries and scalars; a record in a union says its `kind`."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: to_dict(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {"kind": type(value).__name__, **fields}
    if isinstance(value, tuple):
        return [to_dict(item) for item in value]
    return value


def from_dict(data: Mapping[str, Any]) -> ExperimentSpec:
    """The inverse of `to_dict`."""
    return _read(ExperimentSpec, data)


def fingerprint(spec: ExperimentSpec) -> str:
    """The same for experiments with the same numbers, however they were typed."""
    numbers = to_dict(dataclasses.replace(spec, overrides=()))
    del numbers["plan"]  # how an experiment is priced is no part of it
    return hashlib.sha256(json.dumps(numbers, sort_keys=True).encode()).hexdigest()[:16]


def _read(kind: Any, value: Any) -> Any:
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        kind = next(choice for choice in get_args(kind) if choice.__name__ == value["kind"])
    if dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind)
        names = [field.name for field in dataclasses.fields(kind) if field.name in value]
        return kind(**{name: _read(hints[name], value[name]) for name in names})
    if origin is tuple:
        parts = get_args(kind)
        kinds = [parts[0]] * len(value) if parts[-1] is Ellipsis else parts
        return tuple(_read(part, item) for part, item in zip(kinds, value, strict=True))
    return value
