"""Boxes matched to anchors."""

import pytest
import torch
from drawn_boxes import random_boxes, yxyx

from effdet_lab.detection import targets
from effdet_lab.detection.anchors import anchors_A4
from effdet_lab.detection.boxes import decode, iou_NM
from effdet_lab.detection.targets import assign

SIZE = 128
ASPECTS = [(1.0, 1.0), (1.4, 0.7), (0.7, 1.4)]


@pytest.fixture(scope="module")
def anchors():
    return anchors_A4((SIZE, SIZE), 3, 7, anchor_scale=4.0)


def padded(pictures: list[list[tuple[list[float], int]]]):
    """(boxes, labels) of a batch, padded with zeros and -1."""
    most = max(len(picture) for picture in pictures)
    boxes_BM4 = torch.zeros(len(pictures), most, 4)
    labels_BM = torch.full((len(pictures), most), -1)
    for b, picture in enumerate(pictures):
        for m, (box, label) in enumerate(picture):
            boxes_BM4[b, m] = torch.tensor(box)
            labels_BM[b, m] = label
    return boxes_BM4, labels_BM


def random_picture(count: int, seed: int, **sides):
    boxes = random_boxes(count, SIZE, torch.Generator().manual_seed(seed), **sides)
    return [(box.tolist(), index % 5) for index, box in enumerate(boxes)]


CROWDED = {
    "ordinary boxes": [random_picture(12, 0)],
    "large boxes": [random_picture(6, 1, min_side=60, max_side=128)],
    "boxes smaller than any anchor": [random_picture(10, 2, min_side=1, max_side=5)],
    "several boxes claiming one anchor": [
        [([60.0, 60.0, 64.0, 64.0], 3), ([60.5, 60.5, 63.5, 63.5], 1), ([60.0, 60.0, 63.0, 63.0], 2)]
    ],
    "the same box twice": [[([20.0, 24.0, 70.0, 61.0], 4), ([20.0, 24.0, 70.0, 61.0], 0)]],
    "an empty picture among others": [random_picture(3, 3), [], random_picture(9, 4)],
}


@pytest.mark.parametrize("pictures", CROWDED.values(), ids=CROWDED.keys())
def test_targets_agree_with_the_reference_implementation(effdet, anchors, pictures):
    boxes_BM4, labels_BM = padded(pictures)
    ours = assign(anchors, boxes_BM4, labels_BM)
    reference = effdet.anchors.Anchors(3, 7, 3, ASPECTS, 4.0, (SIZE, SIZE))
    labeler = effdet.anchors.AnchorLabeler(reference, num_classes=5)
    for b in range(len(pictures)):
        real = labels_BM[b] >= 0
        classes, boxes, positives = labeler.label_anchors(yxyx(boxes_BM4[b, real]), labels_BM[b, real] + 1)
        labels_A = torch.cat([level.reshape(-1) for level in classes])
        deltas_A4 = torch.cat([level.reshape(-1, 4) for level in boxes])
        assert torch.equal(ours.labels_BA[b], labels_A)
        torch.testing.assert_close(ours.box_deltas_BA4[b], deltas_A4, atol=1e-5, rtol=1e-5)
        assert (ours.labels_BA[b] >= 0).sum() == positives


def test_a_box_that_no_anchor_fits_still_claims_its_best_one(anchors):
    boxes_BM4, labels_BM = padded([[([10.0, 10.0, 12.0, 12.0], 2)]])
    answer = assign(anchors, boxes_BM4, labels_BM)
    overlap_A = iou_NM(boxes_BM4, anchors)[0, 0]
    assert overlap_A.max() < 0.01
    assert (answer.labels_BA[0] >= 0).nonzero().flatten().tolist() == [overlap_A.argmax()]
    assert answer.labels_BA.max() == 2


def test_of_several_claims_on_one_anchor_the_first_box_gets_it(anchors):
    boxes_BM4, labels_BM = padded(CROWDED["several boxes claiming one anchor"])
    claimed_M = iou_NM(boxes_BM4, anchors)[0].argmax(dim=1)
    assert len(claimed_M.unique()) == 1
    answer = assign(anchors, boxes_BM4, labels_BM)
    assert answer.labels_BA[answer.labels_BA >= 0].tolist() == [3]


def test_decoded_targets_are_the_boxes_themselves(anchors):
    boxes_BM4, labels_BM = padded([random_picture(8, 5), random_picture(2, 6)])
    answer = assign(anchors, boxes_BM4, labels_BM)
    for b in range(2):
        positive_A = answer.labels_BA[b] >= 0
        decoded = decode(answer.box_deltas_BA4[b, positive_A], anchors[positive_A])
        error_PM = (decoded.unsqueeze(1) - boxes_BM4[b, labels_BM[b] >= 0]).abs().amax(dim=-1)
        assert error_PM.amin(dim=1).max() < 1e-3


def test_pictures_without_boxes_are_all_background(anchors):
    for boxes_BM4 in (torch.zeros(2, 3, 4), torch.zeros(2, 0, 4)):
        answer = assign(anchors, boxes_BM4, torch.full(boxes_BM4.shape[:2], -1))
        assert (answer.labels_BA == -1).all()
        assert not answer.box_deltas_BA4.any()
        assert answer.labels_BA.shape == (2, len(anchors))
        assert answer.box_deltas_BA4.shape == (2, len(anchors), 4)


def test_whatever_stands_in_the_padding_does_not_matter(anchors):
    boxes_BM4, labels_BM = padded([random_picture(5, 7), random_picture(2, 8)])
    expected = assign(anchors, boxes_BM4, labels_BM)
    boxes_BM4[1, 2:] = torch.tensor([10.0, 10.0, 60.0, 60.0])
    answer = assign(anchors, boxes_BM4, labels_BM)
    assert torch.equal(answer.labels_BA, expected.labels_BA)
    assert torch.equal(answer.box_deltas_BA4, expected.box_deltas_BA4)


def test_blocks_of_any_size_give_the_same_targets(anchors, monkeypatch):
    boxes_BM4, labels_BM = padded([random_picture(7, 9), CROWDED["the same box twice"][0]])
    expected = assign(anchors, boxes_BM4, labels_BM)
    for block in (300, 5000, 2**30):
        monkeypatch.setattr(targets, "CPU_BLOCK", block)
        answer = assign(anchors, boxes_BM4, labels_BM)
        assert torch.equal(answer.labels_BA, expected.labels_BA)
        assert torch.equal(answer.box_deltas_BA4, expected.box_deltas_BA4)


def test_a_lower_threshold_makes_more_positives(anchors):
    boxes_BM4, labels_BM = padded([random_picture(6, 10)])
    strict, loose = (assign(anchors, boxes_BM4, labels_BM, match_threshold=t).labels_BA >= 0 for t in (0.5, 0.3))
    assert loose[strict].all()
    assert loose.sum() > strict.sum()
