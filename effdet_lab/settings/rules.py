"""What no single setting can know: which settings do not go together, and the nearest that do."""

import re

from effdet_lab.scaling import AXES, PAPERS_COEFFICIENTS, Axis, backbone_table, phi_range
from effdet_lab.settings import schema
from effdet_lab.stages import Family
from effdet_lab.sweep_spec import SearchSpec
from effdet_lab.topology import NAS_FPN_MAX_LEVEL, is_wired_for

CLASSIFICATION_DATA = (
    "digits, imagefolder, imagenet, cifar10, cifar100, birdsnap, stanford_cars, flowers102, fgvc_aircraft, "
    "oxford_pets or food101"
)
DEEPEST_STRIDE = 32  # of the backbone's maps that a detector reads
DETECTION_DATA = "digit_scenes, coco or voc"


def contradictions(experiment: schema.Experiment) -> list[str]:
    """A sentence for each."""
    problems = [*_part_problems(experiment), *_task_problems(experiment), *_machine_problems(experiment)]
    if not problems:
        problems += [*_phi_problems(experiment), *_scaling_problems(experiment), *_stage_problems(experiment)]
    return [*problems, *_value_problems(experiment)]


def _part_problems(experiment: schema.Experiment) -> list[str]:
    detector = experiment.model.name == "efficientdet"
    boxes = isinstance(experiment.data, schema.DetectionData)
    problems = []
    if detector and not boxes:
        problems.append(
            f"data={experiment.data.name}: has no boxes, and model=efficientdet detects. "
            f"Use data={DETECTION_DATA}, or model=efficientnet."
        )
    if boxes and not detector:
        problems.append(
            f"data={experiment.data.name}: has boxes, and model=efficientnet classifies. "
            f"Use data={CLASSIFICATION_DATA}, or model=efficientdet."
        )
    if detector and isinstance(experiment.backbone, schema.PolyNet):
        problems.append("backbone=polynet: has no maps of strides 8, 16 and 32. Use model=efficientnet.")
    if detector and not isinstance(experiment.bifpn, schema.BiFPN):
        problems.append("bifpn=none: a detector needs a feature network. Use bifpn=paper, or another than none.")
    if not detector and isinstance(experiment.bifpn, schema.BiFPN):
        problems.append("bifpn: a classifier has no feature network. Use bifpn=none, or model=efficientdet.")
    if detector != isinstance(experiment.head, schema.DetectionHead):
        right = "efficientdet" if detector else "classifier"
        problems.append(f"head={experiment.head.name}: does not fit model={experiment.model.name}. Use head={right}.")
    return problems


def _task_problems(experiment: schema.Experiment) -> list[str]:
    problems = []
    weights = experiment.checkpoint or experiment.init
    match experiment.task:
        case "evaluate" if experiment.predictions:
            if not (isinstance(experiment.data, schema.DetectionData) and experiment.data.annotations):
                problems.append(
                    "data.annotations=null: predictions are judged against a COCO file. Give data.annotations=FILE."
                )
        case "evaluate" if not weights:
            problems.append(
                "checkpoint=null: task=evaluate needs trained weights. Give checkpoint=RUN, or predictions=FILE."
            )
        case "predict":
            if not weights:
                problems.append("checkpoint=null: task=predict needs trained weights. Give checkpoint=RUN.")
            if not experiment.input:
                problems.append("input=null: task=predict needs pictures. Give input=FILE, a folder or a glob.")
        case "report" | "forecast" if not experiment.runs:
            problems.append(
                f"runs=[]: task={experiment.task} needs folders of runs or sweeps, as in runs=[outputs/A,outputs/B]."
            )
        case "verify" | "export" if not weights:
            problems.append(f"checkpoint=null: task={experiment.task} needs weights. Give checkpoint=RUN or a file.")
        case "export":
            problems += _export_problems(experiment)
    return problems


def _export_problems(experiment: schema.Experiment) -> list[str]:
    detector = experiment.model.name == "efficientdet"
    grammar, hub = experiment.export.grammar, experiment.export.hub
    problems = []
    if grammar != "own" and detector != (grammar == "effdet"):
        right = "effdet names detectors" if detector else "timm names classifiers"
        problems.append(f"export.grammar={grammar}: {right}. Use export.grammar={right.split()[0]} or own.")
    if hub is not None and not re.fullmatch(r"[\w.-]+/[\w.-]+", hub):
        problems.append(f"export.hub={hub}: must be OWNER/NAME.")
    return problems


def _machine_problems(experiment: schema.Experiment) -> list[str]:
    trainer = experiment.trainer
    problems = []
    if trainer.gpus and trainer.processes > 1:
        problems.append(
            f"trainer.processes={trainer.processes}: counts CPU processes, and trainer.gpus={trainer.gpus}. "
            "Set one of them."
        )
    if trainer.precision == "16" and not trainer.gpus:
        problems.append("trainer.precision=16: needs a GPU. Use trainer.precision=32, or trainer.gpus=1.")
    if 0 <= trainer.max_steps < trainer.min_steps:
        problems.append(
            f"trainer.max_steps={trainer.max_steps}: is less than trainer.min_steps={trainer.min_steps}. "
            f"Use trainer.min_steps={trainer.max_steps} or less, or trainer.max_steps=-1."
        )
    world = max(trainer.gpus, trainer.processes) * trainer.num_nodes
    if trainer.strategy == "fsdp":
        problems += _sharding_problems(experiment, world)
    batch = experiment.data.batch_size
    if batch % world:
        below, above = batch // world * world, -(-batch // world) * world
        nearest = f"{below} or {above}" if below else f"{above}"
        problems.append(
            f"data.batch_size={batch}: is shared out over {world} processes and must divide by them. "
            f"Nearest: {nearest}."
        )
    return problems


def _sharding_problems(experiment: schema.Experiment, world: int) -> list[str]:
    problems = []
    if world == 1:
        problems.append("trainer.strategy=fsdp: one process has nobody to share with. Use trainer.strategy=ddp.")
    if experiment.optim.ema_decay:
        problems.append(
            f"optim.ema_decay={experiment.optim.ema_decay:g}: trainer.strategy=fsdp keeps no running average. "
            "Use optim.ema_decay=0, or trainer.strategy=ddp."
        )
    if experiment.trainer.compile:
        problems.append("trainer.compile=true: is not done with trainer.strategy=fsdp. Use trainer.compile=false.")
    return problems


def _value_problems(experiment: schema.Experiment) -> list[str]:
    problems = []
    augment = experiment.data.augment
    if isinstance(augment, schema.DetectionAugmentation):
        name, pair, high = "data.augment.scale", augment.scale, 4.0
    else:
        name, pair, high = "data.augment.crop_scale", augment.crop_scale, 1.0
    if not 0 < pair[0] <= pair[1] <= high:
        problems.append(f"{name}={list(pair)}: must be [low, high] with 0 < low <= high <= {high:g}.")
    bifpn = experiment.bifpn
    if isinstance(bifpn, schema.BiFPN) and not is_wired_for(bifpn.topology, bifpn.min_level, bifpn.max_level):
        problems.append(
            f"bifpn.max_level={bifpn.max_level}: bifpn=nas_fpn is wired for P{bifpn.min_level} to "
            f"P{NAS_FPN_MAX_LEVEL} alone. Nearest: {NAS_FPN_MAX_LEVEL}. bifpn=pan takes any."
        )
    expressions = [("optim.freeze", expression) for expression in experiment.optim.freeze]
    if isinstance(experiment.data, schema.ImageFolder) and experiment.data.class_pattern:
        expressions.append(("data.class_pattern", experiment.data.class_pattern))
    for where, expression in expressions:
        try:
            groups = re.compile(expression).groups
        except re.error as error:
            problems.append(f"{where}={expression}: is no regular expression ({error}).")
            continue
        if where == "data.class_pattern" and groups < 1:
            problems.append(f"{where}={expression}: needs a group in parentheses, the class.")
    fold, folds = experiment.data.fold, experiment.data.folds
    if fold is not None and fold >= folds:
        problems.append(f"data.fold={fold}: data.folds={folds} are numbered from 0. Nearest: {folds - 1}.")
    named = experiment.data.classes or []
    for name in sorted({name for name in named if named.count(name) > 1}):
        problems.append(f"data.classes: {name} stands there {named.count(name)} times. Each class once.")
    return problems


def _phi_problems(experiment: schema.Experiment) -> list[str]:
    family = family_of(experiment.backbone)
    kind = "detector" if experiment.model.name == "efficientdet" else "classifier"
    mode = experiment.scaling.mode
    own, backbones = span_of(experiment), phi_range(family, "classifier", mode)
    checks = [("phi", experiment.phi, own)]
    if isinstance(experiment.backbone, schema.ScaledBackbone) and experiment.backbone.phi is not None:
        checks.append(("backbone.phi", experiment.backbone.phi, backbones))
    of_backbones = ("backbone", "depth", "width")
    checks += [
        (f"scaling.exponents.{axis}", exponent, backbones if axis in of_backbones else own)
        for axis, exponent in exponents_of(experiment.scaling).items()
    ]
    problems = []
    for where, phi, (low, high) in checks:
        if not low <= phi <= high:
            further = " scaling=formula goes further." if phi > high and mode == "published" else ""
            nearest = min(max(phi, low), high)
            problems.append(
                f"{where}={phi:g}: scaling={mode} knows {family} {kind}s from {low:g} to {high:g}. "
                f"Nearest: {nearest:g}.{further}"
            )
    return problems


def _scaling_problems(experiment: schema.Experiment) -> list[str]:
    scaling, family = experiment.scaling, family_of(experiment.backbone)
    problems = []
    if scaling.mode == "published" and len(backbone_table(family)) > 1:
        problems += [
            f"scaling.{name}={written:g}: scaling=published reads the printed table. Use scaling=formula."
            for name in ("alpha", "beta", "gamma")
            if (written := getattr(scaling, name)) is not None and written != getattr(PAPERS_COEFFICIENTS, name)
        ]
    if experiment.model.name == "efficientnet":
        known = ("depth", "width", "resolution")
        problems += [
            f"scaling.exponents.{axis}={exponent:g}: a classifier has none. There are {', '.join(known)}."
            for axis, exponent in exponents_of(scaling).items()
            if axis not in known
        ]
    if not isinstance(experiment.backbone, schema.ScaledBackbone):
        problems += [
            f"scaling.exponents.{axis}={exponent:g}: backbone={experiment.backbone.name} has one size. "
            "Use a backbone that scales, as efficientnet, mobilenet_v2 or resnet50."
            for axis, exponent in exponents_of(scaling).items()
            if axis in ("depth", "width", "backbone")
        ]
    return problems


def _stage_problems(experiment: schema.Experiment) -> list[str]:
    backbone = experiment.backbone
    if not isinstance(backbone, schema.WrittenStages):
        return []
    problems = []
    stride = 2 ** (1 + sum(stage.stride == 2 for stage in backbone.stages))
    if experiment.model.name == "efficientdet" and stride != DEEPEST_STRIDE:
        problems.append(
            f"backbone.stages: the last map has stride {stride}, and a detector reads those of 8, 16 and 32. "
            f"Let {DEEPEST_STRIDE.bit_length() - 2} stages have stride=2."
        )
    return problems


def exponents_of(scaling: schema.ScalingSettings) -> dict[Axis, float]:
    """Those that were written."""
    return {axis: exponent for axis in AXES if (exponent := getattr(scaling.exponents, axis)) is not None}


def span_of(experiment: schema.Experiment) -> tuple[float, float]:
    """What phi may be."""
    kind = "detector" if experiment.model.name == "efficientdet" else "classifier"
    return phi_range(family_of(experiment.backbone), kind, experiment.scaling.mode)


def budget_problems(experiment: schema.Experiment) -> list[str]:
    """Where a budget is given and cannot be spent."""
    budget, backbone = experiment.budget, experiment.backbone
    problems = []
    if not isinstance(backbone, schema.ScaledBackbone):
        problems.append(
            f"budget: backbone={backbone.name} has one size. Use a backbone that scales, as efficientnet, "
            "mobilenet_v2 or resnet50."
        )
    if experiment.model.name == "efficientnet":
        known = ("depth", "width", "resolution")
        problems += [
            f"budget.free={axis}: a classifier has none. There are {', '.join(known)}."
            for axis in budget.free
            if axis not in known
        ]
    written = exponents_of(experiment.scaling)
    problems += [
        f"scaling.exponents.{axis}={written[axis]:g}: budget.free finds it. Leave one of them out."
        for axis in budget.free
        if axis in written
    ]
    return problems


def search_problems(experiment: schema.Experiment) -> list[str]:
    """What is wrong with the space of a search, and with what is asked of it."""
    problems = []
    for dimension in experiment.space.settings:
        if (dimension.choices is None) == (dimension.low is None or dimension.high is None):
            problems.append(f"space: {dimension.setting}: needs choices, or low and high.")
    search = experiment.search
    if search.target and not isinstance(experiment.backbone, schema.ScaledBackbone):
        problems.append(
            f"search.target={search.target}: the multiply-adds of backbone={experiment.backbone.name} are not known "
            "before it is built. Use a backbone that scales, or search=nsga2."
        )
    for name in ("target", "tolerance"):
        if search.agent == "wandb" and getattr(search, name) is not None:
            problems.append(
                f"search.{name}={getattr(search, name):g}: W&B's server does not know it. Use search.agent=optuna."
            )
    if search.tolerance and search.name != "grid":
        problems.append(f"search.tolerance={search.tolerance:g}: chooses among a grid's points. Use search=grid.")
    if search.name == "nsga2" and search.prune != "none":
        problems.append(f"search.prune={search.prune}: of two aims none can fall behind alone. Use search.prune=none.")
    if search.name == "nsga2" and search.against is None:
        problems.append("search.against=null: search=nsga2 has two aims. Use parameters, multiply_adds or latency_ms.")
    return problems


def cluster_problems(experiment: schema.Experiment) -> list[str]:
    """Where the cluster was told other numbers than the trainer."""
    cluster, trainer = experiment.cluster, experiment.trainer
    if isinstance(cluster, schema.RayCluster) and trainer.num_nodes > 1:
        return [
            f"trainer.num_nodes={trainer.num_nodes}: cluster=ray keeps a job on one node. "
            "Use trainer.num_nodes=1, or cluster=slurm."
        ]
    if not isinstance(cluster, schema.SlurmCluster):
        return []
    pairs = (
        ("cluster.nodes", cluster.nodes, "trainer.num_nodes", trainer.num_nodes),
        ("cluster.gpus_per_node", cluster.gpus_per_node, "trainer.gpus", trainer.gpus),
    )
    return [
        f"{where}={written}: but {trainers}={number}. Give the same number, or leave {where} out."
        for where, written, trainers, number in pairs
        if written is not None and written != number
    ]


def space_problems(search: SearchSpec) -> list[str]:
    """What is wrong with the dimensions, wherever they were written."""
    problems = [] if search.space else ["space: a search needs settings to choose. Give space=NAME, or type lists."]
    for dimension in search.space:
        where = f"space: {dimension.setting}"
        if dimension.choices:
            continue
        if not dimension.low < dimension.high:
            problems.append(f"{where}: low={dimension.low:g} must be below high={dimension.high:g}.")
        elif dimension.log and (dimension.step or dimension.low <= 0):
            problems.append(f"{where}: a logarithmic scale starts above 0 and has no steps.")
        if search.name == "grid" and not dimension.step:
            problems.append(f"{where}: a grid needs choices or a step.")
    return problems


def family_of(backbone: schema.AnyBackbone) -> Family:
    """The table phi is read from; networks of one size follow EfficientNet's."""
    return backbone.name if isinstance(backbone, schema.ScaledBackbone) else "efficientnet"
