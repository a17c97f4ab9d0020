import pytest

from effdet_lab import compose
from effdet_lab.arithmetic import count_model
from effdet_lab.report import published as module
from effdet_lab.report.published import NAMES, published

LITE = "backbone=efficientnet_lite"


def value_of(table: str, name: str, metric: str) -> float:
    (found,) = [point.value for point in published(table) if (point.name, point.metric) == (name, metric)]
    return found


# Typed from the papers and READMEs a second time, in percent.
@pytest.mark.parametrize(
    ("table", "name", "metric", "percent"),
    [
        ("efficientnet", "EfficientNet-B0", "val/top1", 77.1),
        ("efficientnet", "EfficientNet-B0", "val/top5", 93.3),
        ("efficientnet", "EfficientNet-B4", "val/top1", 82.9),
        ("efficientnet", "EfficientNet-B7", "val/top1", 84.3),
        ("efficientnet", "EfficientNet-B7", "val/top5", 97.0),
        ("comparators", "ResNet-152", "val/top1", 77.8),
        ("comparators", "GPipe", "val/top1", 84.3),
        ("comparators", "SENet", "val/top5", 96.2),
        ("efficientdet", "EfficientDet-D0", "val/map", 34.3),
        ("efficientdet", "EfficientDet-D0", "test/map", 34.6),
        ("efficientdet", "EfficientDet-D6", "val/map", 52.2),
        ("efficientdet", "EfficientDet-D7x", "test/map", 55.1),
        ("detectors", "YOLOv3", "test/map", 33.0),
        ("detectors", "RetinaNet-R50", "val/map", 39.2),
        ("detectors", "Mask R-CNN X152", "val/map", 50.2),
        ("feature_networks", "EfficientNet-B3 + BiFPN", "val/map", 44.4),
        ("feature_networks", "NAS-FPN", "val/map", 43.16),
        ("efficientnet_lite", "EfficientNet-Lite4", "val/top1", 81.5),
        ("efficientdet_lite", "EfficientDet-Lite3x", "val/map", 42.64),
    ],
)
def test_numbers_are_those_of_their_source(table, name, metric, percent):
    assert value_of(table, name, metric) == pytest.approx(percent / 100, abs=1e-9)


def test_a_row_carries_all_that_its_source_prints():
    (d5,) = [point for point in published("efficientdet") if point.name.endswith("D5") and point.metric == "val/map"]
    assert (d5.phi, d5.image_size, d5.parameters, d5.multiply_adds) == (5, 1280, 33_700_000, 135_000_000_000)
    assert (d5.latency_ms, d5.data, d5.family) == (72.5, "coco", "efficientdet")
    assert "1911.09070" in d5.source
    (gpipe,) = [point for point in published("comparators") if (point.name, point.metric) == ("GPipe", "val/top1")]
    assert (gpipe.parameters, gpipe.multiply_adds, gpipe.latency_ms) == (557_000_000, None, None)
    (compound,) = [
        point
        for point in published("scaling_dimensions")
        if (point.family, point.name) == ("EfficientNet-B0", "compound")
    ]
    assert (compound.depth, compound.width, compound.resolution, compound.value) == (1.4, 1.2, 1.3, 0.811)
    fully_connected = next(point for point in published("feature_networks") if "fully" in point.name)
    assert (fully_connected.relative_parameters, fully_connected.relative_multiply_adds) == (1.24, 1.21)
    assert fully_connected.parameters is None


@pytest.mark.parametrize("name", NAMES)
def test_every_table_is_whole(name):
    points = published(name)
    assert len({(point.family, point.name, point.image_size, point.metric) for point in points}) == len(points)
    for point in points:
        assert 0.25 < point.value < 1
        assert point.source
        assert point.data in ("imagenet", "coco")
        assert point.parameters is None or 1e6 < point.parameters < 1e9
        assert point.multiply_adds is None or 1e8 < point.multiply_adds < 4e12


@pytest.mark.parametrize(
    ("table", "rows"),
    [
        ("efficientnet", 8),
        ("comparators", 16),
        ("scaling_dimensions", 19),
        ("efficientdet", 9),
        ("detectors", 11),
        ("feature_networks", 9),
        ("efficientnet_lite", 5),
        ("efficientdet_lite", 6),
    ],
)
def test_no_row_is_missing(table, rows):
    assert len({(point.family, point.name, point.image_size) for point in published(table)}) == rows


@pytest.mark.parametrize(
    ("table", "overrides", "num_classes"),
    [
        ("efficientnet", ["model=efficientnet"], 1000),
        ("efficientnet_lite", ["model=efficientnet", LITE], 1000),
        ("efficientdet", ["model=efficientdet"], 90),
        ("efficientdet_lite", ["model=efficientdet", LITE], 90),
    ],
)
def test_what_is_printed_of_a_family_agrees_with_our_own_networks(table, overrides, num_classes):
    """Parameters within 2 %, multiply-adds within 6 %: B4, B5 and the Lite networks are printed further off ours."""
    rows = {point.phi: point for point in published(table) if point.phi is not None}
    assert list(rows) == list(range(len(rows)))
    for phi, point in rows.items():
        model = compose(*overrides, f"phi={phi}").model
        counted = count_model(model, num_classes)
        assert model.input.image_size == (point.image_size, point.image_size)
        assert point.parameters == pytest.approx(counted.parameters, rel=0.02), point.name
        assert point.multiply_adds == pytest.approx(counted.multiply_adds, rel=0.06), point.name


# Beside each network, which EfficientNet the paper groups it with, and how many times its parameters and
# multiply-adds it has. Source: Tan & Le, table 2, the columns of ratios.
RATIOS = {
    "ResNet-50": (0, 4.9, 11),
    "DenseNet-169": (0, 2.6, 8.9),
    "ResNet-152": (1, 7.6, 16),
    "DenseNet-264": (1, 4.3, 8.6),
    "Inception-v3": (1, 3.0, 8.1),
    "Xception": (1, 3.0, 12),
    "Inception-v4": (2, 5.2, 13),
    "Inception-ResNet-v2": (2, 6.1, 13),
    "ResNeXt-101": (3, 7.0, 18),
    "PolyNet": (3, 7.7, 19),
    "SENet": (4, 7.7, 10),
    "NASNet-A": (4, 4.7, 5.7),
    "AmoebaNet-A": (4, 4.6, 5.5),
    "PNASNet": (4, 4.5, 6.0),
    "AmoebaNet-C": (5, 5.2, 4.1),
    "GPipe": (7, 8.4, None),
}


def test_comparators_are_as_many_times_larger_as_the_paper_says():
    base = {point.phi: point for point in published("efficientnet")}
    rows = {point.name: point for point in published("comparators")}
    assert set(rows) == set(RATIOS)
    for name, (phi, parameters, multiply_adds) in RATIOS.items():
        assert rows[name].parameters / base[phi].parameters == pytest.approx(parameters, rel=0.05), name
        if multiply_adds:
            assert rows[name].multiply_adds / base[phi].multiply_adds == pytest.approx(multiply_adds, rel=0.1), name


def test_networks_scaled_in_one_dimension_cost_what_it_says():
    """Multiply-adds grow as depth * width^2 * resolution^2, to the digit or two that the paper prints.

    Scaled in all three they cost a third more, for every stage's depth is rounded up.
    """
    bases = {point.family: point for point in published("scaling_dimensions") if point.name == "base"}
    for point in published("scaling_dimensions"):
        scale = {"depth": point.depth, "width": point.width, "resolution": point.resolution}
        if point.name in scale:
            assert [name for name, times in scale.items() if times != 1] == [point.name]
            growth = point.depth * point.width**2 * point.resolution**2
            assert point.multiply_adds / bases[point.family].multiply_adds == pytest.approx(growth, rel=0.2), point


def test_scaling_all_three_dimensions_beats_scaling_any_one():
    for family in {point.family for point in published("scaling_dimensions")}:
        best = max(
            (point for point in published("scaling_dimensions") if point.family == family),
            key=lambda point: point.value,
        )
        assert best.name == "compound"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("family,name,val/top1\na,b,50\n", "where it comes from"),
        ("# Source.\nfamily,name,val/top1\na,b\n", "cells"),
        ("# Source.\nfamily,name,val/top1\na,b,50,60\n", "cells"),
        ("# Source.\nfamily,name,val/top1\na,b,\n", "no metric"),
        ("# Source.\nfamily,name,val/top9\na,b,50\n", "columns nobody reads"),
        ("# Source.\nfamily,name,paramters,val/top1\na,b,1e6,50\n", "columns nobody reads"),
        ("# Source.\nfamily,name,val/top1\na,b,150\n", "percent"),
    ],
    ids=["no source", "short row", "long row", "no metric", "unknown metric", "misspelt column", "beyond 100 percent"],
)
def test_an_odd_table_is_noticed(text, complaint, tmp_path, monkeypatch):
    (tmp_path / "efficientnet.csv").write_text(text, encoding="utf-8")
    monkeypatch.setattr(module, "TABLES", tmp_path)
    with pytest.raises(AssertionError, match=complaint):
        published("efficientnet")
