"""What the data's classes do to an experiment."""

import pytest
from on_disk import classifier, coco, coco_content, detector, folders, voc, voc_object

from effdet_lab.classes import COCO_CATEGORIES, layout_of
from effdet_lab.data.classes import ids_for
from effdet_lab.data.datamodule import learn_classes, open_split
from effdet_lab.errors import DataError


def test_own_categories_take_the_place_of_cocos_ninety(tmp_path):
    spec = learn_classes(detector("data=coco", f"data.root={coco(tmp_path)}"))
    assert (spec.data.classes, spec.data.num_classes, spec.data.category_ids) == (("cat", "dog"), 2, (4, 9))


@pytest.mark.parametrize("ids", [(0, 1), (1, 2), (90, 7)])
def test_ids_from_zero_from_one_or_sparse_give_the_same_labels(tmp_path, ids):
    content = coco_content()
    content["categories"] = [{"id": min(ids), "name": "cat"}, {"id": max(ids), "name": "dog"}]
    for annotation in content["annotations"]:
        annotation["category_id"] = min(ids) if annotation["category_id"] == 4 else max(ids)
    spec = learn_classes(detector("data=coco", f"data.root={coco(tmp_path, content)}"))
    assert spec.data.classes == ("cat", "dog")
    assert open_split(spec, "val").labels_N.tolist() == [1, 0, 0]


def test_cocos_own_categories_keep_their_numbers():
    names, ids = layout_of(COCO_CATEGORIES)
    assert all(names[number - 1] == name for number, name in COCO_CATEGORIES.items())
    assert (len(names), len(set(names)), ids) == (90, 90, tuple(range(1, 91)))
    assert ids_for(names, COCO_CATEGORIES) == ids
    fewer = {number: name for number, name in COCO_CATEGORIES.items() if number != 50}
    assert len(layout_of(fewer)[0]) == 79


def test_a_detector_of_coco_finds_its_classes_under_other_ids():
    names, _ = layout_of(COCO_CATEGORIES)
    ids = ids_for(names, {7: "person", 2: "dog"})
    assert (ids[0], ids[17]) == (7, 2)
    assert len(set(ids)) == 90


def test_given_classes_are_kept_in_their_order(tmp_path):
    spec = detector("data=coco", f"data.root={coco(tmp_path)}", "data.classes=[dog,cat]")
    assert learn_classes(spec).data.category_ids == (9, 4)
    voc(tmp_path / "voc")
    spec = learn_classes(detector("data=voc", f"data.root={tmp_path}/voc", "data.classes=[dog,cat]"))
    assert spec.data.category_ids == open_split(spec, "val").category_ids == (1, 2)


@pytest.mark.parametrize("kind", ["coco", "voc", "imagefolder"])
def test_given_classes_that_lack_one_of_the_data_are_refused(tmp_path, kind):
    match kind:
        case "coco":
            spec = detector("data=coco", f"data.root={coco(tmp_path)}", "data.classes=[cat,dgo]")
        case "voc":
            spec = detector("data=voc", f"data.root={voc(tmp_path)}", "data.classes=[cat,dgo]")
        case _:
            root = folders(tmp_path, ("cat", "dog"))
            spec = classifier("data=imagefolder", f"data.root={root}", "data.classes=[cat,dgo]")
    with pytest.raises(DataError, match=r"class 'dog' is not among the 2 known classes. Did you mean dgo\?"):
        learn_classes(spec)


def test_a_class_of_evaluation_alone_is_refused(tmp_path):
    voc(tmp_path)
    text = (
        (tmp_path / "Annotations/val_1.xml").read_text().replace("</annotation>", voc_object("cow") + "</annotation>")
    )
    (tmp_path / "Annotations/val_1.xml").write_text(text)
    spec = learn_classes(detector("data=voc", f"data.root={tmp_path}"))
    with pytest.raises(DataError, match=r"val\.txt: class 'cow' is not among the 2 known classes. Known: cat, dog\."):
        open_split(spec, "val")


def test_imagenet_with_another_number_of_classes_is_refused(tmp_path):
    spec = classifier("data=imagenet", f"data.root={folders(tmp_path)}")
    with pytest.raises(
        DataError, match=r"has 2 classes, but data=imagenet has 1000\. data=imagefolder takes any number"
    ):
        learn_classes(spec)


def test_prediction_reads_no_data(tmp_path):
    spec = detector("data=coco", f"data.root={tmp_path}/none", "task=predict", "checkpoint=x", "input=y")
    assert learn_classes(spec) is spec
