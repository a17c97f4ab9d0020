"""From what the heads say to boxes in the file."""

import pytest
import torch
from drawn_boxes import boxes_between, random_boxes, yxyx
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import batched_nms

from effdet_lab.detection.anchors import anchors_A4
from effdet_lab.detection.boxes import iou_NM
from effdet_lab.detection.postprocess import detections
from effdet_lab.records import RawDetections

SIZE = 256


def of_boxes(boxes, scores, labels, *, num_classes=4, **options):
    """Detections of one picture whose anchors are the boxes themselves, seen at their own size."""
    logits = torch.full((1, len(boxes), num_classes), -20.0)
    logits[0, torch.arange(len(boxes)), labels] = torch.as_tensor(scores).logit()
    return detections(
        RawDetections(logits, torch.zeros(1, len(boxes), 4)),
        boxes,
        image_id_B=torch.tensor([7]),
        scale_B=torch.ones(1),
        file_size_B2=torch.tensor([[SIZE, SIZE]]),
        input_size=(SIZE, SIZE),
        **options,
    )


def random_points(count, seed, num_classes=4):
    generator = torch.Generator().manual_seed(seed)
    boxes = (random_boxes(count, SIZE, generator) * 8).round() / 8  # eighths: shifting them apart rounds nothing
    scores = (torch.randperm(count, generator=generator) + 1) / (count + 2)  # no two alike, so the order is certain
    return boxes, scores, torch.randint(0, num_classes, (count,), generator=generator)


def random_raw(batch, num_classes, seed, size=SIZE):
    generator = torch.Generator().manual_seed(seed)
    anchors = anchors_A4((size, size), 3, 7, anchor_scale=4.0)
    logits = torch.randn(batch, len(anchors), num_classes, generator=generator) * 1.5 - 4
    deltas = torch.randn(batch, len(anchors), 4, generator=generator) * 0.3
    return RawDetections(logits, deltas), anchors


points = st.lists(
    st.tuples(boxes_between(0, 64, min_side=4), st.integers(1, 99), st.integers(0, 3)),
    max_size=24,
    unique_by=lambda point: point[1],
)


@settings(max_examples=50, deadline=None)
@given(points, st.sampled_from([0.3, 0.5, 0.7]))
def test_hard_suppression_keeps_a_sorted_subset_apart_within_each_class_and_repeats(drawn, threshold):
    boxes = torch.tensor([box for box, _, _ in drawn]).reshape(-1, 4)
    scores = torch.tensor([percent / 100 for _, percent, _ in drawn])
    labels = torch.tensor([label for _, _, label in drawn], dtype=torch.int64)
    kept = of_boxes(boxes, scores, labels, iou_threshold=threshold)
    rows = {(*box, label) for box, label in zip(kept.boxes_D4.tolist(), kept.labels_D.tolist(), strict=True)}
    assert rows <= {(*box, label) for box, _, label in drawn}
    assert kept.labels_D.unique().tolist() == labels.unique().tolist()  # every class keeps its best
    assert (kept.scores_D.diff() < 0).all()
    same_class = kept.labels_D[:, None] == kept.labels_D
    apart = iou_NM(kept.boxes_D4, kept.boxes_D4) <= threshold
    assert (apart | ~same_class | torch.eye(len(apart), dtype=torch.bool)).all()
    again = of_boxes(kept.boxes_D4, kept.scores_D, kept.labels_D, iou_threshold=threshold)
    assert torch.equal(again.boxes_D4, kept.boxes_D4)
    assert torch.equal(again.labels_D, kept.labels_D)


@pytest.mark.parametrize("count", [300, 1500])
def test_hard_suppression_agrees_with_torchvision(count):
    boxes, scores, labels = random_points(count, count)
    ours = of_boxes(boxes, scores, labels, max_detections=count)
    scores = scores.logit().sigmoid()
    expected = batched_nms(boxes, scores, labels, 0.5)
    assert len(expected) < count
    assert torch.equal(ours.boxes_D4, boxes[expected])
    assert torch.equal(ours.labels_D, labels[expected])
    assert torch.equal(ours.scores_D, scores[expected])


@pytest.mark.parametrize("sigma", [0.5, 0.1])
def test_soft_suppression_agrees_with_the_reference_implementation(effdet, sigma):
    boxes, scores, labels = random_points(400, 5)
    ours = of_boxes(boxes, scores, labels, nms="soft", soft_sigma=sigma, max_detections=400)
    expected, lowered = effdet.soft_nms.batched_soft_nms(
        boxes, scores.logit().sigmoid(), labels, sigma=sigma, score_threshold=0.001
    )
    assert len(ours.scores_D) == len(expected)
    torch.testing.assert_close(ours.scores_D, lowered, atol=1e-5, rtol=1e-5)
    assert torch.equal(ours.boxes_D4, boxes[expected])
    assert torch.equal(ours.labels_D, labels[expected])


@pytest.mark.parametrize("nms", ["hard", "soft"])
def test_whole_detections_agree_with_the_reference_implementation(effdet, nms):
    raw, anchors = random_raw(batch=2, num_classes=3, seed=11)
    sizes, scales = torch.tensor([[500, 700], [200, 100]]), torch.tensor([SIZE / 700, SIZE / 200])
    ours = detections(
        raw,
        anchors,
        image_id_B=torch.tensor([40, 41]),
        scale_B=scales,
        file_size_B2=sizes,
        input_size=(SIZE, SIZE),
        nms=nms,
        max_points=500,
    )
    for b in range(2):
        logits, flat = raw.class_logits_BAK[b].flatten().topk(500)
        theirs = effdet.anchors.generate_detections(
            logits[:, None],
            raw.box_deltas_BA4[b, flat // 3],
            yxyx(anchors),
            flat // 3,
            flat % 3,
            1 / scales[b],
            sizes[b].flip(0).float(),
            max_det_per_image=100,
            soft_nms=nms == "soft",
        )
        theirs = theirs[theirs[:, 4] > 0.001]
        mine = ours.image_id_D == 40 + b
        assert mine.sum() == len(theirs) == 100
        torch.testing.assert_close(ours.scores_D[mine], theirs[:, 4], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(ours.boxes_D4[mine], theirs[:, :4], atol=1e-3, rtol=1e-5)
        assert torch.equal(ours.labels_D[mine], theirs[:, 5].long() - 1)


def test_one_anchor_may_speak_for_several_classes():
    logits = torch.tensor([[[2.0, 1.0, -9.0]]])
    anchor = torch.tensor([[10.0, 20.0, 60.0, 80.0]])
    answer = detections(
        RawDetections(logits, torch.zeros(1, 1, 4)),
        anchor,
        image_id_B=torch.tensor([3]),
        scale_B=torch.tensor([0.5]),
        file_size_B2=torch.tensor([[400, 400]]),
        input_size=(200, 200),
    )
    assert answer.labels_D.tolist() == [0, 1]
    assert answer.scores_D.tolist() == pytest.approx([0.8808, 0.7311], abs=1e-4)
    assert answer.boxes_D4.tolist() == [[20, 40, 120, 160]] * 2
    assert answer.image_id_D.tolist() == [3, 3]


def test_the_padding_of_the_letterbox_holds_no_box_and_boxes_end_at_the_file():
    # A file 100 high and 400 wide covers the upper 50 of 200 x 200 input pixels.
    boxes = torch.tensor([[-20.0, -20.0, 300.0, 300.0], [20.0, 30.0, 60.0, 120.0]])
    answer = detections(
        RawDetections(torch.tensor([[[3.0], [2.0]]]), torch.zeros(1, 2, 4)),
        boxes,
        image_id_B=torch.tensor([0]),
        scale_B=torch.tensor([0.5]),
        file_size_B2=torch.tensor([[100, 400]]),
        input_size=(200, 200),
    )
    assert answer.boxes_D4.tolist() == [[0, 0, 400, 100], [40, 60, 120, 100]]


def test_a_picture_does_not_depend_on_its_neighbours_in_the_batch():
    raw, anchors = random_raw(batch=3, num_classes=2, seed=12, size=128)
    common = {"input_size": (128, 128), "max_detections": 40}
    sizes, scales, ids = torch.full((3, 2), 256), torch.full((3,), 0.5), torch.tensor([5, 9, 2])
    raw.class_logits_BAK[1] -= 4  # the second picture has less to show
    for nms in ("hard", "soft"):
        together = detections(raw, anchors, image_id_B=ids, scale_B=scales, file_size_B2=sizes, nms=nms, **common)
        alone = [
            detections(
                RawDetections(*(part[b : b + 1] for part in raw)),
                anchors,
                image_id_B=ids[b : b + 1],
                scale_B=scales[b : b + 1],
                file_size_B2=sizes[b : b + 1],
                nms=nms,
                **common,
            )
            for b in range(3)
        ]
        for whole, parts in zip(together, zip(*alone, strict=True), strict=True):
            torch.testing.assert_close(whole, torch.cat(parts))
        assert together.image_id_D.unique_consecutive().tolist() == [5, 9, 2]


def test_only_the_best_points_are_read_and_only_the_best_detections_kept():
    boxes, scores, labels = random_points(200, 13)
    best = scores.argsort(descending=True)[:50]
    few = of_boxes(boxes, scores, labels, max_points=50, max_detections=10)
    expected = of_boxes(boxes[best], scores[best], labels[best], max_detections=10)
    assert len(few.scores_D) == 10
    assert torch.equal(few.boxes_D4, expected.boxes_D4)


@pytest.mark.parametrize("nms", ["hard", "soft"])
def test_scores_that_do_not_exceed_the_threshold_give_no_detections(nms):
    boxes, scores, labels = random_points(30, 14)
    assert len(of_boxes(boxes, scores * 0.1, labels, score_threshold=0.2, nms=nms).scores_D) == 0
    assert (of_boxes(boxes, scores, labels, score_threshold=0.2, nms=nms).scores_D > 0.2).all()


def test_half_precision_heads_give_float32_boxes_and_scores():
    raw, anchors = random_raw(batch=1, num_classes=2, seed=15, size=128)
    answer = detections(
        RawDetections(*(part.bfloat16() for part in raw)),
        anchors,
        image_id_B=torch.tensor([1]),
        scale_B=torch.tensor([1.0]),
        file_size_B2=torch.tensor([[128, 128]]),
        input_size=(128, 128),
    )
    assert answer.boxes_D4.dtype == answer.scores_D.dtype == torch.float32
    assert answer.labels_D.dtype == answer.image_id_D.dtype == torch.int64
