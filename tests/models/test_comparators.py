import pytest
import torch

pytest.importorskip("timm")

from effdet_lab.errors import ConfigError
from effdet_lab.models.bifpn import BiFPN
from effdet_lab.models.comparators import TimmBackbone, timm_classifier
from effdet_lab.models.efficientdet import EfficientDet
from effdet_lab.models.heads import Head
from effdet_lab.topology import feature_sizes


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
