import runpy
from pathlib import Path

import pytest
import torch
import torchvision

pytest.importorskip("timm")

import timm

from effdet_lab.errors import ConfigError
from effdet_lab.models.bifpn import BiFPN
from effdet_lab.models.comparators import (
    TimmBackbone,
    TorchvisionBackbone,
    timm_classifier,
    torchvision_classifier,
)
from effdet_lab.models.counting import count
from effdet_lab.models.efficientdet import EfficientDet
from effdet_lab.models.heads import Head
from effdet_lab.topology import feature_sizes

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "comparators.py"


@pytest.mark.parametrize(
    ("name", "strides", "channels"),
    [
        ("resnet18", (2, 4, 8, 16, 32), (64, 64, 128, 256, 512)),
        ("mobilenetv3_small_100", (2, 4, 8, 16, 32), (16, 16, 24, 48, 576)),
        ("convnext_atto", (4, 8, 16, 32), (40, 80, 160, 320)),
        ("csatv2", (8, 16, 32), (32, 72, 168)),
    ],
)
def test_a_timm_backbone_keeps_the_backbones_contract(name, strides, channels):
    backbone = TimmBackbone(name).eval()
    assert (backbone.strides, backbone.channels) == (strides, channels)
    with torch.no_grad():
        maps = backbone.features(torch.randn(1, 3, 64, 96))
    assert [tuple(map_BCHW.shape) for map_BCHW in maps] == [
        (1, width, 64 // stride, 96 // stride) for stride, width in zip(strides, channels, strict=True)
    ]


def test_maps_whose_channels_come_last_are_turned():
    with torch.device("meta"):
        backbone = TimmBackbone("swin_tiny_patch4_window7_224", image_size=(224, 224))
        maps = backbone.features(torch.empty(1, 3, 224, 224))
    assert [tuple(map_BCHW.shape) for map_BCHW in maps] == [
        (1, 96, 56, 56),
        (1, 192, 28, 28),
        (1, 384, 14, 14),
        (1, 768, 7, 7),
    ]


def test_a_detector_stands_on_a_timm_backbone():
    backbone = TimmBackbone("mobilenetv3_small_100", drop_path=0.1)
    fpn = BiFPN(in_channels=backbone.channels[-3:], channels=16, repeats=1)
    heads = [Head(channels=16, repeats=1, num_levels=5, num_anchors=9, num_outputs=outputs) for outputs in (3, 4)]
    raw = EfficientDet(backbone, fpn, *heads)(torch.randn(2, 3, 64, 100))
    cells = sum(height * width for height, width in feature_sizes(64, 100, 3, 7))
    assert raw.class_logits_BAK.shape == (2, 9 * cells, 3)


@pytest.mark.parametrize(
    ("name", "arguments", "sentence"),
    [
        ("resnt50", {}, "backbone.architecture=resnt50: timm has no such model. Did you mean resnet50"),
        ("resnet50.a1_in1kk", {}, "Did you mean resnet50.a1_in1k"),
        ("zzzzzzzz", {}, "timm.list_models"),
        ("vit_tiny_patch16_224", {}, "backbone.architecture=vit_tiny_patch16_224: its strides are 16, 16, 16"),
        ("swin_tiny_patch4_window7_224", {}, "refuses pictures of 256x256"),
        ("inception_v3", {}, "29x29 for pictures of 256x256, where the anchors lie on 32x32"),
        ("vgg11", {"drop_path": 0.1}, "backbone.drop_path=0.1: vgg11 has none. Use 0."),
    ],
)
def test_an_unfit_backbone_is_refused_in_a_sentence(name, arguments, sentence):
    with torch.device("meta"), pytest.raises(ConfigError) as refusal:
        TimmBackbone(name, **arguments)
    assert sentence in str(refusal.value)


def test_a_timm_classifier_takes_our_numbers():
    model = timm_classifier("resnet18", num_classes=7, dropout=0.3, drop_path=0.1)
    assert model.drop_rate == 0.3
    assert model(torch.randn(2, 3, 64, 64)).shape == (2, 7)


def test_an_unfit_classifier_is_refused_in_a_sentence():
    with pytest.raises(ConfigError, match="Did you mean resnet18"):
        timm_classifier("resnet-18", 10)
    with torch.device("meta"), pytest.raises(ConfigError, match=r"backbone.drop_path=0.2: vgg11 has none"):
        timm_classifier("vgg11", 10, drop_path=0.2)


def parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


def test_a_resnet50_of_other_depths_is_timms_resnet152():
    with torch.device("meta"):
        scaled = timm_classifier("resnet50", 1000, layers=(3, 8, 36, 3))
        assert parameters(scaled) == parameters(timm_classifier("resnet152", 1000))


def test_own_sizes_change_nothing():
    with torch.device("meta"):
        scaled = timm_classifier("seresnet50", 10, layers=(3, 4, 6, 3), channels=(64, 128, 256, 512), stem_channels=64)
        shapes = {name: value.shape for name, value in scaled.state_dict().items()}
        own = timm_classifier("seresnet50", 10).state_dict()
    assert shapes == {name: value.shape for name, value in own.items()}


@pytest.mark.parametrize(("name", "first"), [("resnet18", 1), ("resnext50_32x4d", 4), ("resnet50d", 4)])
def test_a_resnet_is_scaled_in_depth_and_width(name, first):
    sizes = {"layers": (1, 2, 1, 1), "channels": (32, 64, 96, 128), "stem_channels": 48}
    backbone = TimmBackbone(name, **sizes).eval()
    assert backbone.channels == (48, *(first * channels for channels in (32, 64, 96, 128)))
    with torch.no_grad():
        maps = backbone.features(torch.randn(1, 3, 64, 96))
    assert tuple(map_BCHW.shape[1] for map_BCHW in maps) == backbone.channels
    assert timm_classifier(name, 3, **sizes)(torch.randn(1, 3, 64, 64)).shape == (1, 3)


def test_a_wide_stem_keeps_its_kind_and_its_draw():
    model = timm_classifier("resnet18", 3, stem_channels=128)
    assert (model.conv1.kernel_size, model.conv1.out_channels) == ((7, 7), 128)
    # Kaiming by fan out: the variance is 2 / (128 * 49).
    assert model.conv1.weight.std().item() == pytest.approx((2 / (128 * 49)) ** 0.5, rel=0.05)
    assert timm_classifier("resnet50d", 3, stem_channels=128).conv1[-1].out_channels == 128


@pytest.mark.parametrize("name", ["vgg11", "ecaresnet50d_pruned"])
def test_what_cannot_be_scaled_is_refused_in_a_sentence(name):
    with pytest.raises(ConfigError, match=f"backbone.architecture={name}: cannot be made deeper or wider"):
        timm_classifier(name, 10, layers=(1, 1, 1, 1))


def test_timm_says_of_every_resnet_which_stem_it_has():
    names = [name for name in timm.list_models() if timm.models.model_entrypoint(name).__module__.endswith(".resnet")]
    assert len(names) > 50
    assert {timm.get_pretrained_cfg(name).first_conv for name in names} == {"conv1", "conv1.0"}


@pytest.mark.parametrize(
    ("name", "strides", "channels"),
    [
        ("resnet18", (2, 4, 8, 16, 32), (64, 64, 128, 256, 512)),
        ("efficientnet_b0", (2, 4, 8, 16, 32), (16, 24, 40, 112, 1280)),
        ("shufflenet_v2_x0_5", (2, 4, 8, 16, 32), (24, 24, 48, 96, 1024)),
        ("densenet264", (2, 4, 8, 16, 32), (64, 256, 512, 2304, 2688)),
        ("regnet_y_400mf", (2, 4, 8, 16, 32), (32, 48, 104, 208, 440)),
        ("googlenet", (2, 4, 8, 16, 32), (64, 192, 480, 832, 1024)),
        ("swin_t", (4, 8, 16, 32), (96, 192, 384, 768)),
    ],
)
def test_a_torchvision_backbone_keeps_the_backbones_contract(name, strides, channels):
    size = (96, 160)
    with torch.device("meta"):
        backbone = TorchvisionBackbone(name, image_size=size)
        maps = backbone.eval().features(torch.empty(1, 3, *size))
    assert (backbone.strides, backbone.channels) == (strides, channels)
    assert [tuple(map_BCHW.shape) for map_BCHW in maps] == [
        (1, width, size[0] // stride, size[1] // stride) for stride, width in zip(strides, channels, strict=True)
    ]


def test_torchvisions_maps_are_those_of_its_stages_and_all_learn():
    backbone = TorchvisionBackbone("resnet18")
    images_BCHW = torch.randn(2, 3, 64, 64)
    maps = backbone.features(images_BCHW)
    sum(map_BCHW.square().mean() for map_BCHW in maps).backward()
    assert all(parameter.grad is not None for parameter in backbone.parameters())
    network = torchvision.models.resnet18()
    network.load_state_dict(backbone.model.state_dict(), strict=False)
    network.eval()
    x_BCHW = network.maxpool(network.relu(network.bn1(network.conv1(images_BCHW))))
    backbone.eval()
    for stage, map_BCHW in zip((network.layer1, network.layer2), backbone.features(images_BCHW)[1:], strict=False):
        x_BCHW = stage(x_BCHW)
        assert torch.equal(x_BCHW, map_BCHW)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("resnt50", "backbone.architecture=resnt50: torchvision has no such classifier. Did you mean resnet50"),
        ("zzzzzzzz", "torchvision.models.list_models"),
        ("fasterrcnn_resnet50_fpn", "has no such classifier"),
        ("inception_v3", "has no map of 32x32, 16x16, 8x8 for pictures of 256x256"),
        ("squeezenet1_0", "backbone.architecture=squeezenet1_0: has no map of"),
        ("vit_b_32", "refuses pictures of 256x256: Wrong image height"),
    ],
)
def test_an_unfit_torchvision_backbone_is_refused_in_a_sentence(name, sentence):
    with torch.device("meta"), pytest.raises(ConfigError) as refusal:
        TorchvisionBackbone(name)
    assert sentence in str(refusal.value)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "googlenet", "squeezenet1_1"])
def test_a_torchvision_classifier_takes_our_numbers(name):
    model = torchvision_classifier(name, num_classes=7, dropout=0.3)
    assert model.eval()(torch.randn(1, 3, 96, 96)).shape == (1, 7)
    rates = [getattr(layer, "dropout", getattr(layer, "p", None)) for layer in model.modules()]
    assert [rate for rate in rates if isinstance(rate, float)] == [0.3]
    assert set(model.state_dict()) == set(torchvision_classifier(name, num_classes=7).state_dict())


def test_a_layer_behind_a_dropout_drops_while_it_trains():
    model = torchvision_classifier("resnet18", num_classes=50, dropout=0.9)
    features_BC = torch.ones(1, 512)
    assert not torch.equal(model.train().fc(features_BC), model.fc(features_BC))
    assert torch.equal(model.eval().fc(features_BC), model.fc(features_BC))


def test_densenet264_is_the_papers_and_not_timms():
    """Source: Huang et al. 2017, table 1; Tan & Le 2019, table 2: 34M parameters."""
    with torch.device("meta"):
        counted = count(torchvision_classifier("densenet264", 1000), 224)["total"]
        assert counted.parameters == pytest.approx(34e6, rel=0.02)
        assert parameters(timm_classifier("densenet264d", 1000)) > 70e6


@pytest.mark.slow
def test_every_comparator_has_its_papers_counts_or_a_note_and_the_document_says_so():
    benchmark = runpy.run_path(str(BENCHMARK))
    for rows in benchmark["TABLES"].values():
        for row in rows:
            counted = benchmark["counted_row"](row)
            for ours, theirs in zip(counted, (row.parameters, row.multiply_adds), strict=True):
                gap = benchmark["difference"](ours, theirs)
                assert row.note or gap is None or abs(gap) <= benchmark["TOLERANCE"], (row.name, gap)
    assert benchmark["DOCUMENT"].read_text(encoding="utf-8") == benchmark["document"]()
