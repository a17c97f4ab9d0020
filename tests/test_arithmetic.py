"""What arithmetic says of a network is what the network itself says."""

import pytest
import torch

from effdet_lab import build_model, compose
from effdet_lab.arithmetic import Count, can_count, count_model
from effdet_lab.models.counting import count

CLASSES = 7
CLASSIFIERS = [
    ("phi=0",),
    ("phi=-3.3",),
    ("phi=2.5", "model.image_size=[97,130]"),
    ("backbone=efficientnet_lite", "phi=1"),
    ("backbone=mobilenet_v1", "phi=-2"),
    ("backbone=mobilenet_v2", "phi=1.5"),
    ("backbone=mnasnet_a1", "phi=0.5"),
    ("backbone=resnet18", "phi=-1"),
    ("backbone=resnet50", "phi=0.7", "model.image_size=101"),
    ("backbone=mnasnet_a1", "backbone.stages.1.operator=conv", "backbone.stages.1.expand_ratio=1"),
    ("phi=1", "scaling=depth"),
]
DETECTORS = [
    ("phi=0",),
    ("phi=-2.5", "model.image_size=[200,333]"),
    ("phi=1.4", "bifpn.redundant_bias=false", "bifpn.max_level=8"),
    ("phi=-1", "bifpn=softmax", "backbone=efficientnet_lite"),
    ("phi=-1", "backbone=resnet18"),
    ("phi=-1", "backbone=mobilenet_v1", "head.octaves=2"),
    ("phi=-1", "bifpn=nas_fpn"),
    ("phi=-1", "bifpn=fully_connected"),
    ("phi=-1", "bifpn=pan"),
    ("phi=-1", "bifpn=repeated_fpn", "bifpn.channels=40"),  # as many as one map of the backbone's
]


def counted(*overrides: str) -> tuple[Count, Count]:
    spec = compose(*overrides, f"data.classes=[{','.join('abcdefg'[:CLASSES])}]")
    with torch.device("meta"):
        model = build_model(spec)
    return count_model(spec.model, CLASSES), Count(*count(model, spec.model.input.image_size)["total"])


@pytest.mark.parametrize("overrides", CLASSIFIERS, ids=" ".join)
def test_a_classifier_s_parameters_and_multiply_adds_are_those_of_its_modules(overrides):
    said, measured = counted("model=efficientnet", *overrides)
    assert said == measured


@pytest.mark.parametrize("overrides", DETECTORS, ids=" ".join)
def test_a_detector_s_parameters_and_multiply_adds_are_those_of_its_modules(overrides):
    said, measured = counted("model=efficientdet", *overrides)
    assert said == measured


def test_networks_of_other_libraries_are_counted_by_running_them():
    assert not can_count(compose("backbone=resnext50_32x4d").model)


# Source: both papers' tables, as printed.
PUBLISHED = [
    (("model=efficientnet", "phi=0"), 1000, 5_288_548, 385_814_752),
    (("model=efficientnet", "phi=7"), 1000, 66_347_960, 37_745_884_192),
    (("model=efficientdet", "phi=0"), 90, 3_880_067, 2_492_331_520),
    (("model=efficientdet", "phi=7"), 90, 51_871_782, 322_731_636_576),
    (("model=efficientdet", "experiment=efficientdet_d7x"), 90, 77_147_166, 407_628_345_344),
]


@pytest.mark.parametrize(("overrides", "num_classes", "parameters", "multiply_adds"), PUBLISHED)
def test_the_published_networks_have_the_published_counts(overrides, num_classes, parameters, multiply_adds):
    assert count_model(compose(*overrides).model, num_classes) == Count(parameters, multiply_adds)
