import re
from pathlib import Path
from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from effdet_lab.models.bifpn import BiFPN, Combine, Resample, fast_shares, softmax_shares
from effdet_lab.models.counting import Count, count
from effdet_lab.topology import Topology, feature_sizes

PLAIN = {"norm_eps": 1e-3, "norm_momentum": 0.01, "redundant_bias": True}
TOPOLOGIES = get_args(Topology)


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
    torch.testing.assert_close(combine(fusion)(maps, (2, 2)), torch.full((1, 4, 2, 2), expected))


def test_only_learnt_fusions_have_weights():
    assert "edge_weights" in combine("fast").state_dict()
    assert not combine("sum").state_dict()


def test_autocast_leaves_the_shares_in_single_precision():
    node = combine("fast")
    seen = []
    node.shares = lambda weights_N: seen.append(fast_shares(weights_N)) or seen[-1]
    maps = [torch.ones(1, 4, 2, 2, dtype=torch.bfloat16)] * 3
    with torch.autocast("cpu", dtype=torch.bfloat16):
        fused = node(maps, (2, 2))
    assert fused.dtype == torch.bfloat16
    assert [shares_N.dtype for shares_N in seen] == [torch.float32]


def test_a_map_is_projected_before_it_is_pooled():
    resample = Resample(3, 4, levels_up=1, **PLAIN).eval()
    x_BCHW = torch.randn(1, 3, 6, 6)
    expected_BCHW = F.max_pool2d(F.pad(resample.conv(x_BCHW), (0, 1, 0, 1), value=-torch.inf), 3, 2)
    assert torch.equal(resample(x_BCHW), expected_BCHW)


@given(
    height=st.integers(1, 700),
    width=st.integers(1, 700),
    finest=st.integers(3, 5),
    levels_up=st.integers(1, 4),
    padding=st.sampled_from(["same", "symmetric"]),
)
@settings(max_examples=50, deadline=None)
def test_a_map_several_levels_away_gets_the_extents_of_its_level(height, width, finest, levels_up, padding):
    sizes = feature_sizes(height, width, finest, finest + levels_up)
    fine_BCHW, coarse_BCHW = (torch.randn(1, 2, *size) - 10 for size in (sizes[0], sizes[-1]))
    pooled_BCHW = Resample(2, 2, levels_up, **PLAIN, padding=padding)(fine_BCHW)
    grown_BCHW = Resample(2, 2, -levels_up, **PLAIN)(coarse_BCHW, sizes[0])
    assert tuple(pooled_BCHW.shape[2:]) == sizes[-1]
    assert tuple(grown_BCHW.shape[2:]) == sizes[0]
    # Minus infinity pads: every window sees the map, and the maps have no value near 0.
    assert pooled_BCHW.isfinite().all()
    assert set(pooled_BCHW.unique().tolist()) <= set(fine_BCHW.unique().tolist())
    if padding == "same" or levels_up == 1:  # no pixel is left out
        assert pooled_BCHW.amax() == fine_BCHW.amax()
    assert set(grown_BCHW.unique().tolist()) <= set(coarse_BCHW.unique().tolist())


@given(height=st.integers(1, 40), width=st.integers(1, 40), stride=st.sampled_from([2, 4, 8, 16]))
@settings(max_examples=50, deadline=None)
def test_pooling_by_several_levels_is_tensorflow_s_same(height, width, stride):
    reference = pytest.importorskip("timm.layers.pool2d_same")
    x_BCHW = torch.randn(1, 2, height, width) - 10
    pooled_BCHW = Resample(2, 2, stride.bit_length() - 1, **PLAIN)(x_BCHW)
    torch.testing.assert_close(pooled_BCHW, reference.MaxPool2dSame(stride + 1, stride)(x_BCHW))


def test_pooling_by_four_looks_at_five_pixels():
    """Eight pixels in windows of five from pixels 0 and 4, the one that lacks padded at the end."""
    resample = Resample(1, 1, levels_up=2, **PLAIN)
    x_BCHW = torch.tensor([9.0, 1, 2, 3, 8, 5, 6, 7]).expand(1, 1, 8, 8)
    assert resample(x_BCHW)[0, 0, 0].tolist() == [9, 8]
    assert resample(x_BCHW.flip(-1))[0, 0, 0].tolist() == [8, 9]


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


@pytest.mark.parametrize("size", [(320, 200), (96, 160), (97, 33)], ids=str)
@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_every_topology_keeps_the_pyramids_extents(topology, size):
    fpn = BiFPN(in_channels=(2, 3, 4), channels=4, repeats=2, topology=topology).eval()
    sizes = feature_sizes(*size, 3, 7)
    maps = [torch.randn(2, channels, *extents) for channels, extents in zip((2, 3, 4), sizes, strict=False)]
    with torch.no_grad():
        pyramid = fpn(maps)
    assert [tuple(map_BCHW.shape) for map_BCHW in pyramid] == [(2, 4, *extents) for extents in sizes]
    assert all(map_BCHW.isfinite().all() for map_BCHW in pyramid)


@pytest.mark.parametrize("fusion", ["fast", "sum"])
@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_every_weight_of_every_topology_learns(topology, fusion):
    fpn = BiFPN(
        in_channels=(2, 3, 5), channels=4, repeats=2, fusion=fusion, topology=topology, redundant_bias=False
    ).train()
    maps = [torch.randn(2, channels, size, size, requires_grad=True) for channels, size in ((2, 16), (3, 8), (5, 4))]
    # Squares weighed at random: the mean of a normed map is its bias, and would tell the convolutions nothing.
    sum((map_BCHW.square() * torch.rand_like(map_BCHW)).sum() for map_BCHW in fpn(maps)).backward()
    still = [name for name, parameter in fpn.named_parameters() if parameter.grad is None or not parameter.grad.any()]
    assert still == []
    assert all(map_BCHW.grad.any() for map_BCHW in maps)


@pytest.mark.parametrize("size", [(128, 192), (104, 72)], ids=str)
@pytest.mark.parametrize(("fusion", "name"), [("fast", "pan_fa"), ("sum", "pan_sum")])
def test_a_pan_computes_what_effdet_s_does(fusion, name, size):
    effdet = pytest.importorskip("effdet")
    config = effdet.get_efficientdet_config("tf_efficientdet_d0")
    config.fpn_name, config.image_size, config.fpn_channels, config.fpn_cell_repeats = name, size, 8, 2
    theirs = effdet.efficientdet.BiFpn(config, [{"num_chs": channels} for channels in (3, 5, 7)]).eval()
    ours = BiFPN(in_channels=(3, 5, 7), channels=8, repeats=2, fusion=fusion, topology="pan").eval()
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    ours.load_state_dict(theirs.state_dict())
    sizes = feature_sizes(*size, 3, 7)
    maps = [torch.randn(1, channels, *extents) for channels, extents in zip((3, 5, 7), sizes, strict=False)]
    with torch.no_grad():
        for our_BCHW, their_BCHW in zip(ours(maps), theirs(list(maps)), strict=True):
            torch.testing.assert_close(our_BCHW, their_BCHW)


# B3's maps at strides 8, 16 and 32; table 1 of the paper: D3 has 6 cells of 160 channels at 896 pixels.
B3_CHANNELS, D3 = (48, 136, 384), {"channels": 160, "repeats": 6}


class AsPicture(torch.nn.Module):
    """A feature network that is counted as if it saw a picture."""

    def __init__(self, fpn: BiFPN) -> None:
        super().__init__()
        self.fpn = fpn

    def forward(self, image_BCHW: torch.Tensor) -> list[torch.Tensor]:
        sizes = feature_sizes(*image_BCHW.shape[2:], 3, 5)
        return self.fpn(
            [image_BCHW.new_empty(1, channels, *size) for channels, size in zip(B3_CHANNELS, sizes, strict=True)]
        )


def cost(topology: str, **settings) -> Count:
    with torch.device("meta"):
        fpn = BiFPN(in_channels=B3_CHANNELS, **{**D3, "fusion": "sum", **settings}, topology=topology)
    return count(AsPicture(fpn), 896)["fpn"]


# Tan et al. 2020, table 5: parameters and multiply-adds relative to its first two rows.
@pytest.mark.parametrize(
    ("topology", "settings", "ratios", "within"),
    [
        ("bifpn", {}, (0.88, 0.67), 0.02),
        ("nas_fpn", {}, (0.71, 0.72), 0.03),
        # Both rows cost the same there, which an FPN does that is repeated twice as often: it goes down only.
        ("fpn", {"repeats": 12}, (1.0, 1.0), 0.0),
    ],
)
def test_costs_relate_to_a_pan_s_as_the_paper_prints(topology, settings, ratios, within):
    measured = [ours / pan for ours, pan in zip(cost(topology, **settings), cost("pan"), strict=True)]
    assert measured == pytest.approx(ratios, abs=within + 1e-9)


def test_the_documented_costs_are_the_counted_ones():
    document = (Path(__file__).parents[2] / "docs" / "feature_networks.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| `([^`]+)` \| [\d.]* ?\| ([\d,]+) \| ([\d,]+) \| ([\d.]+), ([\d.]+) \|", document, re.MULTILINE
    )
    topologies = {"repeated_fpn": "fpn", "sum": "bifpn", "paper": "bifpn"}
    assert len(rows) == 9
    pan = cost("pan")
    for typed, parameters, multiply_adds, *ratios in rows:
        option, _, repeats = typed.partition(" bifpn.repeats=")
        settings = {"repeats": 1 if option == "fpn" else int(repeats or D3["repeats"])}
        settings["fusion"] = "fast" if option == "paper" else "sum"
        counted = cost(topologies.get(option, option), **settings)
        assert [f"{number:,}" for number in counted] == [parameters, multiply_adds], typed
        assert [f"{ours / theirs:.2f}" for ours, theirs in zip(counted, pan, strict=True)] == ratios, typed
