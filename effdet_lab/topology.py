"""The pyramid as data: how large its maps are, and which of them each node of the feature network fuses.

The feature networks are those that Tan et al. 2020 compare with BiFPN, in figure 2 and table 5.
"""

from dataclasses import dataclass
from typing import Literal

Topology = Literal["bifpn", "fpn", "pan", "fully_connected", "nas_fpn"]

# NAS-FPN was searched for these levels alone.
NAS_FPN_MIN_LEVEL, NAS_FPN_MAX_LEVEL = 3, 7
# Source: Ghiasi et al., NAS-FPN (CVPR 2019), figure 7; tensorflow/models official/vision/modeling/decoders/nasfpn.py,
# NASFPN_BLOCK_SPECS. What nothing else reads joins the output of its level: there a rule, here the last input.
NAS_FPN = (
    (4, (1, 3)),
    (4, (1, 5)),
    (3, (0, 6)),
    (4, (6, 7)),
    (5, (7, 8, 2)),
    (7, (6, 9, 4)),
    (6, (9, 10)),
)


@dataclass(frozen=True)
class Node:
    """One fused map; `inputs` number the cell's inputs first (finest level 0), then the nodes in order.

    The order of the inputs is the order of the fusion weights.
    """

    level: int
    inputs: tuple[int, ...]


def pyramid_nodes(topology: Topology, min_level: int, max_level: int) -> tuple[Node, ...]:
    """One cell of a feature network, in the order in which its nodes are computed.

    >>> [node.inputs for node in pyramid_nodes("bifpn", 3, 7)][:5]
    [(3, 4), (2, 5), (1, 6), (0, 7), (1, 7, 8)]
    >>> [node.inputs for node in pyramid_nodes("fpn", 3, 7)]
    [(4,), (3, 5), (2, 6), (1, 7), (0, 8)]
    """
    return tuple(_wired(topology, min_level, max_level).nodes)


def pyramid_outputs(topology: Topology, min_level: int, max_level: int) -> tuple[int, ...]:
    """The number of each level's last map, finest level first."""
    return tuple(numbers[-1] for numbers in _wired(topology, min_level, max_level).maps.values())


def is_wired_for(topology: Topology, min_level: int, max_level: int) -> bool:
    """Whether the feature network knows these levels."""
    return topology != "nas_fpn" or (min_level, max_level) == (NAS_FPN_MIN_LEVEL, NAS_FPN_MAX_LEVEL)


class _Wiring:
    """A cell in the making: its nodes, and the numbers of each level's maps, the cell's input first."""

    def __init__(self, min_level: int, max_level: int) -> None:
        self.levels = range(min_level, max_level + 1)
        self.maps = {level: [number] for number, level in enumerate(self.levels)}
        self.nodes: list[Node] = []

    def latest(self, level: int) -> int:
        return self.maps[level][-1]

    def add(self, level: int, *inputs: int) -> None:
        self.maps[level].append(len(self.levels) + len(self.nodes))
        self.nodes.append(Node(level, inputs))


def _wired(topology: Topology, min_level: int, max_level: int) -> _Wiring:
    assert is_wired_for(topology, min_level, max_level), (topology, min_level, max_level)
    wiring = _Wiring(min_level, max_level)
    WIRE[topology](wiring)
    return wiring


def _bifpn(wiring: _Wiring) -> None:
    """Down from the second coarsest level, then up with a skip from the cell's own input.

    Source: Tan et al. 2020, figure 3; google/automl efficientdet/tf2/fpn_configs.py, bifpn_config.
    """
    for level in wiring.levels[-2::-1]:
        wiring.add(level, *wiring.maps[level], wiring.latest(level + 1))
    for level in wiring.levels[1:]:
        wiring.add(level, *wiring.maps[level], wiring.latest(level - 1))


def _fpn(wiring: _Wiring) -> None:
    """From coarse to fine; the coarsest map has nothing to fuse and is convolved alone.

    Source: Lin et al., Feature Pyramid Networks (CVPR 2017); Tan et al. 2020, figure 2a.
    """
    wiring.add(wiring.levels[-1], wiring.latest(wiring.levels[-1]))
    for level in wiring.levels[-2::-1]:
        wiring.add(level, wiring.latest(level), wiring.latest(level + 1))


def _pan(wiring: _Wiring) -> None:
    """An FPN, then from fine to coarse. BiFPN leaves out its two nodes of one input.

    Source: Liu et al., Path Aggregation Network (CVPR 2018); Tan et al. 2020, figure 2b and section 3.2.
    """
    _fpn(wiring)
    wiring.add(wiring.levels[0], wiring.latest(wiring.levels[0]))
    for level in wiring.levels[1:]:
        wiring.add(level, wiring.latest(level), wiring.latest(level - 1))


def _fully_connected(wiring: _Wiring) -> None:
    """Every output fuses every input of the cell, its own level's first.

    Source: Tan et al. 2020, table 5, which names it; one node a level is our reading.
    """
    inputs = range(len(wiring.levels))
    for own, level in enumerate(wiring.levels):
        wiring.add(level, own, *(number for number in inputs if number != own))


def _nas_fpn(wiring: _Wiring) -> None:
    """As it was found by search, but every node fuses alike: where NAS-FPN gates one map by the other's largest
    values, here both are added.
    """
    for level, inputs in NAS_FPN:
        wiring.add(level, *inputs)


WIRE = {
    "bifpn": _bifpn,
    "fpn": _fpn,
    "pan": _pan,
    "fully_connected": _fully_connected,
    "nas_fpn": _nas_fpn,
}


def feature_sizes(height: int, width: int, min_level: int, max_level: int) -> list[tuple[int, int]]:
    """Height and width of each level's map: every level halves the one before, upwards.

    >>> feature_sizes(320, 512, 3, 7)
    [(40, 64), (20, 32), (10, 16), (5, 8), (3, 4)]
    """
    # Halving upwards n times is dividing by 2**n upwards.
    return [((height - 1) // 2**level + 1, (width - 1) // 2**level + 1) for level in range(min_level, max_level + 1)]
