import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from effdet_lab.models.layers import (
    DropPath,
    SqueezeExcite,
    StridedConv2d,
    conv2d,
    dense_uniform,
    fan_in_truncated_normal,
    fan_out_normal,
    glorot_uniform,
    init_convs,
    max_pool,
    same_padding,
    set_norm_eps,
    set_padding,
)

# Before and after, for the stem and stages 2, 3, 4 and 6. Source: timm's padding of tf_efficientnet_b0..b7.
PADDINGS = {
    224: "01 01 12 01 12",
    240: "01 01 12 01 22",
    260: "01 01 22 11 22",
    300: "01 01 22 01 22",
    380: "01 01 22 01 12",
    456: "01 01 12 11 22",
    528: "01 01 12 01 22",
    600: "01 01 12 11 12",
    512: "01 01 12 01 12",
}


@pytest.mark.parametrize(("extent", "paddings"), PADDINGS.items())
def test_the_five_strided_layers_pad_like_tensorflow(extent, paddings):
    found = []
    for kernel_size in (3, 3, 5, 3, 5):
        found.append("{}{}".format(*same_padding(extent, kernel_size, 2)))
        extent = math.ceil(extent / 2)
    assert " ".join(found) == paddings


@given(height=st.integers(1, 20), width=st.integers(1, 20), kernel_size=st.sampled_from([1, 3, 5]))
@settings(max_examples=50, deadline=None)
def test_a_strided_convolution_equals_timms(height, width, kernel_size):
    padding = pytest.importorskip("timm.layers")
    ours = conv2d(2, 3, kernel_size, stride=2)
    theirs = padding.Conv2dSame(2, 3, kernel_size, stride=2, bias=False)
    theirs.load_state_dict(ours.state_dict())
    x_BCHW = torch.randn(1, 2, height, width)
    torch.testing.assert_close(ours(x_BCHW), theirs(x_BCHW))


@given(height=st.integers(1, 20), width=st.integers(1, 20))
@settings(max_examples=50, deadline=None)
def test_max_pooling_equals_timms_and_never_sees_its_padding(height, width):
    reference = pytest.importorskip("timm.layers.pool2d_same")
    x_BCHW = torch.randn(1, 2, height, width) - 10  # a padding of 0 would win everywhere
    pooled_BCHW = max_pool(x_BCHW)
    assert pooled_BCHW.shape[2:] == (-(-height // 2), -(-width // 2))
    torch.testing.assert_close(pooled_BCHW, reference.MaxPool2dSame(3, 2)(x_BCHW))


def test_same_and_symmetric_padding_part_only_at_even_extents():
    same = conv2d(2, 2, 3, stride=2)
    symmetric = conv2d(2, 2, 3, stride=2, padding="symmetric")
    symmetric.load_state_dict(same.state_dict())
    odd, even = torch.randn(1, 2, 9, 9), torch.randn(1, 2, 8, 8)
    torch.testing.assert_close(same(odd), symmetric(odd))
    assert same(even).shape == symmetric(even).shape
    assert not torch.allclose(same(even), symmetric(even))


@given(height=st.integers(1, 20), width=st.integers(1, 20))
@settings(max_examples=50, deadline=None)
def test_symmetric_max_pooling_equals_timms(height, width):
    reference = pytest.importorskip("timm.layers")
    x_BCHW = torch.randn(1, 2, height, width) - 10
    pool = reference.create_pool2d("max", 3, stride=2, padding="")
    pooled_BCHW = max_pool(x_BCHW, "symmetric")
    assert pooled_BCHW.shape[2:] == (-(-height // 2), -(-width // 2))
    torch.testing.assert_close(pooled_BCHW, pool(x_BCHW))


def test_padding_and_norms_can_be_set_from_outside():
    network = torch.nn.Sequential(conv2d(2, 2, 3, stride=2), torch.nn.BatchNorm2d(2))
    x_BCHW = torch.randn(1, 2, 8, 8)
    same = network[0](x_BCHW)
    set_padding(network, "symmetric")
    set_norm_eps(network, 0.5)
    assert not torch.allclose(network[0](x_BCHW), same)
    assert network[1].eps == 0.5
    set_padding(network, "same")
    assert torch.equal(network[0](x_BCHW), same)


def test_at_stride_one_nothing_pads_by_hand():
    assert not isinstance(conv2d(2, 2, 5), StridedConv2d)
    assert conv2d(2, 2, 5)(torch.ones(1, 2, 7, 6)).shape == (1, 2, 7, 6)


def test_drop_path_keeps_whole_samples_and_their_expectation():
    drop_path = DropPath(0.25)
    x_BCHW = torch.ones(4000, 2, 1, 1)
    dropped_BCHW = drop_path(x_BCHW)
    assert set(dropped_BCHW.unique().tolist()) == {0.0, torch.tensor(1 / 0.75).item()}
    assert (dropped_BCHW[:, 0] == dropped_BCHW[:, 1]).all()
    assert dropped_BCHW.mean().item() == pytest.approx(1, abs=0.05)
    assert drop_path.eval()(x_BCHW) is x_BCHW


def test_squeeze_excite_gates_whole_channels_between_zero_and_one():
    gate_BCHW = SqueezeExcite(6, 2, "silu")(torch.ones(2, 6, 3, 3))
    assert ((gate_BCHW > 0) & (gate_BCHW < 1)).all()
    assert (gate_BCHW == gate_BCHW[:, :, :1, :1]).all()


@pytest.mark.parametrize(
    ("groups", "init_weight", "std", "limit"),
    [
        (1, fan_out_normal, math.sqrt(2 / (9 * 64)), None),
        (64, fan_out_normal, math.sqrt(2 / 9), None),
        (1, glorot_uniform, math.sqrt(2 / (9 * 128)), math.sqrt(6 / (9 * 128))),
        (64, glorot_uniform, math.sqrt(2 / (9 * 65)), math.sqrt(6 / (9 * 65))),
        (1, fan_in_truncated_normal, math.sqrt(1 / (9 * 64)), 2 * math.sqrt(1 / (9 * 64)) / 0.8796256610342398),
        (64, fan_in_truncated_normal, math.sqrt(1 / (9 * 64)), 2 * math.sqrt(1 / (9 * 64)) / 0.8796256610342398),
    ],
)
def test_weights_start_with_tensorflows_spread(groups, init_weight, std, limit):
    conv = conv2d(64, 64, 3, groups=groups, bias=True)
    init_convs(conv, init_weight)
    assert conv.weight.std().item() == pytest.approx(std, rel=0.1)
    assert limit is None or limit * 0.9 < conv.weight.abs().max() <= limit * 1.0001
    assert (conv.bias == 0).all()


def test_the_classifier_starts_uniform_by_its_outputs():
    linear = torch.nn.Linear(50, 100)
    dense_uniform(linear)
    assert 0.095 < linear.weight.abs().max() <= 0.1
    assert (linear.bias == 0).all()
