import pytest
import torch
from published import build_efficientdet, build_efficientnet
from torch import nn

from effdet_lab.models.counting import count

# Trainable parameters of 1000 classes, and multiply-adds of convolutions and the classifier at the published size.
# Source: counted on timm 1.0.31's tf_efficientnet_*, agreeing with Tan & Le 2019, table 2, as far as it prints.
CLASSIFIERS = [
    ("b0", 224, 5_288_548, 385_814_752),
    ("b1", 240, 7_794_184, 686_802_832),
    ("b2", 260, 9_109_994, 993_561_872),
    ("b3", 300, 12_233_232, 1_827_141_392),
    ("b4", 380, 19_341_616, 4_393_771_024),
    ("b5", 456, 30_389_784, 10_266_384_752),
    ("b6", 528, 43_040_704, 19_067_593_536),
    ("b7", 600, 66_347_960, 37_745_884_192),
    ("b8", 672, 87_413_142, 62_597_461_568),
    ("lite0", 224, 4_652_008, 385.2e6),
    ("lite1", 240, 5_416_680, 600.2e6),
    ("lite2", 260, 6_092_072, 859.7e6),
    ("lite3", 280, 8_197_096, 1.383e9),
    ("lite4", 300, 13_006_568, 2.553e9),
]
# Trainable parameters of 90 classes. Source: google/automl efficientdet_arch_test.py (D0..D7, rounded README for D7x
# and Lite), multiply-adds counted on effdet 0.4.1's tf_efficientdet_*.
DETECTORS = [
    ("d0", 512, 3_880_067, 2_492_331_520),
    ("d1", 640, 6_625_898, 6_003_416_880),
    ("d2", 768, 8_097_039, 10_832_466_688),
    ("d3", 896, 12_032_296, 24_568_753_664),
    ("d4", 1024, 20_723_675, 54_583_712_096),
    ("d5", 1280, 33_653_315, 134_133_865_152),
    ("d6", 1280, 51_871_782, 224_121_477_984),
    ("d7", 1536, 51_871_782, 322_731_636_576),
    ("d7x", 1536, 77_147_166, 407_628_345_344),
    ("lite0", 320, 3_243_470, 0.9736e9),
    ("lite1", 384, 4_248_318, 1.9666e9),
    ("lite2", 448, 5_252_334, 3.3713e9),
    ("lite3", 512, 8_350_862, 7.4802e9),
    ("lite3x", 640, 9_280_862, 13.978e9),
    ("lite4", 640, 15_130_894, 20.168e9),
]


def expected(multiply_adds):
    """Sources that round are met to a thousandth."""
    return multiply_adds if isinstance(multiply_adds, int) else pytest.approx(multiply_adds, rel=1e-3)


@pytest.mark.parametrize(("name", "image_size", "parameters", "multiply_adds"), CLASSIFIERS)
def test_classifiers_are_counted_to_the_unit(name, image_size, parameters, multiply_adds):
    with torch.device("meta"):
        counts = count(build_efficientnet(name), image_size)
    assert counts["total"].parameters == parameters
    assert counts["total"].multiply_adds == expected(multiply_adds)
    assert list(counts) == ["stem", "stages", "head", "total"]


@pytest.mark.parametrize(("name", "image_size", "parameters", "multiply_adds"), DETECTORS)
def test_detectors_are_counted_to_the_unit(name, image_size, parameters, multiply_adds):
    with torch.device("meta"):
        counts = count(build_efficientdet(name), image_size)
    assert counts["total"].parameters == parameters
    assert counts["total"].multiply_adds == expected(multiply_adds)
    assert list(counts) == ["backbone", "fpn", "class_net", "box_net", "total"]


@pytest.mark.parametrize("build", [lambda: build_efficientdet("d0"), lambda: build_efficientnet("b0")])
def test_the_parts_add_up_to_the_total(build):
    with torch.device("meta"):
        counts = count(build(), (200, 328))
    total = counts.pop("total")
    assert tuple(map(sum, zip(*counts.values(), strict=True))) == total


def test_the_parts_of_d0_are_the_published_ones():
    """Source: effdet 0.4.1's tf_efficientdet_d0."""
    with torch.device("meta"):
        counts = count(build_efficientdet("d0"), 512)
    parameters = {part: of_part.parameters for part, of_part in counts.items()}
    assert parameters == {
        "backbone": 3_595_388,
        "fpn": 196_281,
        "class_net": 69_354,
        "box_net": 19_044,
        "total": 3_880_067,
    }
    assert [round(of_part.multiply_adds / 1e9, 3) for of_part in counts.values()] == [1.901, 0.136, 0.362, 0.092, 2.492]


@pytest.mark.parametrize(
    ("name", "parameters"), [("d0", 3_877_763), ("d1", 6_622_026), ("d2", 8_091_215), ("d3", 12_022_376)]
)
def test_biases_before_a_norm_can_be_left_out(name, parameters):
    """Source: effdet 0.4.1's efficientdet_d0..d3."""
    with torch.device("meta"):
        model = build_efficientdet(name, redundant_bias=False)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


def test_d0_with_eighty_classes_lacks_ten_rows_of_each_anchor():
    with torch.device("meta"):
        model = build_efficientdet("d0", num_classes=80)
    assert sum(parameter.numel() for parameter in model.parameters()) == 3_880_067 - 9 * 10 * 65


def test_counting_leaves_the_model_as_it_was_and_skips_what_is_frozen():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 1)).train()
    model[0].weight.requires_grad_(False)
    before = [parameter.clone() for parameter in model.parameters()]
    counts = count(model, (5, 4))
    assert counts == {"0": (4, 4 * 27 * 6), "2": (25, 20 * 6), "total": (29, 4 * 27 * 6 + 20 * 6)}
    assert model.training
    assert all(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))
    assert {parameter.device.type for parameter in model.parameters()} == {"cpu"}
