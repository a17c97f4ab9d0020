import pytest
import torch
from tiny import changed, tiny_classifier, tiny_detector
from torch import nn

from effdet_lab.errors import ConfigError
from effdet_lab.models.build import build_model
from effdet_lab.tasks.optim import (
    build_optimiser,
    build_schedule,
    freeze,
    frozen_norms,
    parameter_groups,
    rate_factor,
)


@pytest.fixture(scope="module")
def spec():
    return tiny_detector()


@pytest.fixture
def model(spec) -> nn.Module:
    return build_model(spec)


# Source: google/automl det_model_fn.py at batch 128 over 300 epochs: 281,250 steps, the first 937 of them warm-up,
# 0.08 per 64 pictures. Its cosine counts the warm-up twice; where it does, ours is the plain cosine.
@pytest.mark.parametrize(
    ("step", "rate"), [(0, 0.016), (468, 0.0879), (937, 0.16), ((281_250 + 937) // 2, 0.08), (281_250, 0.0)]
)
def test_the_learning_rate_warms_up_from_a_tenth_and_ends_at_zero(step, rate):
    factor = rate_factor(step, schedule="cosine", warmup_steps=937, total_steps=281_250)
    assert 2 * 0.08 * factor == pytest.approx(rate, abs=5e-5)


def test_a_constant_schedule_stays_after_its_warm_up():
    factors = [rate_factor(step, schedule="constant", warmup_steps=4, total_steps=10) for step in range(10)]
    assert factors == pytest.approx([0.1, 0.325, 0.55, 0.775] + 6 * [1.0])


def test_the_schedule_scales_every_group_by_the_same_factor(spec, model):
    optim = changed(spec, "optim", backbone_rate=0.1, learning_rate=0.08, warmup_epochs=2.0).optim
    optimiser = build_optimiser(model, optim)
    schedule = build_schedule(optimiser, optim, steps_per_epoch=2, total_steps=12)
    rates = []
    for _ in range(12):
        rates.append([group["lr"] for group in optimiser.param_groups])
        optimiser.step()
        schedule.step()
    assert rates[0] == pytest.approx([0.008, 0.008, 0.0008, 0.0008])
    assert rates[4] == pytest.approx([0.08, 0.08, 0.008, 0.008])
    assert schedule.get_last_lr() == pytest.approx([0.0] * 4)


def test_only_kernels_decay(spec, model):
    optim = spec.optim
    decays = {
        id(parameter): group["weight_decay"]
        for group in parameter_groups(model, optim)
        for parameter in group["params"]
    }
    of = {name: decays[id(parameter)] for name, parameter in model.named_parameters()}
    assert of["backbone.conv_stem.weight"] == of["class_net.predict.conv_pw.weight"] == optim.weight_decay == 4e-5
    assert of["fpn.cell.0.fnode.0.after_combine.conv.conv_dw.weight"] == optim.weight_decay
    assert of["backbone.bn1.weight"] == of["backbone.bn1.bias"] == 0
    assert of["class_net.predict.conv_pw.bias"] == of["fpn.cell.0.fnode.0.combine.edge_weights"] == 0


def test_every_parameter_is_in_one_group(spec, model):
    optim = changed(spec, "optim", backbone_rate=0.5).optim
    grouped = [id(parameter) for group in parameter_groups(model, optim) for parameter in group["params"]]
    assert sorted(grouped) == sorted(map(id, model.parameters()))


def test_a_classifiers_backbone_is_all_but_its_last_layer():
    spec = changed(tiny_classifier(), "optim", backbone_rate=0.1, learning_rate=1.0)
    model = build_model(spec)
    rates = {
        id(parameter): group["lr"] for group in parameter_groups(model, spec.optim) for parameter in group["params"]
    }
    of = {name: rates[id(parameter)] for name, parameter in model.named_parameters()}
    assert {of.pop("classifier.weight"), of.pop("classifier.bias")} == {1.0}
    assert set(of.values()) == {0.1}


@pytest.mark.parametrize(("name", "kind"), [("sgd", "SGD"), ("adamw", "AdamW"), ("rmsproptf", "RMSpropTF")])
def test_each_optimiser_makes_a_step(spec, model, name, kind):
    optimiser = build_optimiser(model, changed(spec, "optim", name=name).optim)
    before = model.backbone.conv_stem.weight.clone()
    model.backbone.conv_stem.weight.grad = torch.ones_like(before)
    optimiser.step()
    assert type(optimiser).__name__ == kind
    assert not torch.equal(before, model.backbone.conv_stem.weight)


def test_rmsprop_is_tensorflows(spec, model):
    """Epsilon inside the square root, the mean square starting at one: p - lr * g / sqrt(0.9 + 0.1 g^2 + eps)."""
    optimiser = build_optimiser(model, changed(spec, "optim", name="rmsproptf", learning_rate=0.1).optim)
    bias = model.class_net.predict.conv_pw.bias
    before = bias.detach().clone()
    bias.grad = torch.full_like(bias, 2.0)
    optimiser.step()
    expected = before - 0.1 * 2.0 / (0.9 + 0.1 * 4.0 + 1e-3) ** 0.5
    torch.testing.assert_close(bias.detach(), expected)


def test_frozen_parameters_are_left_out(spec, model):
    freeze(model, ["^backbone", "fpn"])
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert {name.split(".")[0] for name in trained} == {"class_net", "box_net"}
    grouped = sum(len(group["params"]) for group in parameter_groups(model, spec.optim))
    assert grouped == len(trained)


def test_norms_are_frozen_where_their_own_parameters_are(model):
    freeze(model, [r"backbone\.conv_stem", r"backbone\.blocks"])
    frozen = set(frozen_norms(model))
    assert frozen == {module for module in model.backbone.blocks.modules() if isinstance(module, nn.BatchNorm2d)}


@pytest.mark.parametrize(
    ("pattern", "sentence"),
    [
        ("bakbone", "Did you mean backbone"),
        ("^zzz$", "The model's parts are backbone, fpn, class_net, box_net"),
        ("back(", "not a regular expression"),
        (".", "nothing is left to train"),
    ],
)
def test_freezing_refuses_what_it_cannot_do(model, pattern, sentence):
    with pytest.raises(ConfigError, match=r"optim\.freeze") as refusal:
        freeze(model, [pattern])
    assert sentence in str(refusal.value)


def by_name(model, optim, setting):
    """A setting of the groups for each parameter."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = parameter_groups(model, optim)
    return {names[id(parameter)]: group[setting] for group in groups for parameter in group["params"]}
