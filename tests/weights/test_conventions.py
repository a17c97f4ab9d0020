"""Padding, batch-norm constants and pixels come along with the weights, unless somebody wrote others."""

import json
from itertools import chain

import pytest
import torch
from references import build_efficientdet, build_efficientnet, saved, timm_classifier, torchvision_classifier
from tiny import tiny_classifier, tiny_detector

import effdet_lab
from effdet_lab.models.layers import StridedConv2d
from effdet_lab.weights.adopt import as_weights_say
from effdet_lab.weights.conventions import HALF, IMAGENET, TENSORFLOW, Conventions, conventions_of
from effdet_lab.weights.load import load_weights

TORCH = Conventions("symmetric", 1e-5, "same", 1e-3)


@pytest.mark.parametrize(
    ("grammar", "name", "expected"),
    [
        ("timm", "tf_efficientnet_b0.ns_jft_in1k", TENSORFLOW),
        ("timm", "tf_efficientnet_b0_aa-827b6e33", TENSORFLOW),
        ("timm", "efficientnet_b0_ra-3dd342df", TORCH),
        ("timm", "efficientnet_lite0.ra_in1k", TORCH),
        ("timm", "my_own_run", Conventions()),
        ("timm", "my_efficientnet_b0", Conventions()),
        ("effdet", "tf_efficientdet_d0_34-f153e0cf", TENSORFLOW),
        ("effdet", "efficientdet_d0-f3276ba8", Conventions("symmetric", 1e-5, "symmetric", 1e-3)),
        ("effdet", "efficientdet_d4", TORCH),
        ("effdet", "efficientdet_lite0", TORCH),
    ],
)
def test_only_the_name_tells_timms_own_from_tensorflows(grammar, name, expected):
    assert conventions_of(grammar, name, 0, {}) == expected


@pytest.mark.parametrize(
    ("grammar", "name", "pixels"),
    [
        ("timm", "tf_efficientnet_b0.ap_in1k", HALF),
        ("timm", "tf_efficientnet_b3_ap-aad25bdd", HALF),
        ("effdet", "tf_efficientdet_d0_ap-d0cdbd0a", HALF),
        ("lukemelas", "adv-efficientnet-b0-b64d5a18", HALF),
        ("lukemelas", "efficientnet-b0-355c32eb", IMAGENET),
        ("zylo", "efficientdet-d0", IMAGENET),
        ("torchvision", "weights", IMAGENET),
        ("timm", "tf_efficientnet_b0.aa_in1k", None),
    ],
)
def test_adversarially_trained_weights_read_other_pixels(grammar, name, pixels):
    assert conventions_of(grammar, name, 0, {}).pixels == pixels


def test_torchvision_changed_its_batch_norm_constant_with_b5():
    constants = [conventions_of("torchvision", "", phi, {}).norm_eps for phi in range(8)]
    assert constants == [1e-5] * 5 + [1e-3] * 3


def test_timms_description_beside_the_weights_wins(tmp_path):
    config = {
        "architecture": "tf_efficientnet_b0",
        "pretrained_cfg": {"mean": [0.1] * 3, "std": [0.2] * 3, "crop_pct": 0.9, "interpolation": "bilinear"},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    saved(timm_classifier("tf_efficientnet_b0"), tmp_path / "model.safetensors")
    spec = as_weights_say(effdet_lab.compose("model=efficientnet", "phi=0", f"init={tmp_path}"))
    assert spec.model.backbone.style.padding == "same"
    assert (spec.model.input.mean, spec.model.input.std) == ((0.1,) * 3, (0.2,) * 3)
    assert (spec.data.interpolation, spec.data.crop_fraction) == ("bilinear", 1.0)  # data=digits writes its own crop


def test_an_experiment_takes_over_what_it_left_open(tmp_path):
    file = saved(torchvision_classifier("b0"), tmp_path / "weights.safetensors")
    settings = ["model=efficientnet", "phi=0", f"init={file}"]
    spec = as_weights_say(effdet_lab.compose(*settings))
    assert (spec.model.backbone.style.padding, spec.model.backbone.style.norm_eps) == ("symmetric", 1e-5)
    typed = [*settings, "backbone.padding=same", "model.norm_eps=0.01", "model.mean=[0.5,0.5,0.5]"]
    spec = as_weights_say(effdet_lab.compose(*typed))
    assert (spec.model.backbone.style.padding, spec.model.backbone.style.norm_eps) == ("same", 0.01)
    assert spec.model.input.mean == (0.5, 0.5, 0.5)


def test_a_detector_takes_over_its_pyramids_conventions_apart(tmp_path):
    file = saved(build_efficientdet("d0"), tmp_path / "efficientdet_d0-f3276ba8.safetensors")
    spec = as_weights_say(effdet_lab.compose("model=efficientdet", "phi=0", f"init={file}"))
    assert (spec.model.backbone.style.padding, spec.model.backbone.style.norm_eps) == ("symmetric", 1e-5)
    assert (spec.model.style.padding, spec.model.style.norm_eps) == ("symmetric", 1e-3)
    file = saved(build_efficientnet("b0"), tmp_path / "efficientnet_b0.safetensors")
    spec = as_weights_say(effdet_lab.compose("model=efficientdet", "phi=0", f"init={file}"))
    assert (spec.model.backbone.style.padding, spec.model.style.padding) == ("symmetric", "same")


def test_a_built_network_is_set_to_its_weights_ways(tmp_path):
    file = saved(build_efficientdet("d0"), tmp_path / "efficientdet_d0.safetensors")
    model = build_efficientdet("d0")
    load_weights(model, file, set_conventions=False)
    assert {module.eps for module in model.backbone.modules() if hasattr(module, "eps")} == {1e-3}
    load_weights(model, file)
    strided = [module for module in model.modules() if isinstance(module, StridedConv2d)]
    assert {module.padding_rule for module in strided} == {"symmetric"}
    assert {module.padding_rule for module in model.fpn.modules() if hasattr(module, "padding_rule")} == {"symmetric"}
    assert {module.eps for module in model.backbone.modules() if hasattr(module, "eps")} == {1e-5}
    parts = chain(model.fpn.modules(), model.class_net.modules())
    assert {module.eps for module in parts if hasattr(module, "eps")} == {1e-3}


def test_a_built_network_of_the_settled_experiment_answers_like_torchvision(tmp_path):
    theirs = torchvision_classifier("b0")
    file = saved(theirs, tmp_path / "weights.safetensors")
    spec = as_weights_say(effdet_lab.compose("model=efficientnet", "phi=0", "data=imagenet", f"init={file}"))
    ours = effdet_lab.build_model(spec).eval()
    load_weights(ours, file, set_conventions=False)
    images_BCHW = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(images_BCHW), theirs(images_BCHW))


@pytest.mark.parametrize("build", [tiny_classifier, tiny_detector])
def test_weights_of_ours_bring_their_experiments_own(build, tmp_path):
    from effdet_lab.weights.header import header_of
    from effdet_lab.weights.save import save_weights

    spec = build("backbone.padding=symmetric", "model.norm_eps=0.02", "model.std=[0.1,0.1,0.1]")
    save_weights(tmp_path / "model.safetensors", effdet_lab.build_model(spec).state_dict(), header_of(spec))
    other = as_weights_say(build(f"init={tmp_path}/model.safetensors"))
    assert other.model.backbone.style == spec.model.backbone.style
    assert other.model.input == spec.model.input
    assert getattr(other.model, "style", None) == getattr(spec.model, "style", None)
