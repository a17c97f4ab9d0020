"""Batches: the same for any number of workers, whole where files are broken, fair where there is memory."""

import logging
import pickle
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from on_disk import classifier, coco, coco_content, detector, folders, picture, voc
from pytorch_lightning import LightningModule, Trainer

from effdet_lab.data.cache import Memory, PictureCache
from effdet_lab.data.datamodule import build_data, learn_classes, open_split, picture_loader
from effdet_lab.data.datasets import EpochSampler, read_whole, readable, seeded, training_set
from effdet_lab.errors import DataError


def ready(spec, stage="fit"):
    data = build_data(learn_classes(spec))
    data.prepare_data()
    data.setup(stage)
    return data


def scenes(tmp_path, *overrides):
    few = "data.train_images=10", "data.val_images=5", "data.batch_size=4"
    return detector("data=digit_scenes", f"data.root={tmp_path}/scenes", *few, *overrides)


def epochs(data, count=2):
    loader = data.train_dataloader()
    for epoch in range(count):
        loader.sampler.set_epoch(epoch)
        yield from loader


def equal(left, right):
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


def test_a_detection_batch_is_padded_and_tells_its_files(tmp_path):
    batch = next(iter(ready(scenes(tmp_path)).val_dataloader()))
    assert batch.images_BCHW.shape == (4, 3, 64, 64)
    assert batch.images_BCHW.dtype == torch.uint8
    assert batch.boxes_BM4.shape[:2] == batch.labels_BM.shape
    assert (batch.boxes_BM4[batch.labels_BM < 0] == 0).all()
    assert batch.file_size_B2.tolist() == [[128, 128]] * 4
    assert batch.scale_B.tolist() == [0.5] * 4
    assert batch.image_id_B.tolist() == [1, 2, 3, 4]


def test_a_batch_without_any_box_has_room_for_none(tmp_path):
    content = coco_content()
    content["annotations"] = content["annotations"][:1]  # a crowd is not trained on
    spec = learn_classes(detector("data=coco", f"data.root={coco(tmp_path, content)}", "task=evaluate", "checkpoint=x"))
    batch = next(iter(ready(spec, "validate").val_dataloader()))
    assert batch.boxes_BM4.shape == (2, 0, 4)
    assert batch.labels_BM.shape == (2, 0)


@pytest.mark.parametrize("cache", ["true", "false"])
def test_training_batches_do_not_depend_on_workers_or_memory(tmp_path, cache):
    overrides = "data.augment.flip=0.5", "data.augment.colour=0.3"
    alone = list(epochs(ready(scenes(tmp_path, *overrides, "data.cache=false"))))
    helped = list(epochs(ready(scenes(tmp_path, *overrides, "data.workers=2", f"data.cache={cache}"))))
    assert len(alone) == len(helped) == 2 * 2  # the incomplete third batch is left out
    assert all(map(equal, alone, helped))
    assert not equal(alone[0], alone[2]), "another epoch is another order and other views"


def test_classification_batches_do_not_depend_on_workers(tmp_path):
    here = "data=imagefolder", f"data.root={folders(tmp_path)}", "data.batch_size=2"
    assert learn_classes(classifier(*here)).data.augment.randaugment_layers == 2
    alone = list(epochs(ready(classifier(*here))))
    helped = list(epochs(ready(classifier(*here, "data.workers=2"))))
    assert all(map(equal, alone, helped))
    other = list(epochs(ready(classifier(*here, "seed=1"))))
    assert not any(map(equal, alone, other))


def test_a_view_depends_on_seed_and_epoch_and_a_key_tells_its_epoch(tmp_path):
    spec = learn_classes(scenes(tmp_path))
    records = open_split(spec, "train")

    def view(seed, epoch):
        return training_set(records, replace(spec, seed=seed), Memory(0))[epoch, 3].image_CHW

    assert torch.equal(view(0, 0), view(0, 0))
    assert not torch.equal(view(0, 0), view(0, 1))
    assert not torch.equal(view(0, 0), view(1, 0))
    sampler = EpochSampler(records, 1, 0, shuffle=True, seed=0)
    sampler.set_epoch(7)
    assert {epoch for epoch, _ in sampler} == {7}


def test_seeded_numbers_leave_the_generator_where_it_was():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    first = torch.rand(1)
    with seeded(1, 2, 3):
        inside = torch.rand(1)
    with seeded(1, 2, 4):
        assert torch.rand(1) != inside
    assert torch.equal(torch.cat([first, torch.rand(1)]), expected)


def test_a_lone_incomplete_batch_is_kept(tmp_path):
    assert len(ready(scenes(tmp_path, "data.batch_size=16")).train_dataloader()) == 1


class Listening(LightningModule):
    """Writes down which pictures each epoch had."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.pixels, self.seen, self.judged = [], [], []

    def training_step(self, batch, _):
        self.seen.append((self.current_epoch, batch.image_id_B.tolist()))
        self.pixels.append(batch.images_BCHW.float().mean().item())
        return self.weight * 0

    def validation_step(self, batch, _):
        self.judged += batch.image_id_B.tolist()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


@pytest.mark.parametrize("workers", [0, 2])
def test_lightning_tells_the_sampler_its_epoch(tmp_path, workers):
    spec = scenes(tmp_path, f"data.workers={workers}")
    task = Listening()
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = Trainer(max_epochs=2, accelerator="cpu", num_sanity_val_steps=0, default_root_dir=tmp_path, **quiet)
    trainer.fit(task, datamodule=ready(spec))
    expected = [batch.image_id_B.tolist() for batch in epochs(ready(spec))]
    assert [ids for _, ids in task.seen] == expected
    assert task.pixels == [batch.images_BCHW.float().mean().item() for batch in epochs(ready(spec))]
    assert task.judged == [1, 2, 3, 4, 5] * 2


def test_ranks_share_an_epoch_without_repeating_pictures(tmp_path):
    records = open_split(learn_classes(scenes(tmp_path)), "train")
    shares = [list(EpochSampler(records, 2, rank, shuffle=True, seed=0)) for rank in (0, 1)]
    assert sorted(index for share in shares for _, index in share) == list(range(10))


def test_a_batch_is_divided_among_processes(tmp_path):
    data = ready(scenes(tmp_path, "trainer.processes=2"))
    assert data.val_dataloader().batch_size == 2


def broken(tmp_path):
    folders(tmp_path)
    (tmp_path / "train/ants/1.jpg").write_bytes(b"no picture")
    path = picture(tmp_path / "val/bees/1.jpg", (300, 300))
    path.write_bytes(path.read_bytes()[:-3000])
    return tmp_path


def test_broken_pictures_of_all_splits_are_refused_together(tmp_path):
    with pytest.raises(DataError) as caught:
        ready(classifier("data=imagefolder", f"data.root={broken(tmp_path)}"))
    said = str(caught.value)
    assert "train/ants/1.jpg: not a picture" in said
    assert "val/bees/1.jpg: cannot be read" in said
    assert said.count("data.on_error=skip leaves such pictures out.") == 1


def test_broken_pictures_can_be_skipped_and_are_named(tmp_path, caplog):
    spec = classifier("data=imagefolder", f"data.root={broken(tmp_path)}", "data.on_error=skip")
    with caplog.at_level(logging.WARNING, "effdet_lab"):
        data = ready(spec)
    assert "1 of 4 pictures are left out" in caplog.text
    assert "train/ants/1.jpg" in caplog.text
    assert [len(data.records[split]) for split in ("train", "val")] == [3, 3]
    assert data.records["val"].labels.tolist() == [0, 0, 1]
    assert next(iter(data.val_dataloader())).image_id_B.tolist() == [0, 1, 2]


def test_a_picture_of_another_size_than_its_annotations_is_refused(tmp_path):
    coco(tmp_path)
    picture(tmp_path / "val/b.jpg", (60, 40))
    with pytest.raises(DataError, match=r"b\.jpg: is 40x60 as it is shown, but annotated as 60x40"):
        ready(detector("data=coco", f"data.root={tmp_path}"))


def test_nothing_left_is_refused_even_when_skipping(tmp_path):
    coco(tmp_path)
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / "train" / name).unlink()
    with pytest.raises(DataError, match="Not one picture can be used"):
        ready(detector("data=coco", f"data.root={tmp_path}", "data.on_error=skip"))


def test_training_without_a_single_box_is_refused(tmp_path):
    content = coco_content()
    content["annotations"] = content["annotations"][:1]
    with pytest.raises(DataError, match="not one box to train on in 2 pictures"):
        ready(detector("data=coco", f"data.root={coco(tmp_path, content)}"))


def test_pictures_in_both_splits_are_spoken_of(tmp_path, caplog):
    voc(tmp_path)
    (tmp_path / "ImageSets/Main/val.txt").write_text("train_1\nval_1\n")
    with caplog.at_level(logging.WARNING, "effdet_lab"):
        ready(detector("data=voc", f"data.root={tmp_path}"))
    assert "1 pictures are in both splits" in caplog.text


def test_a_picture_that_breaks_later_is_replaced_by_the_next_when_skipping():
    def read(index):
        if index != 1:
            raise DataError(f"{index}: broken")
        return index

    assert readable(read, 2, 4, skip=True) == (1, 1)
    with pytest.raises(DataError, match="2: broken"):
        readable(read, 2, 4, skip=False)
    with pytest.raises(DataError, match="None of the pictures"):
        readable(read, 0, 1, skip=True)


def test_memory_reads_each_picture_once_and_stops_where_it_is_full(tmp_path, caplog):
    records = open_split(learn_classes(scenes(tmp_path)), "train")
    asked = []

    def read(index):
        asked.append(index)
        return read_whole(records.pictures, index)

    room = 3 * 128 * 128 * 6
    with caplog.at_level(logging.WARNING, "effdet_lab"):
        cache = PictureCache(read, records.sizes_I2, records.sizes_I2, room + 5)
    assert "6 of 10 pictures fit" in caplog.text
    for _ in range(2):
        for index in range(10):
            assert equal([cache(index).image_CHW], [records.pictures.read(index)])
            assert cache(index).file_size == (128, 128)
    assert [asked.count(index) for index in range(10)] == [1] * 6 + [4] * 4


def test_memory_survives_a_journey_to_another_process_empty(tmp_path):
    records = open_split(learn_classes(scenes(tmp_path)), "train")
    cache = PictureCache(partial(read_whole, records.pictures), records.sizes_I2, records.sizes_I2, 10**9)
    cache(0)
    other = pickle.loads(pickle.dumps(cache))
    assert other.filled_I.sum() == 0
    assert equal([other(3).image_CHW], [cache(3).image_CHW])


def test_workers_fill_one_memory(tmp_path):
    data = ready(scenes(tmp_path, "data.workers=2"))
    loader = data.train_dataloader()
    list(loader)
    assert loader.dataset.read.filled_I.sum() == 8  # two batches of four


def test_records_hold_no_object_for_a_picture(tmp_path):
    """What workers share must not be touched by counting references: arrays, not lists."""
    data = training_set(open_split(learn_classes(scenes(tmp_path)), "train"), scenes(tmp_path), Memory(0))
    values = [*vars(data.records).values(), data.records.pictures.names_I]
    assert all(isinstance(value, np.ndarray) or len(value) <= 10 for value in values if hasattr(value, "__len__"))


def test_plain_pictures_are_loaded_for_both_kinds_of_model(tmp_path):
    paths = [picture(tmp_path / f"{i}.jpg", (40 + i, 60)) for i in range(3)]
    for spec in (detector("data=digit_scenes", "data.batch_size=2"), classifier("data=digits", "data.batch_size=2")):
        records, loader = picture_loader(paths, spec)
        batches = list(loader)
        assert records.paths == [str(path) for path in paths]
        assert torch.cat([batch.image_id_B for batch in batches]).tolist() == [0, 1, 2]
    assert (batches[0].labels_B == -1).all()


def test_plain_pictures_that_are_broken_are_refused_together(tmp_path):
    paths = [picture(tmp_path / "a.jpg"), tmp_path / "gone.jpg", tmp_path / "empty.jpg"]
    paths[2].touch()
    with pytest.raises(DataError) as caught:
        picture_loader(paths, detector("data=digit_scenes"))
    assert "gone.jpg: no such file" in str(caught.value)
    assert "empty.jpg: the file is empty" in str(caught.value)
    records, loader = picture_loader(paths, detector("data=digit_scenes", "data.on_error=skip"))
    assert (len(records), len(list(loader))) == (1, 1)


def test_real_photographs_letterbox_with_their_crowd_left_out(real_data):
    root = real_data / "det_coco_val2017_six"
    spec = learn_classes(detector("phi=0", "data=coco", f"data.root={root}", "task=evaluate", "checkpoint=x"))
    assert (spec.data.num_classes, spec.data.category_ids) == (90, tuple(range(1, 91)))
    batch = next(iter(ready(spec, "validate").val_dataloader()))
    assert int((batch.labels_BM >= 0).sum()) == 35
    empty = batch.image_id_B.tolist().index(89)
    assert (batch.labels_BM[empty] == -1).all()
