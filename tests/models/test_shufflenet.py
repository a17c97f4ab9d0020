import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from effdet_lab.models.counting import count
from effdet_lab.models.shufflenet import FIRST_CHANNELS, ShuffleNet


# Source: megvii-model/ShuffleNet-Series, ShuffleNetV1/README.md.
@pytest.mark.parametrize(
    ("groups", "width", "parameters", "multiply_adds"),
    [
        (3, 0.5, 0.7, 38),
        (3, 1.0, 1.9, 138),
        (3, 1.5, 3.4, 292),
        (3, 2.0, 5.4, 524),
        (8, 0.5, 1.0, 40),
        (8, 1.0, 2.4, 138),
        (8, 1.5, 4.3, 290),
        (8, 2.0, 6.5, 522),
    ],
)
def test_the_published_networks_have_their_published_counts(groups, width, parameters, multiply_adds):
    with torch.device("meta"):
        network = ShuffleNet(groups=groups, width=width, num_classes=1000)
    counted = count(network, 224)["total"]
    assert counted.parameters / 1e6 == pytest.approx(parameters, abs=0.051)
    assert counted.multiply_adds / 1e6 == pytest.approx(multiply_adds, abs=0.6)


# Source: Zhang et al. 2018, table 1: the complexity that the groups share.
@pytest.mark.parametrize(("groups", "complexity"), [(1, 143), (2, 140), (3, 137), (4, 133), (8, 137)])
def test_more_groups_pay_for_more_channels(groups, complexity):
    with torch.device("meta"):
        network = ShuffleNet(groups=groups, width=1.0, num_classes=1000)
    assert network.channels[-1] == 4 * FIRST_CHANNELS[groups]
    assert count(network, 224)["total"].multiply_adds / 1e6 == pytest.approx(complexity, abs=1.5)


@pytest.mark.parametrize("size", [(64, 96), (75, 50)])
def test_the_maps_are_those_of_a_pyramid(size):
    network = ShuffleNet(groups=3, width=0.5, with_head=False).eval()
    with torch.no_grad():
        maps = network.features(torch.randn(1, 3, *size))
    assert [tuple(map_BCHW.shape[1:]) for map_BCHW in maps] == [
        (channels, -(-size[0] // stride), -(-size[1] // stride))
        for channels, stride in zip(network.channels, network.strides, strict=True)
    ]


@settings(max_examples=15, deadline=None)
@given(groups=st.sampled_from(sorted(FIRST_CHANNELS)), width=st.floats(0.05, 4))
def test_any_width_can_be_grouped(groups, width):
    with torch.device("meta"):
        network = ShuffleNet(groups=groups, width=width, num_classes=2, repeats=(1, 2, 1)).eval()
        assert network(torch.empty(1, 3, 32, 32)).shape == (1, 2)


def test_the_second_group_sees_channels_of_all_groups():
    network = ShuffleNet(groups=3, width=0.5, num_classes=2)
    block = network.stages[0][1].branch
    channels = torch.arange(block[0].out_channels).view(1, -1, 1, 1)
    shuffled = block[3](channels).flatten().tolist()
    size = len(shuffled) // 3
    assert {channel // size for channel in shuffled[size : 2 * size]} == {0, 1, 2}


def test_every_parameter_of_a_classifier_learns():
    network = ShuffleNet(groups=2, width=0.25, num_classes=3, repeats=(2, 1, 1))
    network(torch.randn(2, 3, 64, 64)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
