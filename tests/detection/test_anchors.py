"""Anchors of the published sizes, and of sizes that the strides do not divide."""

import pytest
import torch
from drawn_boxes import yxyx

from effdet_lab.detection.anchors import anchors_A4


def test_the_first_cell_and_the_last_anchor_of_d0_are_the_published_ones():
    # Source: computed with rwightman/efficientdet-pytorch 0.4.1, there as y1 x1 y2 x2.
    anchors = yxyx(anchors_A4((512, 512), 3, 7, anchor_scale=4.0))
    first_cell = [
        [-12, -12, 20, 20],  # half of 4 * 8 around (4, 4)
        [-7.2, -18.4, 15.2, 26.4],  # 0.7 of it high, 1.4 of it wide
        [-18.4, -7.2, 26.4, 15.2],
        [-16.1587, -16.1587, 24.1587, 24.1587],  # 2^(1/3) of it
        [-10.1111, -24.2222, 18.1111, 32.2222],
        [-24.2222, -10.1111, 32.2222, 18.1111],
        [-21.3984, -21.3984, 29.3984, 29.3984],  # 2^(2/3) of it
        [-13.7789, -31.5578, 21.7789, 39.5578],
        [-31.5578, -13.7789, 39.5578, 21.7789],
    ]
    torch.testing.assert_close(anchors[:9], torch.tensor(first_cell), atol=1e-4, rtol=0)
    last = torch.tensor([-120.925, 163.538, 1016.925, 732.462])
    torch.testing.assert_close(anchors[-1], last, atol=1e-3, rtol=0)


def test_d7_starts_with_its_larger_scale():
    # Source: google/automl efficientdet/hparams_config.py, anchor_scale 5 for D7 alone.
    assert anchors_A4((1536, 1536), 3, 7, anchor_scale=5.0)[0].tolist() == [-16, -16, 24, 24]


@pytest.mark.parametrize(
    ("image_size", "cells"),
    [
        ((512, 512), 64**2 + 32**2 + 16**2 + 8**2 + 4**2),
        ((320, 320), 40**2 + 20**2 + 10**2 + 5**2 + 3**2),
        ((256, 384), 32 * 48 + 16 * 24 + 8 * 12 + 4 * 6 + 2 * 3),
    ],
)
def test_every_cell_of_every_level_has_nine_anchors(image_size, cells):
    assert anchors_A4(image_size, 3, 7, anchor_scale=4.0).shape == (9 * cells, 4)


def test_a_pyramid_of_one_cell_written_by_hand():
    # 8 pixels on level 3: one cell of 8 around (4, 4); the square's side is 2 cells.
    wide_then_high = anchors_A4((8, 8), 3, 3, anchor_scale=2.0, octaves=1, aspect_ratios=((1, 1), (2.0, 0.5)))
    assert wide_then_high.tolist() == [[-4, -4, 12, 12], [-12, 0, 20, 8]]


def test_cells_run_along_x_before_y():
    square = anchors_A4((16, 24), 3, 3, anchor_scale=1.0, octaves=1, aspect_ratios=((1, 1),))
    assert square[:, :2].tolist() == [[0, 0], [8, 0], [16, 0], [0, 8], [8, 8], [16, 8]]


@pytest.mark.parametrize(
    ("image_size", "max_level", "anchor_scale"),
    [
        ((512, 512), 7, 4.0),
        ((320, 320), 7, 3.0),  # Lite0: 3 cells on level 7
        ((448, 448), 7, 3.0),  # Lite2: 4 cells of 112 on level 7
        ((384, 640), 7, 4.0),
        ((511, 333), 7, 4.0),
        ((768, 512), 8, 4.0),
    ],
)
def test_anchors_agree_with_the_reference_implementation(effdet, image_size, max_level, anchor_scale):
    aspects = [(1.0, 1.0), (1.4, 0.7), (0.7, 1.4)]
    theirs = effdet.anchors.Anchors(3, max_level, 3, aspects, anchor_scale, image_size).boxes
    ours = anchors_A4(image_size, 3, max_level, anchor_scale=anchor_scale)
    torch.testing.assert_close(yxyx(ours), theirs, atol=1e-4, rtol=1e-6)
