"""The metric that is fed batch by batch says what one evaluation over everything says."""

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from effdet_lab.metrics.coco import CocoMeanAP
from effdet_lab.metrics.evaluators import evaluate
from effdet_lab.metrics.ground_truth import DetectionArrays, GroundTruth
from effdet_lab.records import Detections


def batch_of(detections: DetectionArrays, image_ids: np.ndarray) -> tuple[Detections, torch.Tensor]:
    """What a detector would say about these pictures, in the order the loader brings them."""
    rows = np.concatenate([np.flatnonzero(detections.image_ids_D == image_id) for image_id in image_ids])
    image_ids_D, boxes_D4, scores_D, labels_D = (torch.as_tensor(column[rows]) for column in detections)
    return Detections(image_ids_D, boxes_D4.float(), scores_D.float(), labels_D), torch.as_tensor(image_ids)


def feed(metric: CocoMeanAP, detections: DetectionArrays, image_ids: np.ndarray, size: int) -> None:
    for start in range(0, len(image_ids), size):
        metric.update(*batch_of(detections, image_ids[start : start + size]))


def test_batches_say_what_one_evaluation_says(scene):
    truth, detections = scene(5)
    metric = CocoMeanAP(truth)
    feed(metric, detections, truth.image_ids_I, size=5)
    assert metric.compute() == evaluate(truth, *detections)


def test_pictures_seen_twice_count_once(scene):
    truth, detections = scene(6)
    metric = CocoMeanAP(truth)
    feed(metric, detections, np.concatenate([truth.image_ids_I, truth.image_ids_I[:7]]), size=4)
    assert metric.compute() == evaluate(truth, *detections)
    assert len(metric.detections().scores_D) == len(detections.scores_D)


def test_pictures_where_nothing_was_found_count_as_missed(scene):
    truth, detections = scene(5)
    silent = DetectionArrays(*(column[:0] for column in detections))
    metric = CocoMeanAP(truth)
    feed(metric, silent, truth.image_ids_I, size=5)
    assert metric.compute()["map"] == 0


def test_a_validation_cut_short_is_judged_by_the_pictures_it_saw(scene):
    truth, detections = scene(5)
    seen = truth.image_ids_I[:6]
    metric = CocoMeanAP(truth)
    feed(metric, detections, seen, size=2)
    kept = np.isin(detections.image_ids_D, seen)
    assert metric.compute() == evaluate(truth.only(seen), *(column[kept] for column in detections))


def test_detections_come_out_merged_in_the_order_of_ids(scene):
    truth, detections = scene(7)
    metric = CocoMeanAP(truth)
    feed(metric, detections, truth.image_ids_I, size=3)
    metric.compute()
    merged = metric.detections()
    order = np.argsort(detections.image_ids_D, kind="stable")
    assert np.array_equal(merged.image_ids_D, detections.image_ids_D[order])
    assert np.array_equal(merged.boxes_D4, detections.boxes_D4[order])
    assert np.array_equal(merged.labels_D, detections.labels_D[order])


def test_reset_forgets_everything(scene):
    truth, detections = scene(5)
    metric = CocoMeanAP(truth)
    for _ in range(3):
        feed(metric, detections, truth.image_ids_I[:6], size=2)
        metric.compute()
        metric.reset()
        assert not any(metric.metric_state.values())
        with pytest.raises(AssertionError, match="compute"):
            metric.detections()
    feed(metric, detections, truth.image_ids_I, size=4)
    assert metric.compute() == evaluate(truth, *detections)


def test_detections_on_a_picture_not_named_are_our_mistake(scene):
    truth, detections = scene(5)
    metric = CocoMeanAP(truth)
    batch, _ = batch_of(detections, truth.image_ids_I)
    metric.update(batch, torch.as_tensor(truth.image_ids_I[-1:]))
    with pytest.raises(AssertionError, match="image_id_B"):
        metric.compute()


def one_rank(rank: int, world: int, folder: str, truth: GroundTruth, detections: DetectionArrays) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=world)
    # A distributed sampler's shards, padded at the end with the first pictures so that all are equally long.
    padding = -len(truth.image_ids_I) % world
    padded = np.concatenate([truth.image_ids_I, truth.image_ids_I[:padding]])
    metric = CocoMeanAP(truth)
    feed(metric, detections, padded[rank::world], size=8 + rank)
    numbers = metric.compute()
    metric.reset()
    # Uneven shards: the last process sees one picture, the first all of them.
    feed(metric, detections, truth.image_ids_I[:1] if rank else truth.image_ids_I, size=16)
    uneven = metric.compute()
    metric.truth = "broken" if rank == 0 else truth  # the first process fails; none may wait for it in vain
    metric._computed = None
    with pytest.raises(AttributeError, match="only"):
        metric.compute()
    torch.save((numbers, uneven, len(metric.detections().scores_D)), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize("world", [2, 3])
def test_several_processes_say_what_one_says(scene, tmp_path, world):
    truth, detections = scene(101, num_images=101)
    mp.spawn(one_rank, args=(world, str(tmp_path), truth, detections), nprocs=world)
    expected = evaluate(truth, *detections)
    for rank in range(world):
        numbers, uneven, num_detections = torch.load(tmp_path / f"{rank}.pt")
        assert numbers == expected
        assert uneven == expected
        assert num_detections == len(detections.scores_D)
