"""Folds: disjoint, whole, of equal composition, and the same for every seed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from on_disk import classifier, coco, coco_content, detector, folders

import effdet_lab
from effdet_lab.data.datamodule import build_data, learn_classes, open_split
from effdet_lab.data.folds import _dealt, _stratified
from effdet_lab.errors import ConfigError, DataError


def scenes(tmp_path, *overrides):
    few = "data.train_images=24", "data.val_images=5"
    return learn_classes(detector("data=digit_scenes", f"data.root={tmp_path}/scenes", *few, *overrides))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 7), st.integers(1, 12), st.integers(7, 120))
def test_each_class_is_spread_as_evenly_as_it_can_be(seed, folds, classes, count):
    random = np.random.default_rng(seed)
    labels = random.integers(classes, size=count)
    fold = _dealt(labels, random.permutation(count), folds)
    table = np.zeros((folds, classes), dtype=int)
    np.add.at(table, (fold, labels), 1)
    assert np.ptp(table, axis=0).max() <= 1
    assert np.ptp(table.sum(axis=1)) <= 1


def test_a_rare_class_is_in_every_fold_that_it_can_be_in():
    random = np.random.default_rng(0)
    present = random.random((200, 6)) < (0.5, 0.3, 0.1, 0.05, 0.025, 0.025)
    present[:10, 5], present[10:, 5] = True, False
    fold = _stratified(present, random.permutation(200), 5)
    table = np.stack([present[fold == number].sum(axis=0) for number in range(5)])
    assert table[:, 5].tolist() == [2] * 5
    assert np.ptp(table, axis=0).max() <= 3  # dealt at random the commonest classes differ by a dozen
    assert np.ptp(np.bincount(fold)) <= 4


def test_every_picture_is_held_out_once_and_never_trained_on_then(tmp_path):
    whole = open_split(scenes(tmp_path), "train")
    held_out = []
    for number in range(4):
        spec = scenes(tmp_path, f"data.fold={number}", "data.folds=4")
        train, val = open_split(spec, "train"), open_split(spec, "val")
        assert set(train.image_ids) | set(val.image_ids) == set(whole.image_ids)
        assert not set(train.image_ids) & set(val.image_ids)
        assert len(train.boxes_N4) + len(val.boxes_N4) == len(whole.boxes_N4)
        held_out += val.image_ids.tolist()
    assert sorted(held_out) == sorted(whole.image_ids.tolist())


def test_no_seed_moves_a_picture_to_another_fold(tmp_path):
    first, second = (open_split(scenes(tmp_path, "data.fold=1", f"seed={seed}"), "val") for seed in (0, 1))
    assert first.image_ids.tolist() == second.image_ids.tolist()


def test_digits_keep_their_names_in_a_fold():
    spec = learn_classes(classifier("data=digits", "data.fold=0"))
    whole = open_split(learn_classes(classifier("data=digits")), "train")
    val = open_split(spec, "val")
    for index in (0, len(val) - 1):
        original = whole.paths.index(val.paths[index])
        assert (whole.pictures.read(original) == val.pictures.read(index)).all()
        assert whole.labels[original] == val.labels[index]


def test_a_data_set_without_a_validation_split_is_enough(tmp_path):
    root = folders(tmp_path, splits=("train",))
    spec = learn_classes(classifier("data=imagefolder", f"data.root={root}", "data.fold=0", "data.folds=2"))
    data = build_data(spec)
    data.setup("fit")
    assert (len(data.records["train"]), len(data.records["val"])) == (2, 2)
    assert sorted(data.records["val"].labels) == [0, 1]


def test_a_fold_that_is_not_there_is_refused():
    with pytest.raises(ConfigError, match=r"data.fold=5: data.folds=5 are numbered from 0. Nearest: 4."):
        effdet_lab.compose("data.fold=5")


def test_more_folds_than_pictures_are_refused(tmp_path):
    spec = learn_classes(detector("data=coco", f"data.root={coco(tmp_path, coco_content())}", "data.fold=0"))
    with pytest.raises(DataError, match=r"data.folds=5: the training split has 2 pictures. Nearest: 2."):
        open_split(spec, "val")
