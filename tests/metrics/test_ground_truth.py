"""COCO files: read with care, refused with sentences, written whole or not at all."""

import copy
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from effdet_lab.errors import DataError
from effdet_lab.metrics.ground_truth import DetectionArrays, GroundTruth, read_results, write_results, xywh

ANNOTATIONS = {
    "images": [{"id": 7}, {"id": 1}],
    "categories": [{"id": 9, "name": "wolf"}, {"id": 2, "name": "sheep"}],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 9, "bbox": [1, 2, 30, 40], "area": 700.5, "iscrowd": 1},
        {"id": 2, "image_id": 7, "category_id": 2, "bbox": [0.5, 0, 2, 4]},
    ],
}
RESULT = {"image_id": 7, "category_id": 9, "bbox": [1, 2, 30, 40], "score": 0.5}


def written(tmp_path, content) -> str:
    path = tmp_path / "file.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


def test_an_annotation_file_becomes_flat_arrays(tmp_path):
    truth = GroundTruth.from_coco_json(written(tmp_path, ANNOTATIONS))
    assert truth.image_ids_I.tolist() == [7, 1]
    assert (truth.class_names, truth.category_ids) == (("sheep", "wolf"), (2, 9))
    assert truth.labels_N.tolist() == [1, 0]
    assert truth.boxes_N4.tolist() == [[1, 2, 31, 42], [0.5, 0, 2.5, 4]]
    assert truth.areas_N.tolist() == [700.5, 8.0]  # the outline's where given, else width x height
    assert truth.crowd_N.tolist() == [True, False]


def test_a_given_layout_keeps_unused_ids(tmp_path):
    names = [f"class {number}" for number in range(1, 91)]
    truth = GroundTruth.from_coco_json(written(tmp_path, ANNOTATIONS), range(1, 91), names)
    assert truth.labels_N.tolist() == [8, 1]
    assert len(truth.class_names) == 90


def test_only_keeps_pictures_with_their_boxes(tmp_path):
    truth = GroundTruth.from_coco_json(written(tmp_path, ANNOTATIONS))
    assert truth.only(np.array([1])).image_ids_I.tolist() == [1]
    assert len(truth.only(np.array([1])).labels_N) == 0
    assert len(truth.only(np.array([7, 1])).labels_N) == 2


@pytest.mark.parametrize(
    ("place", "value", "sentence"),
    [
        (("annotations", 0, "bbox"), [1, 2, 3], r"annotations\[0\].bbox=\[1, 2, 3\]: must be four finite numbers"),
        (("annotations", 0, "bbox"), [1, 2, 3, float("nan")], "must be four finite numbers"),
        (("annotations", 0, "bbox"), [9, 9, -3, 4], "width and height cannot be negative"),
        (("annotations", 1, "bbox"), None, r"annotations\[1\].bbox=None"),
        (("annotations", 1, "image_id"), 8, r"annotations\[1\].image_id=8: no image"),
        (("annotations", 1, "image_id"), "7", r"image_id='7': no image"),
        (("annotations", 1, "image_id"), True, r"image_id=True: no image"),
        (("annotations", 1, "category_id"), 4, r"category_id=4: no such category.*between 2 and 9"),
        (("annotations", 1, "area"), "big", r"area='big': must be a finite number"),
        (("annotations", 1, "iscrowd"), 2, r"iscrowd=2: must be 0 or 1"),
        (("annotations", 1), 5, r"annotations\[1\]: must be an object; it is a number"),
        (("images", 1, "id"), 7, r"images\[1\].id=7: another image has this id"),
        (("images", 1, "id"), "x", r"images\[1\].id='x': must be a whole number"),
        (("images",), None, "images: must be a list of objects; it is null"),
        (("categories", 1, "id"), 9, r"categories\[1\].id=9: another category has this id"),
        (("categories", 1, "name"), "wolf", "another category has this name"),
        (("categories", 1, "name"), "", r"categories\[1\].name=''"),
    ],
)
def test_a_bad_annotation_file_is_refused_by_record_and_field(tmp_path, place, value, sentence):
    content = copy.deepcopy(ANNOTATIONS)
    record = content
    for key in place[:-1]:
        record = record[key]
    record[place[-1]] = value
    path = written(tmp_path, content)
    with pytest.raises(DataError, match=sentence) as refused:
        GroundTruth.from_coco_json(path)
    assert all(problem.startswith(path) for problem in refused.value.problems)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{", "is not JSON"),
        ([], "holds a list. An annotation file is an object"),
        ({"images": [], "annotations": []}, "categories: must be a list of objects; it is missing"),
    ],
)
def test_a_file_that_is_no_annotation_file_is_refused(tmp_path, content, sentence):
    with pytest.raises(DataError, match=sentence):
        GroundTruth.from_coco_json(written(tmp_path, content))


def test_an_absent_file_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"nowhere.json: cannot be read"):
        GroundTruth.from_coco_json(tmp_path / "nowhere.json")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"score": None}, r"results\[0\].score=None: must be a finite number"),
        ({"score": float("inf")}, "score=inf: must be a finite number"),
        ({"bbox": [0, 0, 1, -1]}, "cannot be negative"),
        ({"image_id": 12}, "image_id=12: no image of the annotation file"),
        ({"category_id": 1}, "category_id=1: no such category"),
    ],
)
def test_a_bad_results_file_is_refused_by_record_and_field(tmp_path, change, sentence):
    truth = GroundTruth.from_coco_json(written(tmp_path, ANNOTATIONS))
    with pytest.raises(DataError, match=sentence):
        read_results(written(tmp_path, [RESULT | change]), truth)


def test_annotations_given_for_results_are_told_apart(tmp_path):
    path = written(tmp_path, ANNOTATIONS)
    with pytest.raises(DataError, match=r"holds an object\. A results file is a list"):
        read_results(path, GroundTruth.from_coco_json(path))


def test_all_problems_are_counted_and_the_first_twenty_shown(tmp_path):
    truth = GroundTruth.from_coco_json(written(tmp_path, ANNOTATIONS))
    with pytest.raises(DataError) as refused:
        read_results(written(tmp_path, [RESULT | {"score": None}] * 33), truth)
    assert len(refused.value.problems) == 21
    assert refused.value.problems[-1].endswith("13 more problems like these.")


def test_an_empty_results_list_is_an_answer_too(tmp_path):
    truth = GroundTruth.from_coco_json(written(tmp_path, ANNOTATIONS))
    assert read_results(written(tmp_path, []), truth).boxes_D4.shape == (0, 4)


@settings(max_examples=30, deadline=None)
@given(
    corners=st_numpy.arrays(np.float32, (5, 2), elements=st.floats(0, 4096, width=32)),
    sizes=st_numpy.arrays(np.float32, (5, 2), elements=st.floats(0, 4096, width=32)),
)
def test_written_results_read_back_as_the_same_boxes(tmp_path_factory, corners, sizes):
    folder = tmp_path_factory.mktemp("results")
    truth = GroundTruth.from_coco_json(written(folder, ANNOTATIONS))
    boxes_D4 = np.concatenate([corners, corners + sizes], axis=1)
    found = DetectionArrays(
        np.array([7, 1, 1, 7, 7]), boxes_D4, np.linspace(0, 1, 5).astype(np.float32), np.arange(5) % 2
    )
    write_results(folder / "out.json", found, truth.category_ids)
    again = read_results(folder / "out.json", truth)
    assert np.array_equal(xywh(again.boxes_D4), xywh(boxes_D4))
    assert np.array_equal(again.scores_D, found.scores_D)
    assert again.image_ids_D.tolist() == [7, 1, 1, 7, 7]
    assert {entry["category_id"] for entry in json.loads((folder / "out.json").read_text())} == {2, 9}


@given(x=st.integers(0, 400_000), width=st.integers(0, 400_000))
@settings(max_examples=50)
def test_a_width_of_two_decimals_survives_the_corners(x, width):
    x, width = x / 100, width / 100
    assert xywh(np.array([[x, 0, x + width, 1]]))[0, 2] == width


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "predictions.json"
    path.write_text("[]")
    found = DetectionArrays(np.array([7]), np.zeros((1, 4)), np.array([0.5]), np.array([0]))
    with pytest.raises(ValueError, match="JSON"):
        write_results(path, found._replace(scores_D=np.array([np.nan])), (2, 9))

    def full_disk(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("os.replace", full_disk)
    with pytest.raises(OSError, match="no space"):
        write_results(path, found, (2, 9))
    assert path.read_text() == "[]"
    assert list(tmp_path.iterdir()) == [path]
