"""The feature networks' graphs. Each golden list says where it comes from, or how it follows by hand."""

from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from effdet_lab.topology import Topology, is_wired_for, pyramid_nodes, pyramid_outputs

# google/automl efficientdet/tf2/fpn_configs.py, bifpn_config, in its comment.
P3_TO_P7 = [
    (5 + 1, (3, 4)),
    (5, (2, 5)),
    (4, (1, 6)),
    (3, (0, 7)),
    (4, (1, 7, 8)),
    (5, (2, 6, 9)),
    (6, (3, 5, 10)),
    (7, (4, 11)),
]
P3_TO_P8 = [(4, 5), (3, 6), (2, 7), (1, 8), (0, 9), (1, 9, 10), (2, 8, 11), (3, 7, 12), (4, 6, 13), (5, 14)]
# Maps 0..4 are P3..P7 as they come in. P7 alone is 5; each finer level then fuses its own and the map just made.
DOWN = [(7, (4,)), (6, (3, 5)), (5, (2, 6)), (4, (1, 7)), (3, (0, 8))]
# The way down left P7..P3 as 5..9. P3 alone is 10; each coarser level fuses its map from there and the one just made.
UP = [(3, (9,)), (4, (8, 10)), (5, (7, 11)), (6, (6, 12)), (7, (5, 13))]
# All five maps each, the level's own first.
ALL = [
    (3, (0, 1, 2, 3, 4)),
    (4, (1, 0, 2, 3, 4)),
    (5, (2, 0, 1, 3, 4)),
    (6, (3, 0, 1, 2, 4)),
    (7, (4, 0, 1, 2, 3)),
]
# tensorflow/models official/vision/modeling/decoders/nasfpn.py: level, how it fuses, which, whether it is an output.
NAS_FPN_BLOCKS = [
    (4, "attention", (1, 3), False),
    (4, "sum", (1, 5), False),
    (3, "sum", (0, 6), True),
    (4, "sum", (6, 7), True),
    (5, "attention", (7, 8), True),
    (7, "attention", (6, 9), True),
    (6, "attention", (9, 10), True),
]
TOPOLOGIES = get_args(Topology)


def wires(topology: Topology, max_level: int = 7) -> list[tuple[int, tuple[int, ...]]]:
    return [(node.level, node.inputs) for node in pyramid_nodes(topology, 3, max_level)]


def test_five_levels_are_wired_as_published():
    assert wires("bifpn") == P3_TO_P7
    assert pyramid_outputs("bifpn", 3, 7) == (8, 9, 10, 11, 12)


def test_d7x_s_six_levels_are_wired_as_published():
    assert [inputs for _, inputs in wires("bifpn", max_level=8)] == P3_TO_P8


def test_a_cell_has_as_many_edge_weights_as_published():
    assert sum(len(inputs) for _, inputs in wires("bifpn")) == 19
    assert sum(len(inputs) for _, inputs in wires("bifpn", max_level=8)) == 24


def test_an_fpn_goes_down_once():
    assert wires("fpn") == DOWN
    assert pyramid_outputs("fpn", 3, 7) == (9, 8, 7, 6, 5)


def test_a_pan_goes_down_and_up_again():
    assert wires("pan") == DOWN + UP
    assert pyramid_outputs("pan", 3, 7) == (10, 11, 12, 13, 14)


@pytest.mark.parametrize("max_level", [5, 7, 8])
def test_a_pan_is_wired_as_effdet_s(max_level):
    effdet = pytest.importorskip("effdet.config.fpn_config")
    theirs = effdet.get_fpn_config("pan_fa", min_level=3, max_level=max_level).nodes
    assert wires("pan", max_level) == [(node.feat_level, tuple(node.inputs_offsets)) for node in theirs]


def test_bifpn_is_a_pan_without_its_nodes_of_one_input():
    """Section 3.2 of the paper: those two nodes go, and inner outputs see the cell's own input again."""
    lonely = [node for node in pyramid_nodes("pan", 3, 7) if len(node.inputs) == 1]
    assert [node.level for node in lonely] == [7, 3]
    assert len(pyramid_nodes("bifpn", 3, 7)) == len(pyramid_nodes("pan", 3, 7)) - len(lonely)


def test_a_fully_connected_network_fuses_every_input_everywhere():
    assert wires("fully_connected") == ALL
    assert pyramid_outputs("fully_connected", 3, 7) == (5, 6, 7, 8, 9)


def test_nas_fpn_is_wired_as_it_was_published():
    """Its rule for loose ends: an output also adds the maps of its level that nothing has read so far."""
    levels = [3, 4, 5, 6, 7]
    read: set[int] = set()
    expected = []
    for level, _, inputs, is_output in NAS_FPN_BLOCKS:
        read |= set(inputs)
        loose = [number for number, of in enumerate(levels) if of == level and number not in read] if is_output else []
        read |= set(loose)
        expected.append((level, (*inputs, *loose)))
        levels.append(level)
    assert wires("nas_fpn") == expected
    # P5 and P7 as they come in are the two that nothing else reads.
    assert [inputs[2:] for _, inputs in expected if inputs[2:]] == [(2,), (4,)]
    assert pyramid_outputs("nas_fpn", 3, 7) == (7, 8, 9, 11, 10)


def test_nas_fpn_knows_its_own_levels_alone():
    assert is_wired_for("nas_fpn", 3, 7)
    assert not is_wired_for("nas_fpn", 3, 8)
    assert not is_wired_for("nas_fpn", 2, 7)
    assert all(is_wired_for(topology, 3, 9) for topology in TOPOLOGIES if topology != "nas_fpn")


@given(topology=st.sampled_from(TOPOLOGIES), min_level=st.integers(2, 4), levels=st.integers(3, 7))
@settings(max_examples=50, deadline=None)
def test_every_wire_leads_on_to_an_output(topology, min_level, levels):
    max_level = min_level + levels - 1
    if not is_wired_for(topology, min_level, max_level):
        return
    nodes, outputs = (wire(topology, min_level, max_level) for wire in (pyramid_nodes, pyramid_outputs))
    level_of = [*range(min_level, max_level + 1), *(node.level for node in nodes)]
    assert [level_of[number] for number in outputs] == list(range(min_level, max_level + 1))
    assert all(number >= levels for number in outputs), "a level was never fused"
    reached = set(outputs)
    for number, node in reversed(list(enumerate(nodes, start=levels))):
        assert all(source < number for source in node.inputs), "a node reads what is not there yet"
        assert len(set(node.inputs)) == len(node.inputs)
        assert number in reached, "a node is computed for nothing"
        reached |= set(node.inputs)
    assert reached == set(range(levels + len(nodes)))
