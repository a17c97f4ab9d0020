"""Pascal VOC: edges from 1 become edges from 0, and every defect a sentence."""

import logging
from collections import Counter
from dataclasses import replace

import pytest
from on_disk import detector, picture, voc, voc_object

from effdet_lab.data.places import locate
from effdet_lab.data.voc import read_voc
from effdet_lab.errors import DataError


def place_of(root):
    return locate(detector("data=voc", f"data.root={root}").data, ("train",))["train"]


def test_a_box_over_all_pixels_covers_the_picture(tmp_path):
    records = read_voc(place_of(voc(tmp_path, voc_object(box=(1, 1, 60, 40)))))
    assert records.boxes_N4.tolist() == [[0, 0, 60, 40]]
    assert records.areas_N.tolist() == [2400]
    assert records.sizes_I2.tolist() == [[40, 60]]


def test_difficult_boxes_are_crowds_unless_kept(tmp_path):
    place = place_of(voc(tmp_path))
    assert read_voc(place).crowd_N.tolist() == [False, True]
    assert read_voc(place, keep_difficult=True).crowd_N.tolist() == [False, False]


def test_classes_are_sorted_or_in_the_given_order(tmp_path):
    place = place_of(voc(tmp_path))
    assert read_voc(place).class_names == ("cat", "dog")
    assert read_voc(place, classes=("dog", "cat", "cow")).labels_N.tolist() == [1, 0]
    assert read_voc(place, classes=("dog", "cat", "cow")).category_ids == (1, 2, 3)


def test_boxes_without_area_are_left_out_and_counted(tmp_path, caplog):
    place = place_of(voc(tmp_path, voc_object() + voc_object(box=(5, 5, 5, 9)) + voc_object(box=(9, 9, 5, 5))))
    with caplog.at_level(logging.WARNING, "effdet_lab"):
        assert len(read_voc(place).boxes_N4) == 1
    assert "boxes without area are left out: 2" in caplog.text


def test_a_picture_without_objects_and_one_without_size_are_kept(tmp_path):
    place = place_of(voc(tmp_path, ""))
    (tmp_path / "Annotations/train_1.xml").write_text("<annotation/>")
    records = read_voc(place)
    assert (len(records), len(records.boxes_N4), records.sizes_I2.tolist()) == (1, 0, [[0, 0]])


def test_class_lists_with_a_second_column_are_lists_too(tmp_path):
    place = place_of(voc(tmp_path))
    place.annotations.write_text("train_1  1\nval_1 -1\ntrain_1 1\n")
    assert len(read_voc(place)) == 2


def test_pictures_may_end_otherwise_or_be_named_inside(tmp_path):
    place = place_of(voc(tmp_path))
    (tmp_path / "JPEGImages/train_1.jpg").unlink()
    picture(tmp_path / "JPEGImages/train_1.PNG")
    assert read_voc(place).paths[0].endswith("train_1.PNG")


@pytest.mark.parametrize(
    ("objects", "sentence"),
    [
        ("<object><bndbox/></object>", "an object has no name"),
        ("<object><name>cat</name></object>", "cat has bndbox=[None, None, None, None]. It must be four numbers"),
        (voc_object(box=(1, 2, "x", 4)), "cat has bndbox=['1', '2', 'x', '4']"),
        (voc_object(box=(1, 2, "nan", 4)), "cat has bndbox=['1', '2', 'nan', '4']"),
        ("<object>", "is not XML (mismatched tag"),
    ],
)
def test_what_is_wrong_is_named_with_its_file(tmp_path, objects, sentence):
    with pytest.raises(DataError) as caught:
        read_voc(place_of(voc(tmp_path, objects)))
    assert f"train_1.xml: {sentence}" in str(caught.value)


def test_files_that_are_missing_are_all_named(tmp_path):
    place = place_of(voc(tmp_path))
    (tmp_path / "JPEGImages/val_1.jpg").unlink()
    place.annotations.write_text("train_1\nval_1\nnone_2\n")
    with pytest.raises(DataError) as caught:
        read_voc(place)
    assert "val_1.jpg: no such picture, though the split names it" in str(caught.value)
    assert "none_2.xml: no such file, though the split names it" in str(caught.value)


def test_an_empty_list_is_refused(tmp_path):
    place = place_of(voc(tmp_path))
    place.annotations.write_text("\n")
    with pytest.raises(DataError, match=r"train\.txt: names no picture"):
        read_voc(place)


def test_entities_are_refused_before_they_grow(tmp_path):
    place = place_of(voc(tmp_path))
    (tmp_path / "Annotations/train_1.xml").write_text('<!DOCTYPE a [<!ENTITY b "bbb">]><annotation>&b;</annotation>')
    with pytest.raises(DataError, match="declares a document type"):
        read_voc(place)


def test_blood_cells_have_the_counts_their_readme_gives(real_data):
    """4155 RBC, 372 WBC and 361 platelets in 364 pictures, two of them without area."""
    place = locate(detector("data=voc", f"data.root={real_data / 'det_bccd_voc'}").data)["train"]
    lists = [replace(place, annotations=place.annotations.with_name(f"{name}.txt")) for name in ("trainval", "test")]
    counts, pictures = Counter(), 0
    for records in map(read_voc, lists):
        pictures += len(records)
        counts.update(records.class_names[label] for label in records.labels_N.tolist())
    assert pictures == 364
    assert counts == {"RBC": 4155 - 2, "WBC": 372, "Platelets": 361}
