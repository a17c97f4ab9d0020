import dataclasses

import pytest
import torch
import torch.nn.functional as F
from tiny import swatches, tiny_classifier

from effdet_lab.models.build import build_model
from effdet_lab.tasks.classification import ClassificationTask


@pytest.fixture(scope="module")
def task() -> ClassificationTask:
    torch.manual_seed(0)
    spec = tiny_classifier()
    spec = dataclasses.replace(spec, model=dataclasses.replace(spec.model, label_smoothing=0.1))
    return ClassificationTask(build_model(spec), spec)


def test_labels_are_smoothed_in_training_alone(task):
    batch, logits_BK = swatches(4), torch.randn(4, 10)
    smoothed = task.train().losses(logits_BK, batch)["loss"]
    plain = task.eval().losses(logits_BK, batch)["loss"]
    torch.testing.assert_close(smoothed, F.cross_entropy(logits_BK, batch.labels_B, label_smoothing=0.1))
    torch.testing.assert_close(plain, F.cross_entropy(logits_BK, batch.labels_B))


def test_pictures_without_a_label_cost_nothing(task):
    batch, logits_BK = swatches(4), torch.randn(4, 10)
    partly = batch._replace(labels_B=torch.tensor([0, -1, 2, -1]))
    nothing = batch._replace(labels_B=torch.full((4,), -1))
    task.eval()
    torch.testing.assert_close(
        task.losses(logits_BK, partly)["loss"], F.cross_entropy(logits_BK[[0, 2]], torch.tensor([0, 2]))
    )
    assert task.losses(logits_BK, nothing)["loss"] == 0


def test_predictions_are_probabilities(task):
    probabilities_BK = task.eval().predict_step(swatches(3), 0)
    assert probabilities_BK.shape == (3, 10)
    torch.testing.assert_close(probabilities_BK.sum(dim=1), torch.ones(3))
