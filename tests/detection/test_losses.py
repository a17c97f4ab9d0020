"""Focal and Huber loss."""

import inspect

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import effdet_lab
from effdet_lab.detection import losses
from effdet_lab.detection.losses import detection_loss, focal_loss, huber_loss
from effdet_lab.records import RawDetections, Targets

PRIOR = -4.59511985  # the logit of 0.01

# logit, label, smoothing, loss. Source: computed with google/automl's formula as in efficientdet-pytorch 0.4.1.
GOLDEN = [
    (0.0, 0, 0.0, 0.06126613),
    (0.0, -1, 0.0, 0.18379839),
    (PRIOR, 0, 0.0, 1.13406646),
    (PRIOR, -1, 0.0, 7.54e-6),
    (2.0, 0, 0.0, 0.00130595),
    (2.0, -1, 0.0, 1.31864488),
    (0.0, 0, 0.1, 0.06126613),
    (0.0, -1, 0.1, 0.18379839),
    (PRIOR, 0, 0.1, 1.07748687),
    (PRIOR, -1, 0.1, 0.00017985),
    (2.0, 0, 0.1, 0.00233485),
    (2.0, -1, 0.1, 1.25664711),
]


@pytest.mark.parametrize(("logit", "label", "smoothing", "loss"), GOLDEN)
def test_focal_loss_of_one_logit_is_the_published_one(logit, label, smoothing, loss):
    logits, labels = torch.tensor([[[logit]]]), torch.tensor([[label]])
    assert focal_loss(logits, labels, label_smoothing=smoothing).item() == pytest.approx(loss, abs=5e-9, rel=5e-5)


@pytest.mark.parametrize(("error", "loss"), [(0.05, 0.00125), (0.1, 0.005), (0.5, 0.045), (-1.0, 0.095)])
def test_huber_loss_of_one_error_is_the_published_one(error, loss):
    target = torch.tensor([[[2.0, 0.0, 0.0, 0.0]]])
    assert huber_loss(target + error, target).item() == pytest.approx(loss, rel=1e-5)


def test_a_coordinate_whose_target_is_exactly_zero_costs_nothing():
    targets = torch.tensor([[[0.0, 0.3, 0.0, -0.2]]])
    predicted = torch.full((1, 1, 4), 9.0, requires_grad=True)
    huber_loss(predicted, targets).backward()
    assert (predicted.grad != 0).tolist() == [[[False, True, False, True]]]


def test_the_background_of_d0_at_the_prior_costs_33_31_a_picture():
    # 0.75 * 0.01^1.5 * -ln(0.99) * 49,104 anchors * 90 classes
    logits = torch.full((1, 49_104, 90), PRIOR)
    assert focal_loss(logits, torch.full((1, 49_104), -1)).item() == pytest.approx(33.31, abs=0.005)


def test_the_gradient_is_the_slope_of_the_loss():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 6, 3, dtype=torch.float64, generator=generator) * 3
    labels = torch.tensor([[-1, 0, 2, 1, -1, -1], [1, 1, -1, 0, 2, 2]])
    for settings_ in ((0.25, 1.5, 0.0), (0.25, 1.5, 0.1), (0.6, 2.0, 0.0), (1.0, 0.0, 0.0)):
        assert torch.autograd.gradcheck(
            lambda x, s=settings_: focal_loss(x, labels, *s), (logits.clone().requires_grad_(),)
        )


@settings(max_examples=50, deadline=None)
@given(st.floats(-1e4, 1e4, width=32), st.integers(-1, 1), st.sampled_from([0.0, 0.1]))
def test_no_logit_is_too_large_for_a_finite_loss_and_gradient(logit, label, smoothing):
    logits = torch.tensor([[[logit, -logit]]], requires_grad=True)
    loss = focal_loss(logits, torch.tensor([[label]]), label_smoothing=smoothing)
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()


def test_a_confident_negative_keeps_its_small_loss_and_slope():
    # At -12 the float32 sum 1 + e^x has lost a hundredth of e^x.
    logits = torch.tensor([[[-12.0]]], requires_grad=True)
    loss = focal_loss(logits, torch.tensor([[-1]]))
    loss.backward()
    exact = logits.detach().double().requires_grad_()
    p = exact.sigmoid()
    exact_loss = (0.75 * p**1.5 * -torch.log1p(-p)).sum()
    exact_loss.backward()
    assert loss.item() == pytest.approx(exact_loss.item(), rel=1e-5, abs=0)
    assert logits.grad.item() == pytest.approx(exact.grad.item(), rel=1e-5, abs=0)


def test_blocks_of_any_size_give_the_same_loss(monkeypatch):
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(2, 50, 4, generator=generator)
    labels = torch.randint(-1, 4, (2, 50), generator=generator)
    answers = []
    for block in (1, 37, 2**30):
        monkeypatch.setattr(losses, "CPU_BLOCK", block)
        leaf = logits.clone().requires_grad_()
        loss = focal_loss(leaf, labels)
        loss.backward()
        answers.append((loss.detach(), leaf.grad))
    for loss, gradient in answers[:2]:
        torch.testing.assert_close(loss, answers[2][0])
        torch.testing.assert_close(gradient, answers[2][1])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_logits_give_a_float32_loss_and_a_gradient_of_their_own_type(dtype):
    logits = torch.randn(2, 40, 3, generator=torch.Generator().manual_seed(2)).to(dtype).requires_grad_()
    labels = torch.arange(80).reshape(2, 40) % 4 - 1
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = focal_loss(logits, labels)
    (loss * 1e-3).backward()
    wide = logits.detach().float().requires_grad_()
    (focal_loss(wide, labels) * 1e-3).backward()
    assert loss.dtype == torch.float32
    assert torch.equal(logits.grad, wide.grad.to(dtype))


def test_a_batch_without_boxes_is_divided_by_one():
    raw = RawDetections(torch.zeros(1, 8, 2), torch.ones(1, 8, 4))
    terms = detection_loss(raw, Targets(torch.full((1, 8), -1), torch.zeros(1, 8, 4)))
    assert terms.class_loss.item() == pytest.approx(16 * 0.18379839, rel=1e-6)
    assert terms.box_loss.item() == 0


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_both_terms_and_their_gradients_agree_with_the_reference_implementation(effdet, smoothing):
    generator = torch.Generator().manual_seed(3)
    batch, classes, shapes = 2, 3, [(8, 6), (4, 3)]
    class_maps = [torch.randn(batch, 9 * classes, *hw, generator=generator).requires_grad_() for hw in shapes]
    box_maps = [torch.randn(batch, 36, *hw, generator=generator).requires_grad_() for hw in shapes]
    label_maps, target_maps = [], []
    for height, width in shapes:
        labels = torch.randint(0, classes, (batch, height, width, 9), generator=generator)
        background = torch.rand(labels.shape, generator=generator) < 0.9
        labels[background] = -1
        target = torch.randn(*labels.shape, 4, generator=generator) * 0.3
        target[background] = 0
        label_maps.append(labels)
        target_maps.append(target.reshape(batch, height, width, 36))
    positives = torch.cat([labels.reshape(batch, -1) for labels in label_maps], 1).ge(0).sum(1)

    def flat(maps, depth):
        return torch.cat([m.permute(0, 2, 3, 1).reshape(batch, -1, depth) for m in maps], 1)

    raw = RawDetections(flat(class_maps, classes), flat(box_maps, 4))
    labels_BA = torch.cat([labels.reshape(batch, -1) for labels in label_maps], 1)
    deltas_BA4 = torch.cat([target.reshape(batch, -1, 4) for target in target_maps], 1)
    ours = detection_loss(raw, Targets(labels_BA, deltas_BA4), label_smoothing=smoothing)
    total = ours.class_loss + 50 * ours.box_loss
    our_gradients = torch.autograd.grad(total, [*class_maps, *box_maps])
    theirs = effdet.loss.loss_fn(
        class_maps,
        box_maps,
        label_maps,
        target_maps,
        positives,
        num_classes=classes,
        alpha=0.25,
        gamma=1.5,
        delta=0.1,
        box_loss_weight=50.0,
        label_smoothing=smoothing,
    )
    torch.testing.assert_close(torch.stack([total, *ours]), torch.stack(theirs), atol=1e-5, rtol=1e-5)
    for mine, other in zip(our_gradients, torch.autograd.grad(theirs[0], [*class_maps, *box_maps]), strict=True):
        torch.testing.assert_close(mine, other, atol=1e-6, rtol=1e-5)


def test_the_losses_own_numbers_are_those_of_the_recipe():
    recipe = effdet_lab.compose().model.loss
    own = {name: parameter.default for name, parameter in inspect.signature(detection_loss).parameters.items()}
    assert (own["alpha"], own["gamma"], own["delta"]) == (recipe.alpha, recipe.gamma, recipe.huber_delta)
    assert own["label_smoothing"] == recipe.label_smoothing
