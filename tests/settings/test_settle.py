"""What was typed becomes one settled experiment."""

import dataclasses

import pytest
import yaml

from effdet_lab import compose
from effdet_lab.settings.compose import config_folder, expand, groups, options_of
from effdet_lab.spec import DetectorSpec, EfficientNetSpec, TimmSpec, from_dict, to_dict


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
    spec = compose("backbone=resnet50", "phi=1")
    assert spec.model.backbone == TimmSpec("resnet50", 0.0)
    assert spec.model.bifpn.channels == 88


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


@pytest.mark.parametrize("group", ["backbone", "bifpn", "data", "experiment", "logger", "optim", "scaling", "trainer"])
def test_every_option_of_every_group_composes(group):
    for option in options_of(group):
        fits = {"data": {"cifar10", "digits", "imagefolder", "imagenet"}, "bifpn": {"none"}}.get(group, set())
        model = "efficientnet" if option in fits else "efficientdet"
        extra = ["backbone.architecture=resnet18"] if (group, option) == ("backbone", "timm") else []
        if group == "experiment":
            compose(f"{group}={option}", "init=weights.safetensors", *extra)
        else:
            compose(f"model={model}", f"{group}={option}", *extra)
    assert group in groups()
    assert (config_folder() / group).is_dir()
