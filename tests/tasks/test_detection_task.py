import pytest
import torch
from tiny import changed, scenes, tiny_detector, truth_of

from effdet_lab.errors import ConfigError
from effdet_lab.models.build import build_model
from effdet_lab.spec import from_dict
from effdet_lab.tasks.detection import DetectionTask
from effdet_lab.tasks.optim import build_optimiser


@pytest.fixture(scope="module")
def spec():
    return tiny_detector()


def detection_task(spec, truth=None) -> DetectionTask:
    torch.manual_seed(0)
    return DetectionTask(build_model(spec), spec, truth)


@pytest.mark.parametrize("channels_last", [True, False])
def test_pixels_are_normalised_as_the_spec_says(spec, channels_last):
    task = detection_task(changed(spec, "trainer", channels_last=channels_last))
    images_BCHW = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    mean, std = (torch.tensor(colour).view(3, 1, 1) for colour in (spec.model.input.mean, spec.model.input.std))
    normalised_BCHW = task.normalised(images_BCHW)
    torch.testing.assert_close(normalised_BCHW, (images_BCHW / 255 - mean) / std)
    assert normalised_BCHW.is_contiguous(memory_format=torch.channels_last) == channels_last


def test_the_loss_is_the_class_term_and_the_weighted_box_term(spec):
    task = detection_task(spec)
    batch = scenes(2)
    losses = task.losses(task(batch.images_BCHW), batch)
    assert set(losses) == {"loss", "loss_class", "loss_box"}
    torch.testing.assert_close(losses["loss"], losses["loss_class"] + 50 * losses["loss_box"])


def test_a_tiny_detector_learns_eight_scenes_by_heart(spec):
    batch = scenes(8)
    spec = changed(spec, "optim", name="adamw", learning_rate=1e-2)
    task = detection_task(spec, truth_of(batch))
    optimiser = build_optimiser(task.model, spec.optim)
    task.train()
    losses = []
    for _ in range(35):
        loss = task.losses(task(batch.images_BCHW), batch)["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert min(losses[-10:]) < losses[0] / 10
    # In training mode, so that the norms see the statistics they learnt with.
    with torch.no_grad():
        task.update_metric(task(batch.images_BCHW), batch)
    assert task.metric.compute()["map"] > 0.5


def test_detections_are_in_pixels_of_the_files(spec):
    batch = scenes(2)
    found = detection_task(spec).eval().predict_step(batch, 0)
    assert set(found.image_id_D.tolist()) <= {1, 2}
    assert found.boxes_D4.min() >= 0
    assert found.boxes_D4.max() <= 32


def test_frozen_norms_rest_while_the_others_learn(spec):
    task = detection_task(changed(spec, "optim", freeze=("^backbone",)))
    task.train()
    assert not any(module.training for module in task.model.backbone.modules() if hasattr(module, "running_mean"))
    assert task.model.fpn.resample["3"].conv.bn.training
    before = task.model.backbone.bn1.running_mean.clone()
    task(scenes(2).images_BCHW)
    torch.testing.assert_close(task.model.backbone.bn1.running_mean, before)


def test_a_checkpoint_tells_its_spec_in_plain_words(spec):
    checkpoint = {}
    detection_task(spec).on_save_checkpoint(checkpoint)
    assert from_dict(checkpoint["hyper_parameters"]) == spec


def test_weights_that_are_no_numbers_name_the_learning_rate(spec):
    task = detection_task(spec)
    with torch.no_grad():
        task.model.class_net.predict.conv_pw.bias[0] = torch.nan
    with pytest.raises(ConfigError, match=r"optim.learning_rate=0.02: .*epoch 1"):
        task._refuse_strange_weights()
