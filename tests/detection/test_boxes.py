"""Areas, overlaps, offsets, and the way back to the file."""

import math

import pytest
import torch
from drawn_boxes import boxes_between
from hypothesis import given, settings
from hypothesis import strategies as st

from effdet_lab.detection.boxes import area_N, clip, decode, encode, iou_NM, to_file_frame

few = settings(max_examples=50, deadline=None)


def test_two_squares_sharing_a_quarter_overlap_by_a_seventh():
    squares = torch.tensor([[0.0, 0.0, 2.0, 2.0], [1.0, 1.0, 3.0, 3.0]])
    assert area_N(squares).tolist() == [4, 4]
    assert iou_NM(squares[:1], squares[1:]).item() == pytest.approx(1 / 7)


def test_boxes_that_touch_or_have_no_area_overlap_by_nothing():
    boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0], [2.0, 0.0, 4.0, 2.0], [1.0, 1.0, 1.0, 1.0]])
    assert iou_NM(boxes, boxes).tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 0]]


def test_iou_of_a_batch_is_the_iou_of_each_picture():
    boxes_BN4 = torch.rand(3, 5, 4).cumsum(-1)
    others_M4 = torch.rand(7, 4).cumsum(-1)
    batched = iou_NM(boxes_BN4, others_M4)
    assert batched.shape == (3, 5, 7)
    assert torch.equal(batched, torch.stack([iou_NM(boxes, others_M4) for boxes in boxes_BN4]))
    assert torch.equal(iou_NM(others_M4, boxes_BN4), batched.mT)
    assert torch.equal(iou_NM(boxes_BN4, boxes_BN4)[2], iou_NM(boxes_BN4[2], boxes_BN4[2]))


@few
@given(st.lists(boxes_between(0, 600), min_size=1, max_size=8))
def test_iou_is_symmetric_within_bounds_and_one_on_itself(boxes):
    boxes = torch.tensor(boxes)
    iou = iou_NM(boxes, boxes)
    assert torch.equal(iou, iou.T)
    assert ((iou >= 0) & (iou <= 1)).all()
    assert torch.equal(iou.diagonal(), torch.ones(len(boxes)))


def test_the_order_of_the_offsets_is_y_x_height_width():
    anchor = torch.tensor([[0.0, 0.0, 10.0, 20.0]])
    box = torch.tensor([[5.0, 4.0, 25.0, 14.0]])  # centre (15, 9) against (5, 10), 20 x 10 against 10 x 20
    assert encode(box, anchor)[0].tolist() == pytest.approx([-1 / 20, 10 / 10, math.log(1 / 2), math.log(2)])


@few
@given(boxes_between(-100, 1100, min_side=1), boxes_between(-100, 1100, min_side=8))
def test_decoding_what_was_encoded_returns_the_box(box, anchor):
    box, anchor = torch.tensor([box]), torch.tensor([anchor])
    torch.testing.assert_close(decode(encode(box, anchor), anchor), box, atol=2e-3, rtol=1e-5)


def test_a_box_without_area_has_finite_offsets():
    flat = torch.tensor([[3.0, 3.0, 3.0, 9.0]])
    assert encode(flat, torch.tensor([[0.0, 0.0, 32.0, 32.0]])).isfinite().all()


def test_a_prediction_too_large_for_float32_is_clipped_to_the_frame():
    wild = decode(torch.tensor([[0.0, 0.0, 200.0, 200.0]]), torch.tensor([[0.0, 0.0, 32.0, 32.0]]))
    assert clip(wild, 48, 64)[0].tolist() == [0, 0, 64, 48]


def test_each_picture_of_a_batch_is_clipped_to_its_own_frame():
    boxes_BN4 = torch.tensor([[[-5.0, -5.0, 90.0, 90.0]], [[10.0, 20.0, 30.0, 40.0]]])
    clipped = clip(boxes_BN4, torch.tensor([[50], [35]]), torch.tensor([[60], [25]]))
    assert clipped.tolist() == [[[0, 0, 60, 50]], [[10, 20, 25, 35]]]


@few
@given(st.integers(20, 4000), st.integers(20, 4000), st.integers(64, 1536), st.integers(64, 1536), st.data())
def test_letterboxed_boxes_come_back_to_the_file(height, width, input_height, input_width, data):
    scale = min(input_height / height, input_width / width)
    left, right = sorted(data.draw(st.tuples(*[st.floats(0, width, width=32)] * 2)))
    top, bottom = sorted(data.draw(st.tuples(*[st.floats(0, height, width=32)] * 2)))
    box = torch.tensor([[left, top, right, bottom]])
    letterboxed = box * scale
    assert (letterboxed <= torch.tensor([input_width, input_height] * 2) + 1e-2).all()
    returned = to_file_frame(letterboxed, torch.tensor([scale]), torch.tensor([[height, width]]))
    torch.testing.assert_close(returned, box, atol=1e-3, rtol=1e-6)
    assert (returned <= torch.tensor([width, height, width, height])).all()
