import pytest
import torch

from effdet_lab.models.amoebanet import CELLS, AmoebaNet, Halve, Pool
from effdet_lab.models.counting import count
from effdet_lab.models.layers import norm

NUM_STATES = 7


# Sources: AmoebaNet's paper for (6, 190) and (6, 204); Cubuk et al., AutoAugment (CVPR 2019), for C; GPipe (NeurIPS
# 2019) for B, whose 18 cells are 6 a stack; DARTS (ICLR 2019), table 3, for the mobile ones.
@pytest.mark.parametrize(
    ("cell", "cells", "filters", "pixels", "parameters", "multiply_adds"),
    [
        ("a", 6, 190, 331, 86.7e6, 23.1e9),
        ("a", 6, 204, 331, 99.6e6, None),
        ("a", 4, 50, 224, 5.1e6, 555e6),
        ("b", 3, 62, 224, 5.3e6, 555e6),
        pytest.param("b", 6, 512, 480, 557e6, None, marks=pytest.mark.slow),
        ("c", 6, 228, 331, 155.3e6, 41.1e9),
    ],
)
def test_the_published_networks_have_their_published_counts(cell, cells, filters, pixels, parameters, multiply_adds):
    with torch.device("meta"):
        network = AmoebaNet(cell=cell, cells=cells, filters=filters, num_classes=1000)
    counted = count(network, pixels)["total"]
    assert counted.parameters == pytest.approx(parameters, rel=0.01)
    if multiply_adds:
        assert counted.multiply_adds == pytest.approx(multiply_adds, rel=0.002)


@pytest.mark.parametrize("pair", CELLS.values(), ids=CELLS)
def test_every_state_is_made_before_it_is_read_and_none_is_lost(pair):
    for spec in pair:
        read = {state for one_sum in spec.sums for _, state in one_sum}
        for number, one_sum in enumerate(spec.sums, start=2):
            assert all(state < number for _, state in one_sum)
        assert read | set(spec.outputs) == set(range(NUM_STATES))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("size", [(64, 96), (75, 50)])
def test_the_maps_are_those_of_a_pyramid(cell, size):
    network = AmoebaNet(cell=cell, cells=1, filters=16, with_head=False).eval()
    with torch.no_grad():
        maps = network.features(torch.randn(1, 3, *size))
    assert [tuple(map_BCHW.shape[1:]) for map_BCHW in maps] == [
        (channels, -(-size[0] // stride), -(-size[1] // stride))
        for channels, stride in zip(network.channels, network.strides, strict=True)
    ]


def test_every_parameter_of_a_classifier_learns():
    network = AmoebaNet(cells=1, filters=16, num_classes=3, drop_path=0.0, dropout=0.0)
    network(torch.randn(2, 3, 64, 64)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_the_chance_of_a_dropped_path_grows_to_the_last_cell():
    network = AmoebaNet(cells=2, filters=16, num_classes=3, drop_path=0.5)
    rates = [next(layer.rate for layer in cell.modules() if hasattr(layer, "rate")) for cell in network.cells]
    assert rates == pytest.approx([0.5 * number / 10 for number in range(1, 11)])


def test_a_mean_counts_no_padding_and_a_strided_pool_pads_like_tensorflow():
    ones_BCHW = torch.ones(1, 1, 5, 6)
    for kernel_size, stride in ((3, 1), (3, 2), (2, 2)):
        pooled_BCHW = Pool("avg", kernel_size, stride)(ones_BCHW)
        assert torch.equal(pooled_BCHW, torch.ones(1, 1, -(-5 // stride), -(-6 // stride)))
    # An even extent is padded at its end alone: the first window starts at the first pixel.
    row_BCHW = torch.arange(6.0).expand(1, 1, 6, 6)
    assert Pool("max", 3, 2)(row_BCHW)[0, 0, 0].tolist() == [2, 4, 5]
    assert Pool("max", 3, 2)(row_BCHW[..., :5])[0, 0, 0].tolist() == [1, 3, 4]


def test_halving_reads_the_even_pixels_and_the_odd_ones():
    halve = Halve(1, 3, lambda channels: norm(channels, eps=1e-3, momentum=0.01)).eval()
    for conv in (halve.conv1, halve.conv2):
        torch.nn.init.ones_(conv.weight)
    halve.bn.eps = 0.0
    x_BCHW = torch.arange(25.0).view(1, 1, 5, 5)
    with torch.no_grad():
        halved_BCHW = halve(x_BCHW)
    assert halved_BCHW[0, 0].tolist() == [[0, 2, 4], [10, 12, 14], [20, 22, 24]]
    assert halved_BCHW[0, 1].tolist() == halved_BCHW[0, 2].tolist() == [[6, 8, 0], [16, 18, 0], [0, 0, 0]]
