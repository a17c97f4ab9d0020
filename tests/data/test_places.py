"""Where data sets are looked for, and what is said when they are not there."""

import subprocess
import sys

import pytest
from on_disk import classifier, coco, detector, folders, picture, voc

from effdet_lab.data.places import locate
from effdet_lab.errors import DataError


def refusal(spec, splits=("train", "val")) -> str:
    with pytest.raises(DataError) as caught:
        locate(spec.data, splits)
    return str(caught.value)


def test_looking_for_files_needs_no_torch():
    code = "import sys, effdet_lab.data.places; sys.exit('torch' in sys.modules or 'PIL' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_misspelt_root_names_the_nearest_folder(tmp_path):
    coco(tmp_path / "blood_cells")
    said = refusal(detector("data=coco", f"data.root={tmp_path}/blod_cells"))
    assert f"data.root={tmp_path}/blod_cells: no such folder. Nearest: {tmp_path}/blood_cells." in said


def test_a_root_that_resembles_nothing_names_what_is_there(tmp_path):
    coco(tmp_path / "blood_cells")
    assert f"{tmp_path} holds blood_cells." in refusal(detector("data=coco", f"data.root={tmp_path}/x/y"))


def test_a_root_that_is_a_file_says_so(tmp_path):
    file = picture(tmp_path / "a.jpg")
    assert "is a file, not a folder" in refusal(detector("data=coco", f"data.root={file}"))


def test_every_missing_split_is_named_at_once(tmp_path):
    said = refusal(detector("data=coco", f"data.root={coco(tmp_path, splits=())}"))
    assert "data.train_annotations" in said
    assert "data.val_annotations" in said


def test_the_same_problem_is_told_once(tmp_path):
    assert refusal(detector("data=voc", f"data.root={tmp_path}")).count("no ImageSets/Main") == 1


def test_evaluation_asks_for_its_own_split_only(tmp_path):
    spec = detector("data=coco", f"data.root={coco(tmp_path, splits=('val',))}")
    assert set(locate(spec.data, ("val",))) == {"val"}
    assert "data.train_annotations" in refusal(spec)


@pytest.mark.parametrize(
    ("json", "pictures"),
    [
        ("annotations/instances_val2017.json", "val2017"),
        ("annotations/instances_val2014.json", "images/val2014"),
        ("annotations/instances_val.json", "images"),
        ("annotations.json", "images"),
        ("valid/_annotations.coco.json", "valid"),
    ],
)
def test_the_usual_layouts_of_coco_are_found(tmp_path, json, pictures):
    (tmp_path / json).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / json).write_text("{}")
    picture(tmp_path / pictures / "a.jpg")
    place = locate(detector("data=coco", f"data.root={tmp_path}").data, ("val",))["val"]
    assert (place.annotations, place.pictures) == (tmp_path / json, tmp_path / pictures)


def test_a_lone_annotation_file_is_for_evaluation_only(tmp_path):
    (tmp_path / "annotations.json").write_text("{}")
    picture(tmp_path / "images" / "a.jpg")
    spec = detector("data=coco", f"data.root={tmp_path}")
    assert "val" in locate(spec.data, ("val",))
    assert "no annotations/instances_train.json" in refusal(spec, ("train",))


def test_named_paths_count_from_the_root_or_stand_alone(tmp_path):
    coco(tmp_path / "a"), coco(tmp_path / "b")
    spec = detector(
        "data=coco",
        f"data.root={tmp_path}/a",
        "data.val_annotations=annotations/instances_train.json",
        f"data.val_images={tmp_path}/b/train",
    )
    place = locate(spec.data, ("val",))["val"]
    assert place.annotations == tmp_path / "a/annotations/instances_train.json"
    assert place.pictures == tmp_path / "b/train"


def test_a_named_file_that_is_missing_is_told_with_the_nearest(tmp_path):
    coco(tmp_path)
    said = refusal(detector("data=coco", f"data.root={tmp_path}", "data.val_annotations=annotations/instance_val.json"))
    assert f"data.val_annotations={tmp_path}/annotations/instance_val.json: no such file." in said
    assert f"Nearest: {tmp_path}/annotations/instances_val.json." in said


@pytest.mark.parametrize("inside", ["", "BCCD", "VOCdevkit/VOC2012"])
def test_voc_is_found_down_to_two_folders_below(tmp_path, inside):
    voc(tmp_path / inside)
    place = locate(detector("data=voc", f"data.root={tmp_path}").data)["train"]
    assert place.annotations == tmp_path / inside / "ImageSets/Main/train.txt"


def test_two_voc_data_sets_are_a_choice(tmp_path):
    voc(tmp_path / "VOC2007"), voc(tmp_path / "VOC2012")
    said = refusal(detector("data=voc", f"data.root={tmp_path}"))
    assert f"Choose one: {tmp_path}/VOC2007, {tmp_path}/VOC2012." in said


def test_a_voc_split_that_is_missing_names_the_lists(tmp_path):
    voc(tmp_path, splits=("train", "test"))
    said = refusal(detector("data=voc", f"data.root={tmp_path}"))
    assert "data.val_split=val: no " in said
    assert "The lists there: test, train." in said


@pytest.mark.parametrize(("inside", "val"), [("", "val"), ("", "test"), ("", "valid"), ("hymenoptera_data", "val")])
def test_class_folders_are_found_at_the_root_or_one_below(tmp_path, inside, val):
    folders(tmp_path / inside, splits=("train", val))
    places = locate(classifier("data=imagefolder", f"data.root={tmp_path}").data)
    assert places["train"].pictures == tmp_path / inside / "train"
    assert places["val"].pictures == tmp_path / inside / val


def test_several_folders_that_could_be_meant_are_a_choice(tmp_path):
    folders(tmp_path / "a"), folders(tmp_path / "b")
    assert "data.train_folder names the right one" in refusal(classifier("data=imagefolder", f"data.root={tmp_path}"))


def test_a_flat_folder_is_for_evaluation(tmp_path):
    picture(tmp_path / "n1_cat.jpg")
    spec = classifier("data=imagefolder", f"data.root={tmp_path}", "data.class_pattern='^(n[0-9]+)_'")
    assert locate(spec.data, ("val",))["val"].pictures == tmp_path
    assert "data.train_folder names another" in refusal(spec)


def test_cifar10_that_is_missing_tells_how_to_fetch_it(tmp_path):
    assert "data.download=true fetches the archive" in refusal(classifier("data=cifar10", f"data.root={tmp_path}"))
    spec = classifier("data=cifar10", f"data.root={tmp_path}/new", "data.download=true")
    assert locate(spec.data)["train"].pictures.name == "cifar-10-python.tar.gz"


def test_a_released_data_set_that_may_be_fetched_needs_no_folder_yet(tmp_path):
    spec = classifier("data=food101", f"data.root={tmp_path}/new", "data.download=true")
    assert locate(spec.data)["train"].pictures == tmp_path / "new/food-101"
    assert "no such folder" in refusal(classifier("data=food101", f"data.root={tmp_path}/new"))


def test_digits_need_no_folder():
    assert set(locate(classifier("data=digits").data)) == {"train", "val"}
