"""The pyramid as data: how large its maps are, and which of them each BiFPN node fuses.

Source: google/automl efficientdet/tf2/fpn_configs.py (bifpn_config); Tan et al. 2020, figure 3.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Node:
    """One fused map; `inputs` number the cell's inputs first (finest level 0), then the nodes in order."""

    level: int
    inputs: tuple[int, ...]


def bifpn_nodes(min_level: int, max_level: int) -> tuple[Node, ...]:
    """Top-down from the second coarsest level, then bottom-up with a skip from the cell's own input.

    The order of the inputs is the order of the fusion weights: same level first, the resampled neighbour last.

    >>> [node.inputs for node in bifpn_nodes(3, 7)][:5]
    [(3, 4), (2, 5), (1, 6), (0, 7), (1, 7, 8)]
    """
    num_levels = max_level - min_level + 1
    latest = {level: level - min_level for level in range(min_level, max_level + 1)}
    history = {level: (index,) for level, index in latest.items()}
    nodes: list[Node] = []

    def add(level: int, neighbour: int) -> None:
        nodes.append(Node(level, (*history[level], latest[neighbour])))
        latest[level] = num_levels + len(nodes) - 1
        history[level] = (*history[level], latest[level])

    for level in range(max_level - 1, min_level - 1, -1):
        add(level, level + 1)
    for level in range(min_level + 1, max_level + 1):
        add(level, level - 1)
    return tuple(nodes)


def bifpn_outputs(min_level: int, max_level: int) -> tuple[int, ...]:
    """The number of each level's last map, finest level first."""
    latest = {level: level - min_level for level in range(min_level, max_level + 1)}
    for offset, node in enumerate(bifpn_nodes(min_level, max_level)):
        latest[node.level] = max_level - min_level + 1 + offset
    return tuple(latest[level] for level in range(min_level, max_level + 1))


def feature_sizes(height: int, width: int, min_level: int, max_level: int) -> list[tuple[int, int]]:
    """Height and width of each level's map: every level halves the one before, upwards.

    >>> feature_sizes(320, 512, 3, 7)
    [(40, 64), (20, 32), (10, 16), (5, 8), (3, 4)]
    """
    # Halving upwards n times is dividing by 2**n upwards.
    return [((height - 1) // 2**level + 1, (width - 1) // 2**level + 1) for level in range(min_level, max_level + 1)]
