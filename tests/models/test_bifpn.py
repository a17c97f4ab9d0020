import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from effdet_lab.models.bifpn import BiFPN, Combine, Resample, fast_shares, softmax_shares
from effdet_lab.topology import feature_sizes

PLAIN = {"norm_eps": 1e-3, "norm_momentum": 0.01, "redundant_bias": True}


def combine(fusion: str) -> Combine:
    return Combine({number: Resample(4, 4, 0, **PLAIN) for number in (1, 7, 8)}, fusion)


def test_fast_fusion_forgets_negative_weights_and_keeps_its_small_term():
    shares_N = fast_shares(torch.tensor([1.0, -2.0, 3.0]))
    torch.testing.assert_close(shares_N, torch.tensor([1.0, 0.0, 3.0]) / 4.0001)


def test_softmax_fusion_sums_to_one():
    torch.testing.assert_close(softmax_shares(torch.tensor([0.0, 0.0, 0.0])), torch.full((3,), 1 / 3))


@pytest.mark.parametrize(("fusion", "expected"), [("fast", 6 / 3.0001), ("softmax", 2.0), ("sum", 6.0)])
def test_untrained_nodes_weigh_their_inputs_alike(fusion, expected):
    maps = [torch.full((1, 4, 2, 2), value) for value in (1.0, 2.0, 3.0)]
    torch.testing.assert_close(combine(fusion)(maps), torch.full((1, 4, 2, 2), expected))


def test_only_learnt_fusions_have_weights():
    assert "edge_weights" in combine("fast").state_dict()
    assert not combine("sum").state_dict()


def test_autocast_leaves_the_shares_in_single_precision():
    node = combine("fast")
    seen = []
    node.shares = lambda weights_N: seen.append(fast_shares(weights_N)) or seen[-1]
    maps = [torch.ones(1, 4, 2, 2, dtype=torch.bfloat16)] * 3
    with torch.autocast("cpu", dtype=torch.bfloat16):
        fused = node(maps)
    assert fused.dtype == torch.bfloat16
    assert [shares_N.dtype for shares_N in seen] == [torch.float32]


def test_a_map_is_projected_before_it_is_pooled():
    resample = Resample(3, 4, levels_up=1, **PLAIN).eval()
    x_BCHW = torch.randn(1, 3, 6, 6)
    expected_BCHW = torch.nn.functional.max_pool2d(
        torch.nn.functional.pad(resample.conv(x_BCHW), (0, 1, 0, 1), value=-torch.inf), 3, 2
    )
    assert torch.equal(resample(x_BCHW), expected_BCHW)


def test_upsampling_takes_the_floor_of_the_target_index():
    resample = Resample(1, 1, levels_up=-1, **PLAIN)
    x_BCHW = torch.arange(3.0).reshape(1, 1, 1, 3)
    assert resample(x_BCHW, (1, 5)).flatten().tolist() == [0, 0, 1, 1, 2]


def test_the_first_cell_alone_changes_channels_and_by_separate_layers():
    """P4 and P5 are projected twice, for the way down and for the skip of the way up."""
    fpn = BiFPN(in_channels=(8, 12, 16), channels=10, repeats=2)
    projections = [name for name, module in fpn.named_modules() if name.endswith("conv.conv") and "resample" in name]
    assert projections == [
        "resample.3.conv.conv",
        "cell.0.fnode.1.combine.resample.2.conv.conv",
        "cell.0.fnode.2.combine.resample.1.conv.conv",
        "cell.0.fnode.3.combine.resample.0.conv.conv",
        "cell.0.fnode.4.combine.resample.1.conv.conv",
        "cell.0.fnode.5.combine.resample.2.conv.conv",
    ]
    assert sum(parameter.numel() for name, parameter in fpn.named_parameters() if "edge_weights" in name) == 2 * 19


def test_depthwise_kernels_start_as_glorot_counts_them_in_tensorflow():
    fpn = BiFPN(in_channels=(8, 8, 8), channels=64, repeats=1)
    weight = fpn.cell[0].fnode[0].after_combine.conv.conv_dw.weight
    limit = (6 / (9 * 64 + 9)) ** 0.5
    assert 0.95 * limit < weight.abs().max() <= limit


@given(height=st.integers(1, 150), width=st.integers(1, 150), max_level=st.integers(5, 8))
@settings(max_examples=15, deadline=None)
def test_any_picture_keeps_its_pyramids_extents(height, width, max_level):
    fpn = BiFPN(in_channels=(2, 3, 4), channels=4, repeats=1, max_level=max_level).eval()
    sizes = feature_sizes(height, width, 3, max_level)
    maps = [torch.randn(1, channels, *size) for channels, size in zip((2, 3, 4), sizes, strict=False)]
    with torch.no_grad():
        pyramid = fpn(maps)
    assert [tuple(map_BCHW.shape) for map_BCHW in pyramid] == [(1, 4, *size) for size in sizes]
    assert all(map_BCHW.isfinite().all() for map_BCHW in pyramid)


def test_a_pyramid_may_start_at_level_two():
    fpn = BiFPN(in_channels=(2, 3, 4, 5), channels=4, repeats=1, min_level=2, max_level=6)
    sizes = feature_sizes(64, 96, 2, 6)
    maps = [torch.randn(2, channels, *size) for channels, size in zip((2, 3, 4, 5), sizes, strict=False)]
    assert [tuple(map_BCHW.shape[2:]) for map_BCHW in fpn(maps)] == sizes
