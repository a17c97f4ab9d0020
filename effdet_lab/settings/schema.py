"""What a user may write: one pydantic model a group. A null means "as phi says" or "as the data says".

The comments in conf/ say what each setting is; here stand types and ranges.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field

from effdet_lab.scaling import Axis, Fusion, Scaling
from effdet_lab.sizes import parse_bytes, parse_count
from effdet_lab.spec import AmoebaNetCell, Evaluator, ExportGrammar, InitClasses, Task, TransferName
from effdet_lab.stages import Activation, Family, Operator
from effdet_lab.topology import Topology

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(ge=0, lt=1)]
Pixels = Annotated[int, Field(ge=32, le=8192)]


def _square(value: object) -> object:
    """One number stands for both sides."""
    if isinstance(value, int) and not isinstance(value, bool):
        return (value, value)
    if not isinstance(value, list | tuple):
        raise ValueError("must be one whole number or [height, width].")
    return value


ImageSize = Annotated[tuple[Pixels, Pixels], BeforeValidator(_square)]
ColourSetting = tuple[float, float, float] | None


class Settings(BaseModel):
    """A group of settings: strangers are refused."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())


Multiplier = Annotated[float, Field(ge=1, le=4)]


class Exponents(Settings):
    depth: float | None
    width: float | None
    resolution: float | None
    backbone: float | None
    bifpn_width: float | None
    bifpn_depth: float | None
    heads: float | None


class BaseNetwork(Settings):
    depth: float = Field(gt=0, le=20)
    width: float = Field(gt=0, le=20)
    resolution: float = Field(gt=0, le=20)


class ScalingSettings(Settings):
    mode: Scaling
    base: BaseNetwork
    alpha: Multiplier | None
    beta: Multiplier | None
    gamma: Multiplier | None
    exponents: Exponents


class ModelSettings(Settings):
    name: Literal["efficientdet", "efficientnet"]
    image_size: ImageSize | None
    mean: ColourSetting
    std: ColourSetting
    norm_eps: float | None = Field(gt=0, lt=1)
    norm_momentum: float = Field(gt=0, le=1)


class ScaledBackbone(Settings):
    name: Family
    phi: float | None
    width: float | None = Field(gt=0, le=20)
    depth: float | None = Field(gt=0, le=50)
    drop_path: Rate | None


class NamedStages(ScaledBackbone):
    name: Literal["efficientnet", "efficientnet_lite", "mobilenet_v1", "mobilenet_v2"]
    padding: Literal["same", "symmetric"] | None


class Stage(Settings):
    operator: Operator
    kernel_size: Literal[1, 3, 5, 7]
    stride: Literal[1, 2]
    expand_ratio: int = Field(ge=1, le=16)
    channels: int = Field(ge=8, le=8192)
    repeats: int = Field(ge=1, le=64)
    se_ratio: Fraction
    skip: bool


class WrittenStages(ScaledBackbone):
    name: Literal["staged"]
    padding: Literal["same", "symmetric"] | None
    activation: Activation
    stem_channels: int = Field(ge=8, le=8192)
    head_channels: int = Field(ge=0, le=16384)
    stages: list[Stage] = Field(min_length=1)


class ResNet(ScaledBackbone):
    name: Literal["resnet"]
    architecture: Literal["resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnet200"]


class TimmBackbone(Settings):
    name: Literal["timm"]
    architecture: str
    drop_path: Rate


class TorchvisionBackbone(Settings):
    name: Literal["torchvision"]
    architecture: str


class AmoebaNet(Settings):
    name: Literal["amoebanet"]
    cell: AmoebaNetCell
    cells: int = Field(ge=1, le=64)
    filters: int = Field(ge=16, le=4096)
    drop_path: Rate


class PolyNet(Settings):
    name: Literal["polynet"]
    drop_path: Rate


class ShuffleNet(Settings):
    name: Literal["shufflenet_v1"]
    groups: Literal[1, 2, 3, 4, 8]
    width: float = Field(gt=0, le=8)


class BiFPN(Settings):
    name: Literal["bifpn"]
    channels: int | None = Field(ge=8, le=4096)
    repeats: int | None = Field(ge=1, le=64)
    fusion: Fusion | None
    min_level: Literal[3]
    max_level: int = Field(ge=5, le=9)
    redundant_bias: bool
    topology: Topology


class NoFeatureNetwork(Settings):
    name: Literal["none"]


class FocalAndHuber(Settings):
    alpha: Fraction
    gamma: float = Field(ge=0, le=10)
    label_smoothing: Rate
    huber_delta: float = Field(gt=0)
    box_weight: float = Field(ge=0)


class Postprocess(Settings):
    nms: Literal["hard", "soft"]
    iou_threshold: Fraction
    soft_sigma: float = Field(gt=0)
    score_threshold: Fraction
    max_points: Positive
    max_detections: Positive


class DetectionHead(Settings):
    name: Literal["efficientdet"]
    repeats: int | None = Field(ge=1, le=64)
    anchor_scale: float | None = Field(gt=0, le=64)
    octaves: int = Field(ge=1, le=8)
    aspect_ratios: list[tuple[float, float]] = Field(min_length=1)
    loss: FocalAndHuber
    postprocess: Postprocess


class ClassifierHead(Settings):
    name: Literal["classifier"]
    dropout: Rate | None
    label_smoothing: Rate


class DetectionAugmentation(Settings):
    flip: Fraction
    scale: tuple[float, float]
    colour: Fraction


class ClassificationAugmentation(Settings):
    flip: Fraction
    crop_scale: tuple[float, float]
    randaugment_layers: int = Field(ge=0, le=16)
    randaugment_magnitude: int = Field(ge=0, le=30)


class DataSettings(Settings):
    root: str | None
    classes: list[str] | None
    batch_size: Positive
    workers: int | None = Field(ge=0, le=256)
    on_error: Literal["refuse", "skip"]
    cache: bool
    fold: int | None = Field(ge=0)
    folds: int = Field(ge=2, le=1000)


class DetectionData(DataSettings):
    annotations: str | None
    augment: DetectionAugmentation


class ClassificationData(DataSettings):
    crop_fraction: float | None = Field(gt=0, le=1)
    interpolation: Literal["bilinear", "bicubic"] | None
    augment: ClassificationAugmentation


class DigitScenes(DetectionData):
    name: Literal["digit_scenes"]
    canvas: tuple[Pixels, Pixels]
    train_images: Positive
    val_images: Positive
    seed: int = Field(ge=0)


class Coco(DetectionData):
    name: Literal["coco"]
    train_annotations: str | None
    train_images: str | None
    val_annotations: str | None
    val_images: str | None


class Voc(DetectionData):
    name: Literal["voc"]
    train_split: str
    val_split: str
    keep_difficult: bool


class Digits(ClassificationData):
    name: Literal["digits"]


class ImageFolder(ClassificationData):
    name: Literal["imagefolder"]
    train_folder: str | None
    val_folder: str | None
    class_pattern: str | None


class Cifar10(ClassificationData):
    name: Literal["cifar10"]
    download: bool


class TransferSet(ClassificationData):
    name: TransferName
    download: bool


class ImageNet(ClassificationData):
    name: Literal["imagenet"]


class Optim(Settings):
    name: Literal["sgd", "adamw", "rmsproptf"]
    learning_rate: float = Field(gt=0)
    reference_batch: Positive | None
    momentum: Rate
    weight_decay: float = Field(ge=0)
    schedule: Literal["cosine", "constant"]
    warmup_epochs: float = Field(ge=0)
    clip_norm: float = Field(ge=0)
    ema_decay: Rate
    freeze: list[str]
    backbone_rate: float = Field(ge=0)


class Trainer(Settings):
    gpus: int = Field(ge=0)
    processes: int = Field(ge=1, le=256)
    num_nodes: Positive
    precision: Annotated[Literal["32", "bf16", "16"], BeforeValidator(str)]  # YAML reads 32 as a number
    max_epochs: Positive
    max_steps: int = Field(ge=-1)
    min_steps: int = Field(ge=0)
    accumulate: Positive
    evaluate_every: Positive
    channels_last: bool
    compile: bool
    deterministic: bool
    strategy: Literal["ddp", "fsdp"]


class Logger(Settings):
    name: Literal["wandb", "csv", "tensorboard", "trackio"]
    project: str
    group: str | None
    mode: Literal["auto", "online", "offline"]
    images: int = Field(ge=0, le=1000)
    artifact: bool


class Budget(Settings):
    macs: Annotated[int, BeforeValidator(parse_count)] | None
    growth: float | None = Field(gt=0, le=10_000)
    params: Annotated[int, BeforeValidator(parse_count)] | None
    latency_ms: float | None = Field(gt=0)
    memory: Annotated[int, BeforeValidator(parse_bytes)] | None
    free: list[Axis]


class Plan(Settings):
    probe: bool
    memory: Annotated[int, BeforeValidator(parse_bytes)] | None


class Sweep(Settings):
    name: Literal["new", "resume"]
    retries: int = Field(ge=0, le=100)
    over: list[str]


class LocalCluster(Settings):
    name: Literal["local"]
    at_once: int | None = Field(ge=1, le=1024)


class JoblibCluster(Settings):
    name: Literal["joblib"]
    at_once: int = Field(ge=1, le=1024)


class SlurmCluster(Settings):
    name: Literal["slurm"]
    at_once: int = Field(ge=1, le=1024)
    partition: str | None
    account: str | None
    hours: float = Field(gt=0, le=10_000)
    memory_gb: float | None = Field(gt=0)
    cpus_per_task: int | None = Field(ge=1)
    nodes: int | None = Field(ge=1)
    gpus_per_node: int | None = Field(ge=0)
    requeues: int = Field(ge=0, le=1000)
    dry: bool


class RayCluster(Settings):
    name: Literal["ray"]
    at_once: int = Field(ge=1, le=1024)
    address: str | None
    cpus_per_task: int | None = Field(ge=1)


class Search(Settings):
    name: Literal["none", "random", "grid", "tpe", "cmaes", "nsga2"]
    trials: Positive
    metric: str | None
    target: Annotated[int, BeforeValidator(parse_count)] | None
    exponent: float = Field(le=0)
    tolerance: float | None = Field(gt=0)
    against: Literal["parameters", "multiply_adds", "latency_ms"] | None
    prune: Literal["none", "asha", "hyperband", "median"]
    min_epochs: Positive
    seed: int = Field(ge=0, lt=2**32)
    storage: str | None
    warm_start: list[str]
    agent: Literal["optuna", "wandb"]


class SearchDimension(Settings):
    setting: str
    choices: list[bool | int | float | str] | None = Field(default=None, min_length=1)
    low: float | None = None
    high: float | None = None
    step: float | None = Field(default=None, gt=0)
    log: bool = False


class Space(Settings):
    settings: list[SearchDimension]


class Export(Settings):
    grammar: ExportGrammar
    hub: str | None


AnyBackbone = Annotated[
    NamedStages | WrittenStages | ResNet | TimmBackbone | TorchvisionBackbone | AmoebaNet | PolyNet | ShuffleNet,
    Discriminator("name"),
]
AnyFeatureNetwork = Annotated[BiFPN | NoFeatureNetwork, Discriminator("name")]
AnyCluster = Annotated[LocalCluster | JoblibCluster | SlurmCluster | RayCluster, Discriminator("name")]
AnyHead = Annotated[DetectionHead | ClassifierHead, Discriminator("name")]
AnyData = Annotated[
    DigitScenes | Coco | Voc | Digits | ImageFolder | Cifar10 | TransferSet | ImageNet, Discriminator("name")
]


class Experiment(Settings):
    """The whole of conf/config.yaml."""

    task: Task
    phi: float = Field(allow_inf_nan=False)
    seed: int = Field(ge=0, lt=2**32)
    init: str | None
    init_classes: InitClasses
    checkpoint: str | None
    predictions: str | None
    input: str | None
    evaluator: Evaluator
    scaling: ScalingSettings
    model: ModelSettings
    backbone: AnyBackbone
    bifpn: AnyFeatureNetwork
    head: AnyHead
    data: AnyData
    optim: Optim
    trainer: Trainer
    logger: Logger
    budget: Budget
    plan: Plan
    export: Export
    target: Literal["local", "wandb"]
    runs: list[str]
    published: list[str]
    sweep: Sweep
    cluster: AnyCluster
    search: Search
    space: Space
