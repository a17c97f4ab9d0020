"""What was typed becomes one settled experiment."""

import dataclasses
from typing import get_args

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from effdet_lab import compose
from effdet_lab.settings.compose import config_folder, expand, groups, options_of
from effdet_lab.settings.option_files import literal
from effdet_lab.spec import DetectorSpec, EfficientNetSpec, TimmSpec, TransferName, from_dict, to_dict


def test_phi_fills_what_is_not_written():
    spec = compose("model=efficientdet", "phi=4", "data=coco")
    assert isinstance(spec.model, DetectorSpec)
    assert spec.model.input.image_size == (1024, 1024)
    assert spec.model.bifpn.channels == 224
    assert spec.model.backbone.width == 1.4
    assert spec.off_table == ()
    assert spec.data.num_classes == 90


def test_a_written_number_wins_and_is_remembered():
    spec = compose("phi=4", "bifpn.channels=160", "model.image_size=[512, 768]", "head.repeats=4")
    assert spec.model.bifpn.channels == 160
    assert spec.model.input.image_size == (512, 768)
    assert spec.off_table == ("bifpn.channels", "model.image_size")


def test_the_model_brings_its_data_and_the_command_line_still_wins():
    assert compose("model=efficientnet").data.name == "digits"
    assert compose("model=efficientnet", "data=cifar10").data.name == "cifar10"
    assert compose("data=cifar10", "model=efficientnet").data.name == "cifar10"


def test_d7x_is_d7_on_b7_with_one_more_level():
    spec = compose("experiment=efficientdet_d7x")
    assert (spec.model.backbone.phi, spec.model.bifpn.max_level, spec.model.head.anchor_scale) == (7, 8, 4.0)
    assert spec.model.input.image_size == (1536, 1536)


def test_a_lite_backbone_makes_a_lite_detector():
    spec = compose("backbone=efficientnet_lite", "phi=0")
    assert (spec.name, spec.model.input.image_size, spec.model.bifpn.fusion) == (
        "efficientdet-lite0",
        (320, 320),
        "sum",
    )
    assert spec.model.style.activation == "relu6"
    assert spec.model.input.mean == pytest.approx((127 / 255,) * 3)


def test_a_timm_backbone_follows_efficientdet_s_table():
    spec = compose("backbone=resnext50_32x4d", "phi=1")
    assert spec.model.backbone == TimmSpec("resnext50_32x4d", 0.0)
    assert spec.model.bifpn.channels == 88


def test_a_resnet_is_scaled_by_phi_and_backbone_phi_keeps_it_as_published():
    scaled, published = (compose("backbone=resnet50", "phi=1", *more).model for more in ((), ("backbone.phi=0",)))
    assert scaled.backbone.repeats == (4, 5, 8, 4)
    assert scaled.backbone.channels == (72, 144, 280, 560)
    assert (published.backbone.repeats, published.backbone.channels) == ((3, 4, 6, 3), (64, 128, 256, 512))
    assert scaled.bifpn.channels == published.bifpn.channels == 88


def test_each_axis_can_have_an_exponent_of_its_own_and_the_spec_says_which():
    spec = compose("phi=3", "scaling.exponents.heads=0", "scaling.exponents.resolution=1", "scaling.exponents.width=3")
    d3 = compose("phi=3")
    assert (spec.model.head.repeats, spec.model.input.image_size) == (3, (640, 640))
    assert spec.model.bifpn == d3.model.bifpn
    assert spec.model.backbone == d3.model.backbone
    assert spec.off_table == ("scaling.exponents.resolution", "scaling.exponents.heads")


def test_a_detector_s_backbone_and_pyramid_can_grow_apart():
    spec = compose("phi=2", "scaling.exponents.backbone=0", "scaling.exponents.bifpn_width=4")
    assert spec.model.backbone.stages == compose("phi=0").model.backbone.stages
    assert (spec.model.bifpn.channels, spec.model.bifpn.repeats) == (224, 5)


def test_other_coefficients_have_left_the_table():
    spec = compose("model=efficientnet", "scaling=formula", "scaling.beta=1.2", "phi=1")
    assert (spec.model.backbone.width, spec.model.backbone.depth) == (1.2, 1.2)
    assert spec.off_table == ("scaling.beta",)


def test_a_scaling_file_says_the_coefficients(tmp_path):
    file = tmp_path / "scaling.yaml"
    file.write_text("alpha: 1.3\nbeta: 1.05\ngamma: 1.2\n")
    spec = compose("model=efficientnet", f"scaling={file}", "phi=1")
    assert spec.scaling == "formula"
    assert (spec.model.backbone.depth, spec.model.backbone.width, spec.model.input.image_size[0]) == (1.3, 1.05, 268)


STAGES = """
stem_channels: 16
head_channels: 64
activation: relu6
stages:
  - {operator: conv, kernel_size: 3, stride: 2, expand_ratio: 1, channels: 16, repeats: 1, se_ratio: 0.0, skip: true}
  - {operator: mbconv, kernel_size: 5, stride: 2, expand_ratio: 4, channels: 24, repeats: 2, se_ratio: 0.2, skip: false}
"""


def test_a_backbone_file_is_a_network_that_phi_scales(tmp_path):
    file = tmp_path / "found.yaml"
    file.write_text(STAGES)
    small, large = (compose("model=efficientnet", f"backbone={file}", f"phi={phi}").model.backbone for phi in (0, 3))
    assert [
        (stage.operator, stage.in_channels, stage.out_channels, stage.repeats, stage.skip) for stage in small.stages
    ] == [
        ("conv", 16, 16, 1, True),
        ("mbconv", 16, 24, 2, False),
    ]
    assert (small.style.activation, small.head_channels) == ("relu6", 64)
    assert [(stage.out_channels, stage.repeats) for stage in large.stages] == [(24, 2), (32, 4)]


@pytest.mark.parametrize(
    "value", [1, -0.5, 1e-7, True, None, "it's", "a,b: {c}", [1, [2.5, "x y"]], {"kernel_size": 5, "name": "two words"}]
)
def test_what_a_file_holds_reaches_hydra_as_it_is(value):
    parsed = OverridesParser.create().parse_override(f"backbone.setting={literal(value)}")
    assert OmegaConf.to_container(OmegaConf.create({"value": parsed.value()})) == {"value": value}


def test_one_number_of_a_written_stage_can_be_overridden():
    stages = compose(
        "model=efficientnet", "backbone=mnasnet_a1", "backbone.stages.1.kernel_size=5"
    ).model.backbone.stages
    assert [stage.kernel_size for stage in stages] == [3, 5, 5, 3, 3, 5, 3]


def test_b0_detectors_train_without_drop_path_and_larger_ones_with():
    for phi, expected in ((0, 0.0), (1, 0.2)):
        backbone = compose(f"phi={phi}").model.backbone
        assert isinstance(backbone, EfficientNetSpec)
        assert backbone.drop_path == expected


def test_the_learning_rate_belongs_to_the_reference_batch():
    assert compose("data.batch_size=128").optim.learning_rate == pytest.approx(0.16)
    assert compose("data.batch_size=16", "trainer.accumulate=4").optim.learning_rate == pytest.approx(0.08)
    assert compose("data.batch_size=16", "optim.reference_batch=null").optim.learning_rate == pytest.approx(0.08)


@pytest.mark.parametrize(
    "overrides",
    [(), ("model=efficientnet", "phi=2.5", "data=cifar10"), ("backbone=resnet50", "data=voc", "optim.freeze=[bn]")],
)
def test_an_experiment_survives_its_yaml(overrides):
    spec = compose(*overrides)
    assert from_dict(yaml.safe_load(yaml.safe_dump(to_dict(spec)))) == spec


def test_a_spec_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        compose().phi = 3


def test_a_sweep_is_the_product_of_its_axes():
    jobs = expand(["model=efficientnet", "phi=0,1", "seed=range(0,2)"])
    assert jobs == [("model=efficientnet", f"phi={phi}", f"seed={seed}") for phi in (0, 1) for seed in (0, 1)]


CLASSIFY = {
    "data": {"cifar10", "digits", "imagefolder", "imagenet", *get_args(TransferName)},
    "bifpn": {"none"},
    "backbone": {"polynet"},
}
# Options that leave something to be said.
OPEN = {
    ("backbone", "timm"): "backbone.architecture=resnet18",
    ("backbone", "torchvision"): "backbone.architecture=resnet18",
    (
        "backbone",
        "staged",
    ): "backbone.stages=[{operator:conv,kernel_size:3,stride:2,expand_ratio:1,channels:8,repeats:1,"
    "se_ratio:0,skip:true}]",
}


@pytest.mark.parametrize("group", ["backbone", "bifpn", "data", "experiment", "logger", "optim", "scaling", "trainer"])
def test_every_option_of_every_group_composes(group):
    for option in options_of(group):
        is_small = option in CLASSIFY.get(group, set()) or (group, option) == ("backbone", "staged")
        model = "efficientnet" if is_small else "efficientdet"
        extra = [OPEN[group, option]] if (group, option) in OPEN else []
        if group == "experiment":
            compose(f"{group}={option}", "init=weights.safetensors", *extra)
        else:
            compose(f"model={model}", f"{group}={option}", *extra)
    assert group in groups()
    assert (config_folder() / group).is_dir()
