"""Pictures in class folders, in a flat folder, and as CIFAR-10."""

import pickle
import tarfile

import numpy as np
import pytest
from on_disk import classifier, folders, picture

from effdet_lab.classes import CIFAR10
from effdet_lab.data.cifar10 import read_cifar10
from effdet_lab.data.datamodule import learn_classes, open_split
from effdet_lab.data.digits import handwritten, read_digits
from effdet_lab.data.folder import folder_classes, read_folder
from effdet_lab.errors import DataError


def test_classes_are_sorted_and_pictures_with_them(tmp_path):
    folders(tmp_path, ("bees", "ants"))
    records = read_folder(tmp_path / "train")
    assert records.class_names == folder_classes(tmp_path / "train") == ("ants", "bees")
    assert records.labels.tolist() == [0, 0, 1, 1]
    assert records.paths[2] == str(tmp_path / "train/bees/1.jpg")


def test_files_that_are_no_pictures_and_hidden_folders_are_passed_over(tmp_path):
    folders(tmp_path)
    (tmp_path / "train/ants/imageNotFound.gif").write_bytes(b"GIF")
    (tmp_path / "train/.ipynb_checkpoints").mkdir()
    (tmp_path / "train/README.md").write_text("read me")
    assert len(read_folder(tmp_path / "train")) == 4


def test_pictures_may_lie_deeper(tmp_path):
    picture(tmp_path / "ants/2019/a.JPEG")
    assert read_folder(tmp_path).paths == [str(tmp_path / "ants/2019/a.JPEG")]


def test_an_empty_class_is_refused(tmp_path):
    folders(tmp_path)
    (tmp_path / "train/wasps").mkdir()
    with pytest.raises(DataError, match="no picture for class 'wasps' in it"):
        read_folder(tmp_path / "train")


def test_pictures_without_class_folders_point_to_the_pattern(tmp_path):
    picture(tmp_path / "a.jpg")
    with pytest.raises(DataError, match=r"data\.class_pattern tells the class"):
        read_folder(tmp_path)


def test_a_class_that_training_lacks_asks_what_was_meant(tmp_path):
    folders(tmp_path, splits=("train",))
    folders(tmp_path, ("ants", "bee"), splits=("val",))
    spec = learn_classes(classifier("data=imagefolder", f"data.root={tmp_path}"))
    with pytest.raises(DataError, match=r"val: class 'bee' is not among the 2 known classes. Did you mean bees\?"):
        open_split(spec, "val")


def test_a_pattern_finds_the_class_in_the_name(tmp_path):
    for name in ("n2_dog.jpg", "n1_cat.jpg", "n2_wolf.jpg"):
        picture(tmp_path / name)
    records = read_folder(tmp_path, "^(n[0-9]+)_")
    assert records.class_names == ("n1", "n2")
    assert records.labels.tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    ("pattern", "sentence"),
    [
        ("^(n[0-9", "is no regular expression"),
        ("^n[0-9]+", "has no group"),
        ("^(x)_", "finds no class in this name"),
    ],
)
def test_a_pattern_that_cannot_work_is_refused(tmp_path, pattern, sentence):
    picture(tmp_path / "n2_dog.jpg")
    with pytest.raises(DataError) as caught:
        read_folder(tmp_path, pattern)
    assert f"data.class_pattern={pattern}" in str(caught.value)
    assert sentence in str(caught.value)


def test_every_fifth_digit_is_held_out():
    train, val = read_digits("train"), read_digits("val")
    assert (len(train), len(val)) == (1438, 359)
    assert train.pictures.read(0).shape == (3, 8, 8)
    assert set(val.labels.tolist()) == set(range(10))
    whole = {ink.tobytes() for ink in handwritten("train")[0]}
    assert not any(ink.tobytes() in whole for ink in handwritten("val")[0])


def test_digits_take_the_given_order():
    names = tuple("9876543210")
    assert np.array_equal(read_digits("val", names).labels, 9 - read_digits("val").labels)


def cifar10_archive(root, monkeypatch):
    """An archive of CIFAR-10's form with ten pictures, and torchvision told of its checksums."""
    from torchvision.datasets import CIFAR10 as Official
    from torchvision.datasets.utils import calculate_md5

    folder = root / Official.base_folder
    folder.mkdir()
    random = np.random.default_rng(0)
    batch = {"data": random.integers(0, 256, (10, 3072), dtype=np.uint8), "labels": list(range(10))}
    for name, content in [("data_batch_1", batch), ("test_batch", batch), ("batches.meta", {"label_names": CIFAR10})]:
        (folder / name).write_bytes(pickle.dumps(content))
    sums = {name: calculate_md5(str(folder / name)) for name in ("data_batch_1", "test_batch", "batches.meta")}
    archive = root / Official.filename
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, Official.base_folder)
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    monkeypatch.setattr(Official, "train_list", [["data_batch_1", sums["data_batch_1"]]])
    monkeypatch.setattr(Official, "test_list", [["test_batch", sums["test_batch"]]])
    meta = {"filename": "batches.meta", "key": "label_names", "md5": sums["batches.meta"]}
    monkeypatch.setattr(Official, "meta", meta)
    monkeypatch.setattr(Official, "tgz_md5", calculate_md5(str(archive)))
    return batch["data"]


def test_cifar10_is_unpacked_from_its_archive_without_a_download(tmp_path, monkeypatch):
    data = cifar10_archive(tmp_path, monkeypatch)
    spec = learn_classes(classifier("data=cifar10", f"data.root={tmp_path}"))
    records = open_split(spec, "val")
    assert records.labels.tolist() == list(range(10))
    assert np.array_equal(records.pictures.read(3).numpy(), data[3].reshape(3, 32, 32))
    changed = next(tmp_path.glob("cifar-10-batches-py/test_batch"))
    changed.write_bytes(changed.read_bytes() + b"x")
    with pytest.raises(DataError, match="its files are not CIFAR-10's"):
        open_split(spec, "val")


def test_an_archive_of_cifar10_that_is_broken_is_refused(tmp_path):
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(b"half")
    with pytest.raises(DataError, match="is not CIFAR-10's archive, or only part of it"):
        read_cifar10(tmp_path / "cifar-10-python.tar.gz", "train", CIFAR10)


def test_real_cifar10_folders_have_their_counts(real_data):
    spec = learn_classes(classifier("data=cifar10", f"data.root={real_data / 'cls_cifar10_subset'}"))
    assert spec.data.classes == CIFAR10
    for split, count in (("train", 200), ("val", 50)):
        assert np.bincount(open_split(spec, split).labels).tolist() == [count] * 10


def test_real_ants_and_bees_are_found_one_folder_below(real_data):
    spec = learn_classes(classifier("data=imagefolder", f"data.root={real_data / 'cls_hymenoptera_subset'}"))
    assert spec.data.classes == ("ants", "bees")
    assert np.bincount(open_split(spec, "train").labels).tolist() == [30, 30]


def test_real_dogs_are_told_by_their_names(real_data):
    root = real_data / "cls_imagenet_dogs120"
    records = read_folder(root, "^(n[0-9]+)_")
    assert (len(records), len(records.class_names)) == (120, 120)
