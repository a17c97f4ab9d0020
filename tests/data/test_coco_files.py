"""COCO's annotation files: what is kept, what is left out, what is refused."""

import logging

import numpy as np
import pytest
from on_disk import coco, coco_content

from effdet_lab.data.coco import read_coco
from effdet_lab.data.splits import DetectionRecords
from effdet_lab.errors import DataError


def read(root, content=None, classes=()) -> DetectionRecords:
    coco(root, content, splits=("val",))
    return read_coco(root / "annotations/instances_val.json", root / "val", classes)


def test_ids_names_and_boxes_travel_as_the_file_has_them(tmp_path):
    records = read(tmp_path)
    assert records.image_ids.tolist() == [7, 3]
    assert records.class_names == ("cat", "dog")
    assert records.category_ids == (4, 9)
    assert records.starts.tolist() == [0, 2, 3]
    assert records.boxes_N4[records.boxes_of(0)].tolist() == [[10.5, 5, 30.5, 35], [1, 2, 4, 6]]
    assert records.labels_N.tolist() == [1, 0, 0]
    assert records.crowd_N.tolist() == [False, False, True]
    assert records.areas_N.tolist() == [512.25, 12, 1000.5]  # the second has none in the file
    assert records.sizes_I2.tolist() == [[40, 60], [40, 60]]
    assert records.paths[1] == str(tmp_path / "val" / "b.jpg")


def test_a_picture_without_boxes_is_kept(tmp_path):
    content = coco_content()
    content["annotations"] = []
    assert read(tmp_path, content).starts.tolist() == [0, 0, 0]


def test_selecting_pictures_takes_their_boxes_along(tmp_path):
    records = read(tmp_path).select(np.array([False, True]))
    assert (records.image_ids.tolist(), records.starts.tolist(), records.crowd_N.tolist()) == ([3], [0, 1], [True])


def test_boxes_without_area_are_left_out_and_counted(tmp_path, caplog):
    content = coco_content()
    content["annotations"] += [
        {"id": 4 + i, "image_id": 7, "category_id": 4, "bbox": box}
        for i, box in enumerate([[5, 5, 0, 9], [5, 5, 9, 0], [5, 5, -3, 4]])
    ]
    with caplog.at_level(logging.WARNING, "effdet_lab"):
        assert len(read(tmp_path, content).boxes_N4) == 3
    assert "boxes without area are left out: 3" in caplog.text


def test_corners_instead_of_sizes_are_suspected(tmp_path, caplog):
    content = coco_content()
    for annotation in content["annotations"]:
        annotation["bbox"] = [30, 20, 59, 39]
    with caplog.at_level(logging.WARNING, "effdet_lab"):
        read(tmp_path, content)
    assert "are its boxes [x1, y1, x2, y2]?" in caplog.text


def test_a_doubled_name_that_no_box_has_is_dropped(tmp_path):
    content = coco_content()
    content["categories"].insert(0, {"id": 0, "name": "cat"})
    assert read(tmp_path, content).category_ids == (4, 9)


def test_given_classes_set_the_order(tmp_path):
    records = read(tmp_path, classes=("bird", "dog", "cat"))
    assert records.labels_N.tolist() == [1, 2, 2]
    assert records.category_ids == (10, 9, 4)  # a bird is not in the file and gets a free id


def test_a_changed_file_is_read_again(tmp_path):
    read(tmp_path)
    content = coco_content()
    content["categories"][0]["name"] = "wolf"
    assert read(tmp_path, content).class_names == ("cat", "wolf")


def without(key):
    return {k: v for k, v in coco_content().items() if k != key}


def with_field(kind, position, **fields):
    content = coco_content()
    content[kind][position].update(fields)
    return content


def with_more(kind, record):
    content = coco_content()
    content[kind].append(record)
    return content


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ([{"image_id": 1, "score": 0.5}], "is a list, as results are"),
        ("text", "holds a single value"),
        (without("images"), "has no 'images', which COCO's annotations have. It has annotations, categories."),
        (without("annotations"), "has no 'annotations'"),
        (without("categories"), "has no 'categories'"),
        ({**coco_content(), "images": {"7": {}}}, "'images' is not a list of records"),
        ({**coco_content(), "annotations": [1]}, "'annotations' is not a list of records"),
        ({**coco_content(), "images": []}, "has no pictures"),
        ({**coco_content(), "categories": []}, "has no categories"),
        (with_field("images", 0, id="7"), "images[0].id='7': must be a whole number"),
        (with_field("images", 0, id=3), "image id 3 stands twice"),
        (with_field("images", 0, file_name=None), "image 7 has file_name=None"),
        (with_field("images", 0, height="tall"), "image 7 has height, width=('tall', 60)"),
        (with_field("categories", 0, id=True), "categories[0].id=True: must be a whole number"),
        (with_field("categories", 0, id=4), "category id 4 stands twice: dog and cat"),
        (with_field("categories", 0, name=" "), "category 9 has name=' '"),
        (with_field("categories", 0, name="cat"), "categories [9, 4] are all called 'cat'"),
        (with_field("annotations", 0, image_id=99), "annotation 1 is of image 99, which is not among the images"),
        (with_field("annotations", 0, category_id=5), "annotation 1 has category_id=5"),
        (with_field("annotations", 0, bbox=[1, 2, 3]), "annotation 1 has bbox=[1, 2, 3]. It must be four numbers"),
        (with_field("annotations", 0, bbox=None), "annotation 1 has bbox=None"),
        (with_field("annotations", 0, bbox=[1, 2, float("nan"), 4]), "annotation 1 has bbox=[1, 2, nan, 4]"),
        (with_field("annotations", 0, bbox=[1, 2, "3", 4]), "annotation 1 has bbox=[1, 2, '3', 4]"),
        (with_more("annotations", {"image_id": 7}), "annotation [3] has category_id=None"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_record(tmp_path, content, sentence):
    with pytest.raises(DataError) as caught:
        read(tmp_path, content)
    assert f"instances_val.json: {sentence}" in str(caught.value)


def test_what_is_not_json_names_the_line(tmp_path):
    coco(tmp_path)
    file = tmp_path / "annotations/instances_val.json"
    file.write_text('{"images": [\n}')
    with pytest.raises(DataError, match="is not JSON \\(line 2, column 1"):
        read_coco(file, tmp_path / "val")
    file.write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(DataError, match="not text in UTF-8"):
        read_coco(file, tmp_path / "val")


def test_all_problems_come_together_and_many_of_a_kind_are_cut_short(tmp_path):
    content = with_field("images", 0, file_name="")
    content["annotations"] += [{"id": i, "image_id": 7, "category_id": 5, "bbox": [0, 0, 1, 1]} for i in range(10, 40)]
    with pytest.raises(DataError) as caught:
        read(tmp_path, content)
    problems = caught.value.problems
    assert "image 7 has file_name=''" in problems[0]
    assert problems[-1] == "... and 22 more annotations."  # 30, and the two of the picture that was refused
    assert len(problems) == 12


def test_a_class_beyond_the_given_ones_asks_what_was_meant(tmp_path):
    with pytest.raises(DataError, match=r"class 'dog' is not among the 2 known classes. Did you mean Dogs\?"):
        read(tmp_path, classes=("cat", "Dogs"))


def test_six_real_photographs_with_an_empty_one_and_a_crowd(real_data):
    root = real_data / "det_coco_val2017_six"
    records = read_coco(root / "annotations.json", root / "images")
    assert (len(records), len(records.boxes_N4), int(records.crowd_N.sum())) == (6, 36, 1)
    assert np.diff(records.starts)[records.image_ids.tolist().index(89)] == 0
    assert records.category_ids == tuple(range(1, 91))
    assert records.class_names[0] == "person"
    assert records.class_names[89] == "toothbrush"
    assert records.class_names[11] == "unused 12"
    assert sum(name.startswith("unused") for name in records.class_names) == 10


def test_records_are_pycocotools_ground_truth(real_data):
    coco_tools = pytest.importorskip("pycocotools.coco")
    root = real_data / "det_coco_val2017_six"
    records = read_coco(root / "annotations.json", root / "images")
    theirs = coco_tools.COCO(str(root / "annotations.json"))
    for index, image_id in enumerate(records.image_ids.tolist()):
        expected = theirs.loadAnns(theirs.getAnnIds(imgIds=image_id))
        where = records.boxes_of(index)
        corners = records.boxes_N4[where]
        boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
        assert np.allclose(boxes, np.array([item["bbox"] for item in expected]).reshape(-1, 4), rtol=0, atol=1e-9)
        assert [records.category_ids[label] for label in records.labels_N[where]] == [
            item["category_id"] for item in expected
        ]
        assert records.areas_N[where].tolist() == [item["area"] for item in expected]
