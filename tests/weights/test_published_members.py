"""Every published network: random weights made in the reference, saved, loaded, give the reference's outputs."""

import pytest
import torch
from references import (
    GRADIENTS,
    OUTPUTS,
    build_efficientdet,
    build_efficientnet,
    effdet_detector,
    farthest_gradient,
    farthest_output,
    lukemelas_classifier,
    saved,
    timm_classifier,
    torchvision_classifier,
)

from effdet_lab.weights.grammars import recognise
from effdet_lab.weights.load import load_weights

SIDE = 64
QUICK = {"b0", "lite0", "d0"}


def members(*names):
    return [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in names]


def check(ours, theirs, images_BCHW, file, our_name=None, dtype=torch.float64):
    report = load_weights(ours, saved(theirs, file))
    assert not report.reinitialised
    assert not report.dropped
    assert farthest_output(ours, theirs, images_BCHW) <= OUTPUTS
    assert farthest_gradient(ours, theirs, images_BCHW, our_name, dtype) <= GRADIENTS
    return report


def plain(member, **settings):
    return build_efficientnet(member, dropout=0.0, drop_path=0.0, **settings)


@pytest.mark.parametrize("member", members(*(f"b{phi}" for phi in range(8)), *(f"lite{phi}" for phi in range(5))))
def test_timms_conversions_of_tensorflows(member, tmp_path):
    name = f"tf_efficientnet_{member}"
    images_BCHW = torch.randn(2, 3, SIDE, SIDE)
    theirs, file = timm_classifier(name), tmp_path / f"{name}.safetensors"
    report = check(plain(member), theirs, images_BCHW, file, dtype=torch.float32)
    family = "EfficientNet-Lite" if "lite" in member else "EfficientNet-B"
    assert report.looks == f"an {family}{member[-1]}"


@pytest.mark.parametrize("member", members(*(f"b{phi}" for phi in range(6)), "lite0"))
def test_timms_own_pad_symmetrically(member, tmp_path):
    name = f"efficientnet_{member}"
    images_BCHW = torch.randn(2, 3, SIDE, SIDE)
    theirs, file = timm_classifier(name), tmp_path / f"{name}-3dd342df.safetensors"
    report = check(plain(member), theirs, images_BCHW, file, dtype=torch.float32)
    assert "symmetric padding, batch-norm constant 1e-05" in report.conventions


@pytest.mark.parametrize("member", members(*(f"b{phi}" for phi in range(8))))
def test_torchvisions(member, tmp_path):
    theirs = torchvision_classifier(member)
    names = recognise(theirs.state_dict()).rename({key: tuple(t.shape) for key, t in theirs.state_dict().items()})
    images_BCHW, file = torch.randn(2, 3, SIDE, SIDE), tmp_path / "weights.safetensors"
    report = check(plain(member), theirs, images_BCHW, file, names, dtype=torch.float32)
    assert report.grammar == "torchvision"
    assert ("1e-05" in report.conventions) == (member <= "b4")


@pytest.mark.parametrize("member", members(*(f"b{phi}" for phi in range(8))))
def test_lukemelass(member, tmp_path):
    theirs = lukemelas_classifier(member, SIDE)
    names = recognise(theirs.state_dict()).rename({key: tuple(t.shape) for key, t in theirs.state_dict().items()})
    report = check(plain(member), theirs, torch.randn(2, 3, SIDE, SIDE), tmp_path / "weights.safetensors", names)
    assert report.grammar == "lukemelas"


@pytest.mark.parametrize(
    "member", members(*(f"d{phi}" for phi in range(8)), "d7x", *(f"lite{phi}" for phi in range(5)), "lite3x")
)
def test_effdets_conversions_of_tensorflows(member, tmp_path):
    side = 192 if member == "d7x" else 128
    name = f"tf_efficientdet_{member}"
    theirs = effdet_detector(name, (side, side))
    check(build_efficientdet(member), theirs, torch.randn(2, 3, side, side), tmp_path / f"{name}.safetensors")


@pytest.mark.parametrize("member", members("d0", "d1", "d2", "d3", "d4", "d5"))
def test_effdets_own_pad_symmetrically_and_have_no_redundant_bias(member, tmp_path):
    """All of them, whose backbones and some of whose pyramids pad symmetrically."""
    name = f"efficientdet_{member}"
    theirs = effdet_detector(name, (128, 96))
    ours = build_efficientdet(member, redundant_bias=bool(theirs.config.redundant_bias))
    check(ours, theirs, torch.randn(2, 3, 128, 96), tmp_path / f"{name}-f3276ba8.safetensors")


def test_effdets_own_lite_weighs_what_it_fuses(tmp_path):
    theirs = effdet_detector("efficientdet_lite0", (128, 96))
    file = saved(theirs, tmp_path / "efficientdet_lite0.safetensors")
    report = load_weights(build_efficientdet("lite0"), file)
    assert "weighs what it fuses: use bifpn=fast" in str(report)
    ours = build_efficientdet("lite0", fusion="fast", redundant_bias=False)
    check(ours, theirs, torch.randn(2, 3, 128, 96), file)
