"""What tensors are told to be, and what a user is told to type."""

import pytest
import torch
from references import build_efficientdet, build_efficientnet, saved

import effdet_lab
from effdet_lab.errors import DataError
from effdet_lab.weights.identity import difference, identify, identity_of, looks_like
from effdet_lab.weights.load import load_weights


def shapes_of(build, member, **settings):
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in build(member, **settings).state_dict().items()}


@pytest.mark.parametrize(
    ("build", "member", "name"),
    [
        *((build_efficientnet, f"b{phi}", f"an EfficientNet-B{phi}") for phi in range(9)),
        *((build_efficientnet, f"lite{phi}", f"an EfficientNet-Lite{phi}") for phi in range(5)),
        *((build_efficientdet, f"d{phi}", f"an EfficientDet-D{phi}") for phi in range(6)),
        *((build_efficientdet, f"lite{phi}", f"an EfficientDet-Lite{phi}") for phi in range(5)),
        (build_efficientdet, "d7", "an EfficientDet-D6 or EfficientDet-D7"),
        (build_efficientdet, "d7x", "an EfficientDet-D7x"),
        (build_efficientdet, "lite3x", "a detector (BiFPN 6 x 200, 5 levels, heads of 4) on an EfficientNet-Lite3"),
    ],
)
def test_every_member_is_known_by_its_shapes(build, member, name):
    assert looks_like(shapes_of(build, member)) == name


def test_other_networks_are_called_what_they_are():
    timm = pytest.importorskip("timm")
    with torch.device("meta"):
        for architecture, name in {
            "resnet18": "a ResNet",
            "vit_tiny_patch16_224": "a vision transformer",
            "regnetx_002": "a network whose tensors begin with stem.conv.weight",
        }.items():
            state = timm.create_model(architecture).state_dict()
            assert looks_like({key: tuple(tensor.shape) for key, tensor in state.items()}).startswith(name)


@pytest.mark.parametrize(
    ("found", "wanted", "sentence"),
    [
        (("d1",), ("d0",), "This is an EfficientDet-D1; you asked for an EfficientDet-D0: use phi=1."),
        (("b1",), ("b0",), "This is an EfficientNet-B1; you asked for an EfficientNet-B0: use phi=1."),
        (("lite2",), ("b0",), "you asked for an EfficientNet-B0: use backbone=efficientnet_lite phi=2."),
        (("b3",), ("d0",), "you asked for an EfficientDet-D0: use phi=3, or backbone.phi=3."),
        (("b7",), ("d0",), "you asked for an EfficientDet-D0: use backbone.phi=7."),
        (("d7x",), ("d1",), "you asked for an EfficientDet-D1: use experiment=efficientdet_d7x."),
        (("d2",), ("b0",), "This is an EfficientDet-D2; you asked for an EfficientNet-B0: use phi=2."),
    ],
)
def test_the_sentence_says_what_to_type(found, wanted, sentence):
    identities = []
    for (member,) in (found, wanted):
        build = build_efficientdet if member.startswith("d") else build_efficientnet
        identities.append(identify(shapes_of(build, member)))
    assert sentence in difference(*identities)
    assert difference(identities[0], identities[0]) == ""


@pytest.mark.parametrize(
    "overrides",
    [
        ["model=efficientnet", "phi=0"],
        ["model=efficientdet", "phi=3"],
        ["model=efficientdet", "backbone=efficientnet_lite", "phi=1"],
        ["experiment=efficientdet_d7x"],
        ["model=efficientdet", "phi=-2", "bifpn.channels=72"],
    ],
)
def test_an_experiment_and_its_network_have_the_same_identity(overrides):
    spec = effdet_lab.compose(*overrides)
    with torch.device("meta"):
        state = effdet_lab.build_model(spec).state_dict()
    assert identity_of(spec.model) == identify({name: tuple(tensor.shape) for name, tensor in state.items()})


def test_a_larger_network_does_not_slip_into_a_smaller_one(tmp_path):
    """Every tensor of B0's is there in B1, of the same shape; the numbers would mean nothing."""
    file = saved(build_efficientnet("b1"), tmp_path / "b1.safetensors")
    ours = build_efficientnet("b0")
    before = ours.blocks[0][0].conv_dw.weight.clone()
    with pytest.raises(DataError, match=r"b1.safetensors: this is an EfficientNet-B1; .* use phi=1"):
        load_weights(ours, file)
    assert torch.equal(ours.blocks[0][0].conv_dw.weight, before)


def test_a_detector_on_the_same_backbone_gives_its_backbone(tmp_path):
    file = saved(build_efficientdet("d6"), tmp_path / "d6.safetensors")
    ours = effdet_lab.build_model(effdet_lab.compose("model=efficientdet", "backbone.phi=6", "phi=-3"))
    report = load_weights(ours, file)
    assert report.parts()["backbone"][1:] == (0, 0)
    assert not any(entry.name.startswith("fpn.cell.0.fnode.0.after") for entry in report.matched)


OTHER_NETWORKS = {
    "fpn": "a detector (FPN 1 x 160, 5 levels, heads of 4)",
    "repeated_fpn": "a detector (FPN 6 x 160, 5 levels, heads of 4)",
    "pan": "a detector (PAN 6 x 160, 5 levels, heads of 4)",
    "fully_connected": "a detector (fully connected FPN 6 x 160, 5 levels, heads of 4)",
    "nas_fpn": "a detector (NAS-FPN 6 x 160, 5 levels, heads of 4)",
}


@pytest.mark.parametrize("option", OTHER_NETWORKS)
def test_another_feature_network_is_no_published_detector(option):
    """Its channels, repeats and heads are D3's; its nodes and what they project are not."""
    spec = effdet_lab.compose("model=efficientdet", "phi=3", f"bifpn={option}")
    with torch.device("meta"):
        state = effdet_lab.build_model(spec).state_dict()
    identity = identify({name: tuple(tensor.shape) for name, tensor in state.items()})
    assert identity == identity_of(spec.model)
    assert identity.members() == []
    assert str(identity) == f"{OTHER_NETWORKS[option]} on an EfficientNet-B3"


def test_nodes_that_are_wired_otherwise_do_not_start_one_another():
    """A PAN's first five nodes are an FPN's, of the same names and shapes, and mean something else."""
    compose = effdet_lab.compose
    pan, fpn, bifpn, backbone = (
        identity_of(compose(*overrides).model)
        for overrides in (
            ["model=efficientdet", "phi=0", "bifpn=pan"],
            ["model=efficientdet", "phi=0", "bifpn=repeated_fpn"],
            ["model=efficientdet", "phi=0"],
            ["model=efficientnet", "phi=0"],
        )
    )
    assert "you asked for a detector (FPN 3 x 64" in difference(pan, fpn)
    assert "This is an EfficientDet-D0; you asked for a detector (PAN 3 x 64" in difference(bifpn, pan)
    assert difference(pan, bifpn).endswith(": use bifpn.topology=pan, or weights of the backbone alone.")
    assert difference(pan, pan) == difference(backbone, pan) == difference(pan, backbone) == ""


def test_a_feature_network_nobody_here_knows_still_gives_its_backbone():
    """effdet's quad FPN, on the backbone of D0."""
    d0 = shapes_of(build_efficientdet, "d0")
    quad = {**d0, "fpn.cell.0.fnode.20.after_combine.conv.conv_pw.weight": (64, 64, 1, 1)}
    assert looks_like(quad).startswith("a detector (unknown feature network 3 x 64, 5 levels, heads of 3)")
    assert difference(identify(quad), identify(d0)) == ""
