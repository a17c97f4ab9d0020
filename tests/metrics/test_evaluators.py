"""Our numbers are pycocotools's numbers."""

import contextlib
import io
import json
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from effdet_lab.errors import ConfigError
from effdet_lab.metrics.evaluators import evaluate
from effdet_lab.metrics.ground_truth import DetectionArrays, GroundTruth, read_results, write_results, xywh

SIZES = ("small", "medium", "large")
TWELVE = (
    *("map", "map_50", "map_75", *(f"map_{size}" for size in SIZES)),
    *("mar_1", "mar_10", "mar_100", *(f"mar_{size}" for size in SIZES)),
)
BACKENDS = ("faster_coco_eval", "pycocotools", "hotcoco")
# cocodataset/cocoapi, results/val2014_fake_eval_res.txt, with the digits pycocotools 2.0.11 has behind its third.
PUBLISHED = (
    *(0.504581, 0.696973, 0.572982, 0.585626, 0.519400, 0.501398),
    *(0.386813, 0.593680, 0.595353, 0.639811, 0.566421, 0.564291),
)


def twelve(metrics: dict[str, float]) -> list[float]:
    return [metrics[name] for name in TWELVE]


def pycocotools_says(truth: GroundTruth, detections: DetectionArrays) -> tuple[list[float], dict[str, float]]:
    """The published evaluator, called as its own demo calls it, with the original ids."""
    coco_module = pytest.importorskip("pycocotools.coco")
    from pycocotools.cocoeval import COCOeval

    results = coco_results(truth, detections)
    with contextlib.redirect_stdout(io.StringIO()):
        truth_api = coco_module.COCO()
        truth_api.dataset = coco_annotations(truth)
        truth_api.createIndex()
        run = COCOeval(truth_api, truth_api.loadRes(results), "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    precision_TRK = run.eval["precision"][:, :, :, 0, 2]
    by_class = {f"map/{name}": precision_TRK[:, :, label] for label, name in enumerate(truth.class_names)}
    return list(run.stats), {name: float(found.mean()) for name, found in by_class.items() if (found > -1).any()}


def coco_annotations(truth: GroundTruth) -> dict[str, list[dict[str, object]]]:
    boxes = xywh(truth.boxes_N4).tolist()
    return {
        "images": [{"id": image_id} for image_id in truth.image_ids_I.tolist()],
        "categories": [
            {"id": key, "name": name} for key, name in zip(truth.category_ids, truth.class_names, strict=True)
        ],
        "annotations": [
            {
                "id": row + 1,
                "image_id": int(truth.box_image_ids_N[row]),
                "category_id": truth.category_ids[truth.labels_N[row]],
                "bbox": boxes[row],
                "area": float(truth.areas_N[row]),
                "iscrowd": int(truth.crowd_N[row]),
            }
            for row in range(len(boxes))
        ],
    }


def coco_results(truth: GroundTruth, detections: DetectionArrays) -> list[dict[str, object]]:
    boxes = xywh(detections.boxes_D4).tolist()
    return [
        {
            "image_id": int(detections.image_ids_D[row]),
            "category_id": truth.category_ids[detections.labels_D[row]],
            "bbox": boxes[row],
            "score": float(detections.scores_D[row]),
        }
        for row in range(len(boxes))
    ]


@pytest.mark.parametrize("backend", BACKENDS)
def test_published_numbers_of_a_hundred_coco_pictures_come_out(real_data, backend):
    pytest.importorskip(backend)
    folder = real_data / "coco_eval_val2014_fakebbox100"
    truth = GroundTruth.from_coco_json(folder / "instances_val2014_100.json")
    detections = read_results(folder / "instances_val2014_fakebbox100_results.json", truth)
    metrics = evaluate(truth, *detections, backend=backend)
    assert twelve(metrics) == pytest.approx(PUBLISHED, abs=1e-6)
    with_boxes = {f"map/{truth.class_names[label]}" for label in truth.labels_N[~truth.crowd_N]}
    assert set(metrics) == {*TWELVE, *with_boxes}


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_evaluator_repeats_pycocotools_on_hard_scenes(scene, backend):
    pytest.importorskip(backend)

    @settings(max_examples=40, deadline=None)
    @given(seed=st.integers(0, 2**32 - 1))
    def same(seed: int) -> None:
        truth, detections = scene(seed)
        if not len(detections.scores_D):
            return  # pycocotools's loader fails on an empty list
        stats, by_class = pycocotools_says(truth, detections)
        metrics = evaluate(truth, *detections, backend=backend)
        assert twelve(metrics) == pytest.approx(stats, abs=1e-9)
        ours = {name: value for name, value in metrics.items() if name.startswith("map/")}
        assert ours == pytest.approx(by_class, abs=1e-9)

    same()


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_of_two_boxes_found_gives_precision_one_up_to_half_recall(backend):
    pytest.importorskip(backend)
    truth = GroundTruth(
        image_ids_I=np.array([-5, 2**60]),  # ids no evaluator could keep
        box_image_ids_N=np.array([-5, 2**60]),
        boxes_N4=np.array([[0.0, 0, 100, 100], [0, 0, 10, 10]]),
        labels_N=np.array([0, 0]),
        crowd_N=np.array([False, False]),
        areas_N=np.array([10_000.0, 100.0]),
        class_names=("box", "nothing"),
        category_ids=(1, 2),
    )
    found = DetectionArrays(np.array([-5]), np.array([[0.0, 0, 100, 100]]), np.array([0.5]), np.array([0]))
    metrics = evaluate(truth, *found, backend=backend)
    half = 51 / 101  # the recalls 0.00, 0.01 ... 0.50 of COCO's 101 points
    large, small, medium = 1.0, 0.0, -1.0
    assert metrics["map"] == metrics["map_50"] == metrics["map/box"] == pytest.approx(half)
    sizes = [metrics["map_large"], metrics["map_small"], metrics["map_medium"]]
    assert sizes == pytest.approx([large, small, medium])
    assert metrics["mar_1"] == metrics["mar_100"] == 0.5
    assert "map/nothing" not in metrics


@pytest.mark.parametrize("backend", BACKENDS)
def test_nothing_found_is_zero_and_nothing_to_find_is_minus_one(scene, backend):
    pytest.importorskip(backend)
    truth, detections = scene(3)
    silence = DetectionArrays(*(column[:0] for column in detections))
    found_nothing = evaluate(truth, *silence, backend=backend)
    assert found_nothing["map"] == found_nothing["mar_100"] == 0
    nothing_to_find = truth.only(truth.image_ids_I[-1:])
    assert set(twelve(evaluate(nothing_to_find, *silence, backend=backend))) == {-1.0}


@pytest.mark.parametrize("backend", BACKENDS)
def test_evaluators_keep_silent(scene, backend, capfd, caplog):
    pytest.importorskip(backend)
    truth, detections = scene(1)
    with caplog.at_level("INFO"):
        evaluate(truth, *detections, backend=backend)
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


def test_a_written_results_file_repeats_the_metrics_exactly(scene, tmp_path):
    truth, detections = scene(11)
    shaken_D4 = (detections.boxes_D4 * np.random.default_rng(0).uniform(0.9, 1, (1, 1))).astype(np.float32)
    detections = detections._replace(boxes_D4=shaken_D4, scores_D=detections.scores_D.astype(np.float32))
    write_results(tmp_path / "predictions.json", detections, truth.category_ids)
    (tmp_path / "truth.json").write_text(json.dumps(coco_annotations(truth)))
    again = GroundTruth.from_coco_json(tmp_path / "truth.json")
    read_back = read_results(tmp_path / "predictions.json", again)
    assert evaluate(again, *read_back) == evaluate(truth, *detections)


def test_a_missing_evaluator_is_named_with_what_installs_it(scene, monkeypatch):
    monkeypatch.setitem(sys.modules, "hotcoco", None)
    truth, detections = scene(0)
    with pytest.raises(ConfigError, match=r"backend=hotcoco: is not installed.*fast-map"):
        evaluate(truth, *detections, backend="hotcoco")
    with pytest.raises(ConfigError, match=r"no such evaluator.*pycocotools"):
        evaluate(truth, *detections, backend="coco")  # type: ignore[arg-type]
