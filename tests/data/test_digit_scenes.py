"""Drawn scenes: the same bytes each time, whole or not there, true to their boxes."""

import json

import numpy as np
import pytest
from on_disk import detector

from effdet_lab.data.datamodule import learn_classes, open_split
from effdet_lab.data.digit_scenes import OVERLAP, draw_scene, draw_scenes
from effdet_lab.data.digits import handwritten
from effdet_lab.errors import DataError
from effdet_lab.spec import DigitScenesSource

SMALL = DigitScenesSource(canvas=(96, 128), train_images=6, val_images=3, seed=5)


def content(root):
    return {path.relative_to(root): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_the_same_seed_draws_the_same_bytes(tmp_path):
    draw_scenes(tmp_path / "a", SMALL)
    draw_scenes(tmp_path / "b", SMALL)
    assert content(tmp_path / "a") == content(tmp_path / "b")
    assert len(content(tmp_path / "a")) == 6 + 3 + 2 + 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"], "nothing else is left behind"


def test_scenes_are_drawn_once_and_anew_for_other_settings(tmp_path, monkeypatch):
    root = tmp_path / "scenes"
    draw_scenes(root, SMALL)
    before = content(root)
    with monkeypatch.context() as patch:
        patch.setattr("effdet_lab.data.digit_scenes.draw_scene", None)  # to call it would fail
        draw_scenes(root, SMALL)
    assert content(root) == before
    draw_scenes(root, DigitScenesSource((96, 128), 6, 3, seed=6))
    assert content(root).keys() == before.keys()
    assert content(root) != before


def test_a_folder_with_other_files_is_not_touched(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(DataError, match="holds other files"):
        draw_scenes(tmp_path, SMALL)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_an_interrupted_drawing_leaves_nothing(tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("effdet_lab.data.digit_scenes.draw_scene", stop)
    with pytest.raises(KeyboardInterrupt):
        draw_scenes(tmp_path / "scenes", SMALL)
    assert list(tmp_path.iterdir()) == []


def test_scenes_are_a_coco_data_set_with_all_their_digits(tmp_path):
    spec = learn_classes(detector("data=digit_scenes", f"data.root={tmp_path}/s", "data.train_images=40"))
    records = open_split(spec, "train")
    assert len(records) == 40
    assert records.class_names == tuple("0123456789")
    assert set(records.labels_N.tolist()) == set(range(10))
    written = json.loads((tmp_path / "s/annotations/instances_train.json").read_text())
    assert len(written["annotations"]) == len(records.boxes_N4)


def test_boxes_are_inside_apart_and_tight_around_readable_ink():
    ink, _ = handwritten("train")
    seen = 0
    for number in range(30):
        picture_HW3, boxes, chosen = draw_scene(np.random.default_rng(number), ink, (128, 128))
        assert len(boxes) == len(chosen)
        assert len(boxes) <= 8
        for i, (x1, y1, x2, y2) in enumerate(boxes):
            assert 0 <= x1 < x2 <= 128
            assert 0 <= y1 < y2 <= 128
            assert 14 <= y2 - y1 <= 52
            brightness_HW = picture_HW3[y1:y2, x1:x2].mean(axis=-1)
            assert brightness_HW.max() - brightness_HW.min() > 50
            for a1, b1, a2, b2 in boxes[:i]:
                shared = max(0, min(x2, a2) - max(x1, a1)) * max(0, min(y2, b2) - max(y1, b1))
                assert shared / ((x2 - x1) * (y2 - y1) + (a2 - a1) * (b2 - b1) - shared) < OVERLAP
        seen += len(boxes)
    assert seen > 90


def test_some_scenes_are_empty():
    ink, _ = handwritten("val")
    counts = [len(draw_scene(np.random.default_rng(number), ink, (48, 48))[1]) for number in range(150)]
    assert 0 < counts.count(0) < 20
