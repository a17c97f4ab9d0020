"""Pictures that can be read: large enough, inside the frame, one colour a class."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from effdet_lab.run.drawing import _chip_place, _font, class_colour, contact_sheet, draw_boxes, draw_labels

GREY = np.full((90, 128, 3), 120, dtype=np.uint8)
NAMES = [f"class {number}" for number in range(30)]


def pixels(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture).astype(int)


def has_colour(picture: Image.Image, colour: tuple[int, int, int]) -> bool:
    return bool((pixels(picture) == colour).all(axis=-1).any())


@pytest.mark.parametrize(
    ("size", "drawn"), [((128, 90), (512, 360)), ((600, 700), (600, 700)), ((4000, 100), (4000, 100))]
)
def test_small_pictures_are_enlarged_and_large_ones_kept(size, drawn):
    picture = draw_boxes(Image.new("RGB", size), np.zeros((0, 4)), [], [], NAMES)
    assert picture.size == drawn


def test_boxes_move_with_the_enlargement():
    picture = pixels(draw_boxes(GREY, [[20, 30, 100, 80]], [0.9], [4], NAMES))
    rows, columns = np.nonzero((picture == class_colour(4)).all(axis=-1))
    assert (columns.min(), columns.max(), rows.max()) == (80, 400, 320)  # four times 20, 100, 80


def test_the_picture_given_is_left_as_it_was():
    original = Image.new("RGB", (600, 600), "white")
    draw_boxes(original, [[10, 10, 500, 500]], [0.9], [0], NAMES)
    assert original.getextrema() == ((255, 255),) * 3


def test_weak_detections_are_not_drawn():
    plain = draw_boxes(GREY, [], [], [], NAMES)
    assert np.array_equal(pixels(draw_boxes(GREY, [[20, 30, 100, 80]], [0.29], [0], NAMES)), pixels(plain))
    assert has_colour(draw_boxes(GREY, [[20, 30, 100, 80]], [0.05], [0], NAMES, min_score=0.05), class_colour(0))


def test_ground_truth_is_dashed_in_black_and_white():
    picture = draw_boxes(GREY, [], [], [], NAMES, ground_truth=[[20, 30, 100, 80]])
    edge = pixels(picture)[120, 80:400]
    assert {tuple(pixel) for pixel in edge} == {(255, 255, 255), (24, 24, 27)}


def test_boxes_past_the_edge_or_without_area_draw_without_fuss():
    boxes = [[-50, -50, 500, 500], [200, 200, 300, 300], [30, 30, 30, 30], [90, 60, 40, 20]]
    draw_boxes(GREY, boxes, [0.9] * 4, [0, 1, 2, 3], NAMES, ground_truth=boxes)


def test_classes_keep_their_colour_and_the_first_twenty_one_differ():
    assert class_colour(3) == class_colour(3)

    def closest(num_classes: int) -> int:
        colours = [class_colour(label) for label in range(num_classes)]
        return min(int(np.abs(np.subtract(one, other)).sum()) for one, other in combinations(colours, 2))

    assert closest(7) >= 80
    assert closest(21) >= 40


@settings(max_examples=50, deadline=None)
@given(
    edges=st.tuples(*[st.floats(0, 511)] * 4),
    text=st.text("abcdefg ", min_size=1, max_size=30),
    taken=st.lists(st.tuples(*[st.floats(0, 400)] * 4), max_size=4),
)
def test_labels_never_leave_the_picture(edges, text, taken):
    x1, x2 = sorted(edges[:2])
    y1, y2 = sorted(edges[2:])
    left, top, right, bottom = _chip_place((x1, y1, x2, y2), text, _font((512, 512)), (512, 512), 2, taken)
    assert 0 <= left < right <= 511
    assert 0 <= top < bottom <= 511


def test_labels_of_one_box_do_not_hide_each_other():
    font, box = _font((512, 512)), (100.0, 200.0, 300.0, 400.0)
    first = _chip_place(box, "dog 0.90", font, (512, 512), 2, [])
    second = _chip_place(box, "cat 0.80", font, (512, 512), 2, [first])
    assert second[1] >= first[3] or second[3] <= first[1] or second[0] >= first[2] or second[2] <= first[0]


def test_a_name_wider_than_the_picture_is_shortened():
    picture = draw_boxes(GREY, [[1, 1, 20, 20]], [0.9], [0], ["a name without end " * 20])
    assert picture.size == (512, 360)


def test_labels_are_a_strip_below_the_picture_with_the_truth_marked():
    best = [("ant", 0.7), ("bee", 0.2)]
    plain, right, wrong = (draw_labels(GREY, best, truth) for truth in (None, "ant", "wasp"))
    assert plain.width == 512
    assert plain.height > 360
    assert not has_colour(plain, (0, 158, 115))
    assert has_colour(right, (0, 158, 115))
    assert wrong.height > right.height  # a line for the truth that was missed


def test_a_contact_sheet_holds_whole_pictures_in_a_near_square():
    sheet = contact_sheet([Image.new("RGB", (100, 50), "red"), Image.new("RGB", (50, 100), "blue")] * 2, cell=100)
    gap = 4
    assert sheet.size == (2 * (100 + gap) + gap,) * 2
    assert (pixels(sheet) == (255, 0, 0)).all(axis=-1).sum() == 2 * 100 * 50
    assert (pixels(sheet) == (0, 0, 255)).all(axis=-1).sum() == 2 * 100 * 50


def test_a_contact_sheet_of_flat_pictures_is_flat():
    assert contact_sheet([Image.new("RGB", (200, 100))] * 4, cell=100).size == (2 * 104 + 4, 2 * 54 + 4)
