"""Top-1 and top-5, and the table of best classes."""

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_accuracy

from effdet_lab.metrics.topk import TopK


def feed(metric: TopK, logits_IK: torch.Tensor, labels_I: torch.Tensor, image_ids: list[int], size: int = 4) -> None:
    for rows in torch.as_tensor(image_ids).split(size):
        metric.update(logits_IK[rows], labels_I[rows], rows)


def test_it_agrees_with_torchmetrics():
    generator = torch.Generator().manual_seed(0)
    logits_IK, labels_I = torch.randn(50, 12, generator=generator), torch.randint(0, 12, (50,), generator=generator)
    metric = TopK(num_classes=12)
    feed(metric, logits_IK, labels_I, list(range(50)))
    expected = {
        f"top{k}": float(multiclass_accuracy(logits_IK, labels_I, num_classes=12, top_k=k, average="micro"))
        for k in (1, 5)
    }
    assert metric.compute() == pytest.approx(expected)


def test_pictures_seen_twice_count_once():
    logits_IK, labels_I = torch.eye(6) * 5, torch.tensor([0, 1, 2, 0, 0, 0])
    metric = TopK(num_classes=6)
    feed(metric, logits_IK, labels_I, [0, 1, 2, 3, 4, 5, 0, 1, 2], size=2)
    assert metric.compute()["top1"] == 0.5
    assert metric.predictions().image_ids_I.tolist() == [0, 1, 2, 3, 4, 5]


def test_fewer_than_five_classes_make_top5_sure():
    metric = TopK(num_classes=3)
    metric.update(torch.eye(3), torch.tensor([1, 2, 0]), torch.arange(3))
    assert metric.compute() == {"top1": 0.0, "top5": 1.0}
    assert metric.predictions().classes_IC.shape == (3, 3)


def test_unlabelled_pictures_are_predicted_but_not_counted():
    metric = TopK(num_classes=6)
    metric.update(torch.eye(6)[:2], torch.tensor([0, -1]), torch.tensor([4, 2]))
    assert metric.compute() == {"top1": 1.0, "top5": 1.0}
    assert metric.predictions().image_ids_I.tolist() == [2, 4]
    assert metric.predictions().labels_I.tolist() == [-1, 0]
    metric.reset()
    metric.update(torch.eye(6)[:2], torch.tensor([-1, -1]), torch.tensor([0, 1]))
    assert metric.compute() == {}


def test_the_best_classes_come_first_with_their_probabilities():
    logits_BK = torch.log(torch.tensor([[0.1, 0.4, 0.05, 0.2, 0.02, 0.23]])).to(torch.bfloat16)
    metric = TopK(num_classes=6)
    metric.update(logits_BK, torch.tensor([3]), torch.tensor([9]))
    assert metric.compute() == {"top1": 0.0, "top5": 1.0}
    assert metric.predictions().classes_IC.tolist() == [[1, 5, 3, 0, 2]]
    np.testing.assert_allclose(metric.predictions().probabilities_IC, [[0.4, 0.23, 0.2, 0.1, 0.05]], rtol=0.02)


def test_reset_forgets_everything():
    metric = TopK(num_classes=6)
    metric.update(torch.eye(6), torch.zeros(6, dtype=torch.int64), torch.arange(6))
    metric.compute()
    metric.reset()
    assert not any(metric.metric_state.values())
    with pytest.raises(AssertionError, match="compute"):
        metric.predictions()
