"""The BiFPN's graph. Source of the golden lists: google/automl efficientdet/tf2/fpn_configs.py."""

from effdet_lab.topology import bifpn_nodes, bifpn_outputs

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


def test_five_levels_are_wired_as_published():
    assert [(node.level, node.inputs) for node in bifpn_nodes(3, 7)] == P3_TO_P7
    assert bifpn_outputs(3, 7) == (8, 9, 10, 11, 12)


def test_d7x_s_six_levels_are_wired_as_published():
    assert [node.inputs for node in bifpn_nodes(3, 8)] == P3_TO_P8


def test_a_cell_has_as_many_edge_weights_as_published():
    assert sum(len(node.inputs) for node in bifpn_nodes(3, 7)) == 19
    assert sum(len(node.inputs) for node in bifpn_nodes(3, 8)) == 24
