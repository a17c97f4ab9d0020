"""phi becomes the numbers that the papers print."""

import doctest

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from effdet_lab import scaling, stages, topology
from effdet_lab.scaling import Coefficients, backbone_scale, detector_scale
from effdet_lab.stages import EFFICIENTNET_B0, round_channels, round_repeats, scaled

# facts: tensorflow/tpu efficientnet_params; stage channels and repeats computed from them and checked against timm.
EXPANDED = {
    0: (32, (16, 24, 40, 80, 112, 192, 320), 1280, (1, 2, 2, 3, 3, 4, 1)),
    1: (32, (16, 24, 40, 80, 112, 192, 320), 1280, (2, 3, 3, 4, 4, 5, 2)),
    2: (32, (16, 24, 48, 88, 120, 208, 352), 1408, (2, 3, 3, 4, 4, 5, 2)),
    3: (40, (24, 32, 48, 96, 136, 232, 384), 1536, (2, 3, 3, 5, 5, 6, 2)),
    4: (48, (24, 32, 56, 112, 160, 272, 448), 1792, (2, 4, 4, 6, 6, 8, 2)),
    5: (48, (24, 40, 64, 128, 176, 304, 512), 2048, (3, 5, 5, 7, 7, 9, 3)),
    6: (56, (32, 40, 72, 144, 200, 344, 576), 2304, (3, 6, 6, 8, 8, 11, 3)),
    7: (64, (32, 48, 80, 160, 224, 384, 640), 2560, (4, 7, 7, 10, 10, 13, 4)),
    8: (72, (32, 56, 88, 176, 248, 424, 704), 2816, (4, 8, 8, 11, 11, 15, 4)),
}


@pytest.mark.parametrize("module", [scaling, stages, topology])
def test_the_examples_in_the_docstrings_are_true(module):
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize(("phi", "expected"), EXPANDED.items())
def test_each_member_has_the_published_channels_and_repeats(phi, expected):
    scale = backbone_scale(phi)
    network = scaled(EFFICIENTNET_B0, scale.width, scale.depth)
    channels = tuple(stage.out_channels for stage in network.stages)
    repeats = tuple(stage.repeats for stage in network.stages)
    assert (network.stem_channels, channels, network.head_channels, repeats) == expected


def test_d4_is_the_row_the_paper_prints():
    d4 = detector_scale(4)
    assert (d4.image_size, d4.bifpn_channels, d4.bifpn_repeats, d4.head_repeats) == (1024, 224, 7, 4)


def test_d7_keeps_the_b6_backbone_sums_and_has_larger_anchors():
    d7 = detector_scale(7)
    assert (d7.backbone_phi, d7.image_size, d7.fusion, d7.anchor_scale) == (6, 1536, "sum", 5.0)


@pytest.mark.parametrize(("phi", "formula", "table"), [(2, 120, 112), (4, 216, 224), (7, 520, 384)])
def test_the_formula_does_not_reproduce_the_table(phi, formula, table):
    assert detector_scale(phi, scaling="formula").bifpn_channels == formula
    assert detector_scale(phi).bifpn_channels == table


def test_the_paper_s_coefficients_nearly_double_the_cost():
    assert Coefficients().cost == pytest.approx(1.92027)


@settings(max_examples=50)
@given(st.floats(0, 7), st.floats(0, 7))
def test_between_the_rows_numbers_never_fall(first, second):
    low, high = sorted((first, second))
    for small, large in ((detector_scale(low), detector_scale(high)), (backbone_scale(low), backbone_scale(high))):
        for name, value in vars(small).items():
            if not isinstance(value, str):
                assert value <= vars(large)[name], name


@settings(max_examples=50)
@given(st.floats(-4, 7), st.floats(-4, 7), st.sampled_from(["published", "formula"]))
def test_below_the_table_and_across_its_edge_numbers_never_fall_either(first, second, mode):
    low, high = sorted((first, second))
    pairs = [
        (scale_at(low, scaling=mode), scale_at(high, scaling=mode)) for scale_at in (detector_scale, backbone_scale)
    ]
    for small, large in pairs:
        for name, value in vars(small).items():
            if not isinstance(value, str):
                assert value <= vars(large)[name], name


@pytest.mark.parametrize("phi", range(11))
def test_the_formula_is_the_paper_s_at_every_whole_phi(phi):
    scale = backbone_scale(phi, scaling="formula")
    assert (scale.depth, scale.width) == (pytest.approx(1.2**phi), pytest.approx(1.1**phi))
    assert abs(scale.image_size - 224 * 1.15**phi) <= 2
    detector = detector_scale(phi, scaling="formula")
    assert detector.image_size == 512 + 128 * phi
    assert (detector.bifpn_repeats, detector.head_repeats) == (3 + phi, 3 + phi // 3)
    assert detector.bifpn_channels == round_channels(64 * 1.35**phi)
    assert detector.backbone_phi == phi


def test_a_network_without_a_table_follows_the_formula_in_published_mode():
    for phi in (-1.5, 1, 2.5):
        assert backbone_scale(phi, "mobilenet_v2") == backbone_scale(phi, "mobilenet_v2", "formula")
        assert backbone_scale(phi, "mobilenet_v2").width == pytest.approx(1.1**phi)


def test_table_3_s_compound_networks_are_the_formula_s_at_phi_2_rounded():
    scale = backbone_scale(2, "resnet", "formula")
    assert (round(scale.depth, 1), round(scale.width, 1), round(scale.image_size / 224, 1)) == (1.4, 1.2, 1.3)


@settings(max_examples=50)
@given(st.floats(-4, 7), st.sampled_from(["published", "formula", "depth", "width", "resolution"]))
def test_every_phi_gives_a_network_that_can_be_built(phi, mode):
    scale = detector_scale(phi, scaling=mode)
    assert scale.image_size >= 64
    assert scale.image_size % 8 == 0
    assert scale.bifpn_channels % 8 == 0
    assert min(scale.bifpn_repeats, scale.head_repeats) >= 1


@pytest.mark.parametrize("mode", ["depth", "width", "resolution"])
def test_one_dimension_alone_spends_what_all_three_would(mode):
    depth, width, resolution = Coefficients().multipliers(1.5, mode)
    assert depth * width**2 * resolution**2 == pytest.approx(Coefficients().cost ** 1.5)
    assert sorted([depth, width, resolution])[:2] == [1.0, 1.0]


@settings(max_examples=50)
@given(st.floats(1, 4096))
def test_rounding_never_loses_more_than_a_tenth(channels):
    rounded = round_channels(channels)
    assert rounded % 8 == 0
    assert rounded >= 0.9 * channels


@pytest.mark.parametrize(("channels", "expected"), [(16 * 1.2, 24), (32 * 0.75, 24), (32 * 0.35, 16), (40 * 0.25, 16)])
def test_rounding_agrees_with_the_published_vectors(channels, expected):
    assert round_channels(channels) == expected


@given(st.integers(1, 50), st.integers(1, 9))
def test_repeats_round_up_and_floating_point_adds_none(tenths, repeats):
    assert round_repeats(repeats * (tenths / 10)) == max(1, -(-repeats * tenths // 10))
