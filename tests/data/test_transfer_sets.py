"""The data sets that EfficientNet was transferred to: every release's layout, small, through the door that runs use."""

import csv
import json
import pickle
import shutil
import subprocess
import sys
import tarfile
import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from on_disk import classifier, folders, picture

from effdet_lab.classes import TRANSFER_CLASSES
from effdet_lab.data.datamodule import ClassificationData, build_data, learn_classes, open_split
from effdet_lab.data.epochs import long_enough, steps_per_epoch
from effdet_lab.data.opening import count_pictures
from effdet_lab.data.places import Split, locate
from effdet_lab.data.releases import RELEASES
from effdet_lab.data.splits import ClassificationRecords
from effdet_lab.errors import DataError
from effdet_lab.spec import ClassifierSpec, EfficientNetSpec, ExperimentSpec, from_dict, to_dict

# What the small release below has: names of its classes, and the labels of its splits.
Contents = tuple[tuple[str, ...], list[int], list[int]]


def cifar100(root: Path, monkeypatch) -> Contents:
    """Twenty pictures, and torchvision told of their checksums."""
    from torchvision.datasets import CIFAR100
    from torchvision.datasets.utils import calculate_md5

    folder = root / "cifar-100-python"
    folder.mkdir(parents=True)
    names = tuple(f"fine {number}" for number in range(100))
    labels = {"train": [5, 99, 0], "test": [99, 5]}
    random = np.random.default_rng(0)
    contents: dict[str, dict] = {"meta": {"fine_label_names": list(names), "coarse_label_names": ["any"]}}
    for split, fine in labels.items():
        data = random.integers(0, 256, (len(fine), 3072), dtype=np.uint8)
        contents[split] = {"data": data, "fine_labels": fine, "coarse_labels": [0] * len(fine)}
    sums = {}
    for name, content in contents.items():
        (folder / name).write_bytes(pickle.dumps(content))
        sums[name] = calculate_md5(str(folder / name))
    monkeypatch.setattr(CIFAR100, "train_list", [["train", sums["train"]]])
    monkeypatch.setattr(CIFAR100, "test_list", [["test", sums["test"]]])
    monkeypatch.setattr(CIFAR100, "meta", {"filename": "meta", "key": "fine_label_names", "md5": sums["meta"]})
    return names, labels["train"], labels["test"]


def birdsnap(root: Path, monkeypatch) -> Contents:
    """Three species, of which the second has an apostrophe; ids out of order, as a list may have them."""
    folder = root / "birdsnap"
    species = [(2, "Cooper's Hawk", "Coopers_Hawk"), (1, "Blue Jay", "Blue_Jay"), (3, "Brant", "Brant")]
    images = [("Coopers_Hawk/7.jpg", 2), ("Blue_Jay/1.jpg", 1), ("Brant/4.jpg", 3), ("Blue_Jay/2.jpg", 1)]
    for path, _ in images:
        picture(folder / "download" / "images" / path)
    _table(folder / "species.txt", ["id", "common", "scientific", "dir"], [(i, c, "Aves", d) for i, c, d in species])
    rows = [("http://x", "0" * 32, path, number, 1, 2, 3, 4) for path, number in images]
    _table(folder / "images.txt", ["url", "md5", "path", "species_id", "bb_x1", "bb_y1", "bb_x2", "bb_y2"], rows)
    _table(folder / "test_images.txt", ["path"], [("Blue_Jay/1.jpg",)])
    return ("Blue Jay", "Cooper's Hawk", "Brant"), [1, 2, 0], [0]


def _table(path: Path, header: list[str], rows: list[tuple]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerows([header, *rows])


def stanford_cars(root: Path, monkeypatch) -> Contents:
    """Annotations and class names as MATLAB keeps them, from 1."""
    from scipy.io import savemat

    folder = root / "stanford_cars"
    (folder / "devkit").mkdir(parents=True)
    names = ("AM General Hummer SUV 2000", "Acura RL Sedan 2012", "Acura TL Sedan 2012")
    cell = np.empty(len(names), dtype=object)
    cell[:] = names
    savemat(folder / "devkit" / "cars_meta.mat", {"class_names": cell})
    labels = {"train": [2, 0, 1], "test": [1, 2]}
    places = {"train": "devkit/cars_train_annos.mat", "test": "cars_test_annos_withlabels.mat"}
    kinds = [(name, object) for name in ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname")]
    for split, chosen in labels.items():
        files = [f"{number:05d}.jpg" for number in range(1, len(chosen) + 1)]
        rows = [(1, 2, 3, 4, label + 1, file) for label, file in zip(chosen, files, strict=True)]
        savemat(folder / places[split], {"annotations": np.array(rows, dtype=kinds)})
        for file in files:
            picture(folder / f"cars_{split}" / file)
    return names, labels["train"], labels["test"]


def flowers102(root: Path, monkeypatch) -> Contents:
    """Six pictures: two train, one validates and trains too, three test. torchvision is told of the checksums."""
    from scipy.io import savemat
    from torchvision.datasets import Flowers102
    from torchvision.datasets.utils import calculate_md5

    folder = root / "flowers-102"
    for number in range(1, 7):
        picture(folder / "jpg" / f"image_{number:05d}.jpg")
    savemat(folder / "imagelabels.mat", {"labels": np.array([[77, 1, 102, 5, 5, 1]], dtype=np.uint8)})
    parts = {"trnid": np.array([[6, 1]]), "valid": np.array([[3, 2]]), "tstid": np.array([[4, 5]])}
    savemat(folder / "setid.mat", parts)
    files = {"image": ("102flowers.tgz", ""), "label": ("imagelabels.mat", ""), "setid": ("setid.mat", "")}
    sums = {
        key: (name, calculate_md5(str(folder / name)) if (folder / name).exists() else "")
        for key, (name, _) in files.items()
    }
    monkeypatch.setattr(Flowers102, "_file_dict", sums)
    return tuple(Flowers102.classes), [0, 76, 101, 0], [4, 4]


def fgvc_aircraft(root: Path, monkeypatch) -> Contents:
    """Variants, families and manufacturers; the first are the classes."""
    data = root / "fgvc-aircraft-2013b" / "data"
    names = ("707-320", "737-200", "A300B4")
    splits = {"train": ["0034309"], "val": ["0034958"], "trainval": ["0034309", "0034958"], "test": ["0037511"]}
    variant = {"0034309": "A300B4", "0034958": "707-320", "0037511": "737-200"}
    for number in variant:
        picture(data / "images" / f"{number}.jpg")
    (data / "variants.txt").write_text("".join(f"{name}\n" for name in names))
    (data / "families.txt").write_text("Boeing 737\n")
    for split, numbers in splits.items():
        lines = [f"{number} {variant[number]}\n" for number in numbers]
        (data / f"images_variant_{split}.txt").write_text("".join(lines))
        (data / f"images_family_{split}.txt").write_text("".join(f"{number} Boeing 737\n" for number in numbers))
    return names, [2, 0], [1]


def oxford_pets(root: Path, monkeypatch) -> Contents:
    """Breeds whose names tell the species by their first letter, as the release has them."""
    folder = root / "oxford-iiit-pet"
    lists = {
        "trainval": [("Abyssinian_100", 1, 1, 1), ("american_bulldog_9", 2, 2, 1), ("Abyssinian_7", 1, 1, 1)],
        "test": [("american_bulldog_1", 2, 2, 1), ("Abyssinian_1", 1, 1, 1)],
    }
    (folder / "annotations").mkdir(parents=True)
    for split, rows in lists.items():
        lines = [" ".join(map(str, row)) + "\n" for row in rows]
        (folder / "annotations" / f"{split}.txt").write_text("".join(lines))
        for name, *_ in rows:
            picture(folder / "images" / f"{name}.jpg")
    return ("Abyssinian", "American Bulldog"), [0, 1, 0], [1, 0]


def food101(root: Path, monkeypatch) -> Contents:
    """Two dishes; the lists tell the split."""
    folder = root / "food-101"
    meta = {
        "train": {"baklava": ["baklava/1", "baklava/2"], "apple_pie": ["apple_pie/3"]},
        "test": {"baklava": ["baklava/4"], "apple_pie": ["apple_pie/5"]},
    }
    (folder / "meta").mkdir(parents=True)
    for split, paths in meta.items():
        (folder / "meta" / f"{split}.json").write_text(json.dumps(paths))
        for path in (path for of_class in paths.values() for path in of_class):
            picture(folder / "images" / f"{path}.jpg")
    return ("apple_pie", "baklava"), [1, 1, 0], [1, 0]


WRITERS: dict[str, Callable[..., Contents]] = {
    write.__name__: write
    for write in (cifar100, birdsnap, stanford_cars, flowers102, fgvc_aircraft, oxford_pets, food101)
}
CANNOT_BE_FETCHED = {"birdsnap", "stanford_cars"}


def opened(spec: ExperimentSpec, split: Split) -> ClassificationRecords:
    records = open_split(spec, split)
    assert isinstance(records, ClassificationRecords)
    return records


def experiment(name: str, root: Path, *overrides: str) -> ExperimentSpec:
    return classifier(f"data={name}", f"data.root={root}", "model.image_size=32", *overrides)


def test_every_data_set_of_the_table_has_a_release_and_a_number_of_classes():
    assert set(WRITERS) == set(RELEASES) == set(TRANSFER_CLASSES)
    assert {name for name, release in RELEASES.items() if not release.fetched} == CANNOT_BE_FETCHED
    for name, count in TRANSFER_CLASSES.items():
        assert classifier(f"data={name}").data.num_classes == count


@pytest.mark.parametrize("name", WRITERS)
def test_a_release_gives_its_classes_its_labels_and_its_splits(name, tmp_path, monkeypatch):
    names, train, test = WRITERS[name](tmp_path, monkeypatch)
    spec = learn_classes(experiment(name, tmp_path))
    assert spec.data.classes == names
    data = build_data(spec)
    assert isinstance(data, ClassificationData)
    data.prepare_data()
    data.setup("fit")
    assert data.records["train"].labels.tolist() == train
    assert data.records["val"].labels.tolist() == test
    images_BCHW, labels_B, _ = next(iter(data.val_dataloader()))
    assert tuple(images_BCHW.shape) == (len(test), 3, 32, 32)
    assert labels_B.tolist() == test
    assert all(Path(path).is_file() for path in data.records["train"].paths) or name == "cifar100"
    assert not {*data.records["train"].paths} & {*data.records["val"].paths}
    assert from_dict(to_dict(spec)) == spec


@pytest.mark.parametrize("name", WRITERS)
def test_the_root_may_be_the_release_s_own_folder(name, tmp_path, monkeypatch):
    names, train, _ = WRITERS[name](tmp_path, monkeypatch)
    spec = learn_classes(experiment(name, tmp_path / RELEASES[name].folder))
    assert spec.data.classes == names
    assert opened(spec, "train").labels.tolist() == train


@pytest.mark.parametrize("name", WRITERS)
def test_pictures_in_class_folders_do_as_well(name, tmp_path):
    folders(tmp_path, splits=("train", "test"))
    spec = learn_classes(experiment(name, tmp_path))
    assert spec.data.classes == ("ants", "bees")
    assert opened(spec, "val").labels.tolist() == [0, 0, 1, 1]


def test_a_given_order_of_classes_is_kept(tmp_path, monkeypatch):
    food101(tmp_path, monkeypatch)
    spec = learn_classes(experiment("food101", tmp_path, "data.classes=[baklava,cannoli,apple_pie]"))
    assert opened(spec, "train").labels.tolist() == [0, 0, 2]
    with pytest.raises(DataError, match="class 'apple_pie' is not among the 1 known classes"):
        learn_classes(experiment("food101", tmp_path, "data.classes=[baklava]"))


def test_a_file_lacks_for_one_split_and_the_other_can_be_evaluated(tmp_path, monkeypatch):
    food101(tmp_path, monkeypatch)
    (tmp_path / "food-101/meta/train.json").unlink()
    spec = experiment("food101", tmp_path)
    assert set(locate(spec.data, ("val",))) == {"val"}
    with pytest.raises(
        DataError, match=r"no meta/train\.json in .*food-101, which Food-101 has\. It holds images, meta"
    ):
        locate(spec.data)


@pytest.mark.parametrize("name", WRITERS)
def test_a_release_that_is_not_there_tells_what_is_and_whether_it_can_be_fetched(name, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(DataError) as caught:
        locate(experiment(name, tmp_path).data)
    said = str(caught.value)
    assert said.count("data.root=") == 1
    assert f"no {RELEASES[name].folder} in it, as {RELEASES[name].title} is released" in said
    assert "It holds elsewhere." in said
    assert ("data.download=true fetches it" in said) == (name not in CANNOT_BE_FETCHED)


def test_cars_cannot_be_fetched_even_when_asked(tmp_path):
    with pytest.raises(DataError, match=r"Its official address is gone, so data\.download cannot fetch it"):
        locate(experiment("stanford_cars", tmp_path, "data.download=true").data)
    with pytest.raises(DataError, match="no such folder"):
        locate(experiment("stanford_cars", tmp_path / "cars", "data.download=true").data)


def test_a_missing_release_is_refused_before_torch_comes_in(tmp_path):
    code = f"""
        import sys
        import effdet_lab
        from effdet_lab.data.places import Split, locate
        from effdet_lab.errors import DataError
        spec = effdet_lab.compose("model=efficientnet", "logger=csv", "data=oxford_pets", "data.root={tmp_path}")
        try:
            locate(spec.data)
        except DataError:
            assert not {{"torch", "PIL", "scipy"}} & set(sys.modules), "something heavy came in"
            sys.exit(7)
    """
    assert subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False).returncode == 7


class Nowhere(OSError):
    """Nobody reads the network in a test."""


@pytest.mark.parametrize("name", sorted(set(WRITERS) - CANNOT_BE_FETCHED))
def test_only_who_is_asked_fetches(name, tmp_path, monkeypatch):
    from torchvision.datasets import utils

    asked = []

    def urlopen(request, *arguments, **settings):
        asked.append(request.full_url)
        raise Nowhere("no network here")

    monkeypatch.setattr(utils.urllib.request, "urlopen", urlopen)
    with pytest.raises(DataError, match=r"as .* is released"):
        learn_classes(experiment(name, tmp_path))
    assert not asked
    with pytest.raises(DataError, match=rf"{RELEASES[name].title} could not be fetched \(.*no network here"):
        learn_classes(experiment(name, tmp_path / "new", "data.download=true"))
    assert asked


@pytest.mark.parametrize("name", WRITERS)
def test_what_is_there_is_not_fetched_again(name, tmp_path, monkeypatch):
    names, *_ = WRITERS[name](tmp_path, monkeypatch)
    monkeypatch.setattr("urllib.request.urlopen", None)
    spec = learn_classes(experiment(name, tmp_path, "data.download=true"))
    build_data(spec).prepare_data()
    assert spec.data.classes == names


def test_an_archive_that_is_broken_is_refused_with_the_reason(tmp_path):
    (tmp_path / "fgvc-aircraft-2013b.tar.gz").write_bytes(b"half")
    with pytest.raises(DataError, match=r"FGVC Aircraft could not be fetched \(.*gzip"):
        learn_classes(experiment("fgvc_aircraft", tmp_path, "data.download=true"))


def test_an_archive_that_lies_there_is_unpacked_when_asked_without_the_network(tmp_path, monkeypatch):
    names, train, _ = fgvc_aircraft(tmp_path, monkeypatch)
    folder = tmp_path / "fgvc-aircraft-2013b"
    with tarfile.open(tmp_path / "fgvc-aircraft-2013b.tar.gz", "w:gz") as tar:
        tar.add(folder, folder.name)
    shutil.rmtree(folder)
    monkeypatch.setattr("urllib.request.urlopen", None)
    spec = learn_classes(experiment("fgvc_aircraft", tmp_path, "data.download=true"))
    assert spec.data.classes == names
    assert opened(spec, "train").labels.tolist() == train


BROKEN: dict[str, tuple[str, bytes]] = {
    "cifar100": ("cifar-100-python/test", b"not a pickle"),
    "birdsnap": ("birdsnap/species.txt", b"number\tname\n1\tJay\n"),
    "stanford_cars": ("stanford_cars/devkit/cars_meta.mat", b"not a mat file"),
    "flowers102": ("flowers-102/setid.mat", b"not a mat file"),
    "fgvc_aircraft": ("fgvc-aircraft-2013b/data/images_variant_test.txt", b"0037511 Concorde\n"),
    "oxford_pets": ("oxford-iiit-pet/annotations/test.txt", b"only two\n"),
    "food101": ("food-101/meta/test.json", b"{"),
}


@pytest.mark.parametrize("name", WRITERS)
def test_files_that_are_not_the_release_s_are_refused_with_the_reason(name, tmp_path, monkeypatch):
    names, *_ = WRITERS[name](tmp_path, monkeypatch)
    file, content = BROKEN[name]
    (tmp_path / file).write_bytes(content)
    spec = experiment(name, tmp_path, f"data.classes={json.dumps(names)}")
    with pytest.raises(DataError, match=rf"is not {RELEASES[name].title} as it is released \(\w+"):
        open_split(spec, "val")


def test_labels_without_a_name_are_refused(tmp_path, monkeypatch):
    oxford_pets(tmp_path, monkeypatch)
    (tmp_path / "oxford-iiit-pet/annotations/test.txt").write_text("Abyssinian_1 1 1 1\nbeagle_2 5 2 1\n")
    spec = learn_classes(experiment("oxford_pets", tmp_path))
    with pytest.raises(DataError, match="labels run from 1 to 5, but 2 classes have names"):
        open_split(spec, "val")


def test_an_empty_list_is_refused(tmp_path, monkeypatch):
    birdsnap(tmp_path, monkeypatch)
    (tmp_path / "birdsnap/test_images.txt").write_text("path\n")
    spec = learn_classes(experiment("birdsnap", tmp_path))
    with pytest.raises(DataError, match="lists no picture of the val split, which Birdsnap has"):
        open_split(spec, "val")


@pytest.mark.parametrize("folder", ["download/images", "images", ""])
def test_birdsnap_s_pictures_may_lie_elsewhere_below_its_folder(folder, tmp_path, monkeypatch):
    birdsnap(tmp_path, monkeypatch)
    own = tmp_path / "birdsnap"
    (own / "download/images").rename(tmp_path / "moved")
    for path in (tmp_path / "moved").iterdir():
        (own / folder).mkdir(exist_ok=True, parents=True)
        path.rename(own / folder / path.name)
    (own / "download").rmdir() if folder != "download/images" else None
    records = opened(learn_classes(experiment("birdsnap", tmp_path)), "train")
    assert records.paths[0] == str(own / folder / "Coopers_Hawk/7.jpg")


def test_birds_that_nobody_can_fetch_any_more_are_left_out_only_when_asked(tmp_path, monkeypatch):
    birdsnap(tmp_path, monkeypatch)
    (tmp_path / "birdsnap/download/images/Brant/4.jpg").unlink()
    with pytest.raises(DataError, match=r"4\.jpg: no such file[\s\S]*data.on_error=skip leaves such pictures out"):
        opened(learn_classes(experiment("birdsnap", tmp_path)), "train")
    spec = learn_classes(experiment("birdsnap", tmp_path, "data.on_error=skip"))
    assert opened(spec, "train").labels.tolist() == [1, 0]
    assert count_pictures(spec, "train") == 2


@pytest.mark.parametrize("overrides", [(), ("data.fold=1", "data.folds=2")])
def test_pictures_are_counted_as_they_will_be_opened(overrides, tmp_path, monkeypatch):
    flowers102(tmp_path, monkeypatch)
    spec = learn_classes(experiment("flowers102", tmp_path, *overrides))
    for split in ("train", "val"):
        assert count_pictures(spec, split) == len(open_split(spec, split))


@pytest.mark.parametrize(
    ("pictures", "settings", "steps"),
    [
        (2040, ("data.batch_size=512",), 3),
        (2040, ("data.batch_size=512", "trainer.accumulate=2"), 2),
        (2041, ("data.batch_size=512", "trainer.processes=2"), 3),
        (300, ("data.batch_size=512",), 1),
        (512, ("data.batch_size=512",), 1),
    ],
)
def test_steps_are_counted_as_the_loader_gives_batches(pictures, settings, steps, tmp_path):
    assert steps_per_epoch(classifier(*settings), pictures) == steps


def test_the_loader_gives_the_steps_that_were_counted(tmp_path):
    folders(tmp_path, splits=("train", "test"))
    for batch_size in (1, 2, 3, 4, 8):
        spec = learn_classes(experiment("food101", tmp_path, f"data.batch_size={batch_size}"))
        data = build_data(spec)
        data.setup("fit")
        assert steps_per_epoch(spec, 4) == len(data.train_dataloader()), batch_size


def test_epochs_grow_until_there_are_enough_steps_and_evaluations_stay_as_many():
    spec = classifier("experiment=transfer", "data=flowers102", "phi=0")
    grown = long_enough(spec, 2040)
    assert grown.trainer.max_epochs == 3334  # 3 steps of 512 pictures: the first whole epoch after 10,000
    assert grown.trainer.max_epochs // grown.trainer.evaluate_every == 15
    assert long_enough(grown, 2040) == grown
    assert long_enough(spec, 10_000_000) == spec
    assert long_enough(classifier("data=flowers102"), 1) == classifier("data=flowers102")


def test_the_transfer_recipe_is_the_official_code_s():
    spec = classifier("experiment=transfer", "data=stanford_cars", "phi=3")
    optim, model = spec.optim, spec.model
    assert isinstance(model, ClassifierSpec)
    backbone = model.backbone
    assert isinstance(backbone, EfficientNetSpec)
    assert (optim.name, optim.schedule, optim.warmup_epochs) == ("rmsproptf", "constant", 1.0)
    assert optim.learning_rate == pytest.approx(0.0005 * 512 / 256)
    assert (optim.ema_decay, optim.weight_decay, spec.data.batch_size) == (0.9996, 1e-5, 512)
    assert (model.label_smoothing, model.dropout, backbone.drop_path) == (0.1, 0.0, 0.2)
    assert (spec.trainer.max_epochs, spec.trainer.min_steps) == (15, 10_000)
    assert model.input.image_size == (300, 300)


def test_a_run_is_as_long_as_its_steps_ask_for_and_a_resumed_one_sees_the_same(tmp_path, monkeypatch):
    from effdet_lab.run.app import prepare
    from effdet_lab.run.folder import read_spec, write_spec

    food101(tmp_path, monkeypatch)
    small = ("data.batch_size=2", "trainer.max_epochs=1", "trainer.min_steps=5", "optim=adamw_cosine")
    spec = prepare(experiment("food101", tmp_path, *small))
    assert (spec.trainer.max_epochs, spec.trainer.evaluate_every) == (5, 5)
    write_spec(tmp_path / "run", spec)
    assert prepare(read_spec(tmp_path / "run")) == spec


def test_a_run_trains_as_many_steps_and_its_schedule_ends_with_them(tmp_path, monkeypatch):
    from effdet_lab.run.job import run_job
    from effdet_lab.run.record import read_table

    food101(tmp_path, monkeypatch)
    small = ("data.batch_size=2", "trainer.max_epochs=1", "trainer.min_steps=5", "optim=adamw_cosine")
    spec = experiment("food101", tmp_path, *small, "optim.warmup_epochs=0", "logger.images=0")
    run_job(spec, tmp_path / "run")
    rows = read_table(tmp_path / "run" / "metrics.csv")
    assert [row["step"] for row in rows] == ["1", "2", "3", "4", "5"]
    assert ["val/top1" in row for row in rows] == [False, False, False, False, True]
    cosine = [(1 + np.cos(np.pi * step / 5)) / 2 * spec.optim.learning_rate for step in range(5)]
    assert [float(row["train/learning_rate"]) for row in rows] == pytest.approx(cosine, rel=1e-4)
    assert "epoch 5/5" in (tmp_path / "run" / "log.txt").read_text()
