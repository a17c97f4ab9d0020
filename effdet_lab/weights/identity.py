"""Which published network tensors belong to, told by their shapes alone. No torch here.

Names are ours: timm's for a backbone, after `backbone.` in a detector.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple, get_args

from effdet_lab.scaling import backbone_table, detector_table
from effdet_lab.spec import ClassifierSpec, DetectorSpec, EfficientNetSpec
from effdet_lab.stages import NETWORKS, Family, StageSpec, scaled
from effdet_lab.topology import Topology, is_wired_for, pyramid_nodes

Shapes = Mapping[str, tuple[int, ...]]
BACKBONE = "backbone."
FAMILIES: tuple[Family, ...] = ("efficientnet", "efficientnet_lite")
MIN_LEVEL = 3
D7X_LEVELS = 6  # P3..P8
TOPOLOGY_NAMES: dict[Topology | None, str] = {
    "bifpn": "BiFPN",
    "fpn": "FPN",
    "pan": "PAN",
    "fully_connected": "fully connected FPN",
    "nas_fpn": "NAS-FPN",
    None: "unknown feature network",
}
LARGEST_BACKBONE = "phi=7"  # no detector of the table but D7x stands on B7
# What people train elsewhere, told by a name that only they use.
STRANGERS = {
    "features.0.0.weight": "another torchvision model",
    "conv1.weight": "a ResNet",
    "patch_embed.proj.weight": "a vision transformer",
}


class Trunk(NamedTuple):
    """What tells EfficientNets apart."""

    stem_channels: int
    stages: tuple[tuple[int, int, int], ...]  # kernel size, channels, repeats
    is_gated: bool  # with squeeze-excite

    def __str__(self) -> str:
        stages = ", ".join(f"{repeats} x {channels}" for _, channels, repeats in self.stages)
        return f"an EfficientNet of stages {stages}"


class Pyramid(NamedTuple):
    """What tells EfficientDets on the same backbone apart."""

    channels: int
    repeats: int
    num_levels: int
    head_repeats: int
    topology: Topology | None = "bifpn"  # None: wired as nothing here is

    def __str__(self) -> str:
        network = f"{TOPOLOGY_NAMES[self.topology]} {self.repeats} x {self.channels}"
        return f"{network}, {self.num_levels} levels, heads of {self.head_repeats}"


class Identity(NamedTuple):
    """A network as far as its shapes tell."""

    trunk: Trunk
    pyramid: Pyramid | None  # None: no detector

    def __str__(self) -> str:
        """An EfficientNet-B3, an EfficientDet-D1, or what is known of it.

        >>> str(Identity(_trunk(8, (StageSpec(3, 1, 1, 8, 8, 2, 0.25),)), None))
        'an EfficientNet of stages 2 x 8'
        """
        members = self.members()
        if members:
            return f"an {' or '.join(member.name for member in members)}"
        trunk = _trunk_members().get(self.trunk)
        backbone = f"an {trunk.name}" if trunk else str(self.trunk)
        return f"a detector ({self.pyramid}) on {backbone}" if self.pyramid else backbone

    def members(self) -> list["Member"]:
        """The published networks of these shapes; D6 and D7 share theirs."""
        if self.pyramid is None:
            trunk = _trunk_members().get(self.trunk)
            return [trunk] if trunk else []
        return [member for member, identity in _detectors() if identity == self]

    @property
    def is_detector(self) -> bool:
        return self.pyramid is not None


class Member(NamedTuple):
    """A published network and the settings that ask for it."""

    name: str
    family: Family
    settings: str


def identify(shapes: Shapes) -> Identity | None:
    """None where the backbone is no EfficientNet of MBConv blocks."""
    prefix = BACKBONE if f"{BACKBONE}conv_stem.weight" in shapes else ""
    trunk = _trunk_in({key.removeprefix(prefix): shape for key, shape in shapes.items() if key.startswith(prefix)})
    return Identity(trunk, _pyramid_in(shapes)) if trunk else None


def identity_of(model: DetectorSpec | ClassifierSpec) -> Identity | None:
    """What the network of a settled experiment is; None where timm builds its backbone."""
    if not isinstance(model.backbone, EfficientNetSpec):
        return None
    pyramid = None
    if isinstance(model, DetectorSpec):
        bifpn = model.bifpn
        levels = bifpn.max_level - bifpn.min_level + 1
        pyramid = Pyramid(bifpn.channels, bifpn.repeats, levels, model.head.repeats, bifpn.topology)
    return Identity(_trunk(model.backbone.stem_channels, model.backbone.stages), pyramid)


def looks_like(shapes: Shapes) -> str:
    """What to call tensors in a sentence."""
    identity = identify(shapes)
    if identity is not None:
        return str(identity)
    stranger = next((kind for name, kind in STRANGERS.items() if name in shapes or f"{BACKBONE}{name}" in shapes), None)
    return stranger or f"a network whose tensors begin with {', '.join(list(shapes)[:3])}"


def difference(found: Identity, wanted: Identity) -> str:
    """A sentence that says why the one cannot start the other and what could; empty where the backbones agree.

    Nodes have the same names and shapes however they are wired, and other wires would make nonsense of their weights.

    >>> b0, b1 = (Identity(trunk, None) for trunk in list(_trunk_members())[:2])
    >>> difference(b1, b0)
    'This is an EfficientNet-B1; you asked for an EfficientNet-B0: use phi=1.'
    """
    if found.trunk == wanted.trunk:
        topology = _other_topology(found, wanted)
        if topology is None:
            return ""
        settings = f"bifpn.topology={topology}, or weights of the backbone alone"
    else:
        settings = _settings_for(found, wanted)
    return f"This is {found}; you asked for {wanted}{f': use {settings}' if settings else ''}."


def _other_topology(found: Identity, wanted: Identity) -> Topology | None:
    """How the one is wired; None where the other is wired so too, or either has no wires that are known."""
    if found.pyramid is None or wanted.pyramid is None or wanted.pyramid.topology is None:
        return None
    return found.pyramid.topology if found.pyramid.topology != wanted.pyramid.topology else None


def _settings_for(found: Identity, wanted: Identity) -> str:
    """What to type to get the network that was found, or one on its backbone; empty where nobody published it."""
    alike = found.is_detector == wanted.is_detector
    members = found.members() if alike else Identity(found.trunk, None).members()
    if not members:
        return ""
    settings = members[0].settings
    if wanted.is_detector and not alike:
        settings = f"{settings}, or backbone.{settings}" if settings != LARGEST_BACKBONE else f"backbone.{settings}"
    other_family = found.trunk.is_gated != wanted.trunk.is_gated
    return f"backbone={members[0].family} {settings}" if other_family else settings


def _trunk_in(shapes: Shapes) -> Trunk | None:
    repeats: dict[int, int] = {}
    for key in shapes:
        match = re.match(r"blocks\.(\d+)\.(\d+)\.conv_dw\.weight$", key)
        if match:
            stage, repeat = int(match[1]), int(match[2])
            repeats[stage] = max(repeats.get(stage, 0), repeat + 1)
    stages = []
    for stage in sorted(repeats):
        first = f"blocks.{stage}.0"
        project = shapes.get(f"{first}.conv_pwl.weight") or shapes.get(f"{first}.conv_pw.weight")
        if project is None:
            return None
        stages.append((shapes[f"{first}.conv_dw.weight"][-1], project[0], repeats[stage]))
    if not stages or "conv_stem.weight" not in shapes:
        return None
    gated = any(key.endswith(".se.conv_reduce.weight") for key in shapes)
    return Trunk(shapes["conv_stem.weight"][0], tuple(stages), gated)


def _pyramid_in(shapes: Shapes) -> Pyramid | None:
    convs, cells, repeats, levels, projected = [], set(), set(), set(), set()
    for key, shape in shapes.items():
        match = re.match(r"fpn\.cell\.(\d+)\.fnode\.(\d+)\.after_combine\.conv\.conv_pw\.weight$", key)
        if match:
            cells.add(int(match[1]))
            convs.append((int(match[2]), shape[0]))
        match = re.match(r"class_net\.conv_rep\.(\d+)\.conv_dw\.weight$", key)
        if match:
            repeats.add(int(match[1]))
        match = re.match(r"class_net\.bn_rep\.0\.(\d+)\.bn\.weight$", key)
        if match:
            levels.add(int(match[1]))
        match = re.match(r"fpn\.cell\.0\.fnode\.(\d+)\.combine\.resample\.(\d+)\.conv\.conv\.weight$", key)
        if match:
            projected.add((int(match[1]), int(match[2])))
    if not convs:
        return None
    nodes = max(number for number, _ in convs) + 1
    topology = _topology_of(nodes, len(levels), projected)
    return Pyramid(convs[0][1], len(cells), len(levels), len(repeats), topology)


def _topology_of(nodes: int, levels: int, projected: set[tuple[int, int]]) -> Topology | None:
    """The wiring of so many nodes in which each projected input of a node is one; the fewest wires come first."""
    max_level = MIN_LEVEL + levels - 1
    for topology in get_args(Topology):
        if not levels or not is_wired_for(topology, MIN_LEVEL, max_level):
            continue
        cell = pyramid_nodes(topology, MIN_LEVEL, max_level)
        wires = {(number, source) for number, node in enumerate(cell) for source in node.inputs}
        if len(cell) == nodes and projected <= wires:
            return topology
    return None


def _trunk(stem_channels: int, stages: tuple[StageSpec, ...]) -> Trunk:
    rows = tuple((stage.kernel_size, stage.out_channels, stage.repeats) for stage in stages)
    return Trunk(stem_channels, rows, any(stage.se_ratio for stage in stages))


def _trunk_members() -> dict[Trunk, Member]:
    members = {}
    for family in FAMILIES:
        for phi, row in enumerate(backbone_table(family)):
            network = scaled(NETWORKS[family], row.width, row.depth)
            letter = "B" if family == "efficientnet" else "Lite"
            member = Member(f"EfficientNet-{letter}{phi}", family, f"phi={phi}")
            members[_trunk(network.stem_channels, network.stages)] = member
    return members


def _detectors() -> list[tuple[Member, Identity]]:
    trunks = {(member.family, member.name[-1]): trunk for trunk, member in _trunk_members().items()}
    found = []
    for family in FAMILIES:
        letter = "D" if family == "efficientnet" else "Lite"
        for phi, row in enumerate(detector_table(family)):
            pyramid = Pyramid(row.bifpn_channels, row.bifpn_repeats, 5, row.head_repeats)
            trunk = trunks[family, str(int(row.backbone_phi))]
            member = Member(f"EfficientDet-{letter}{phi}", family, f"phi={phi}")
            found.append((member, Identity(trunk, pyramid)))
    last = detector_table("efficientnet")[-1]
    pyramid = Pyramid(last.bifpn_channels, last.bifpn_repeats, D7X_LEVELS, last.head_repeats)
    d7x = Member("EfficientDet-D7x", "efficientnet", "experiment=efficientdet_d7x")
    return [*found, (d7x, Identity(trunks["efficientnet", "7"], pyramid))]
