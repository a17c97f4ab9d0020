"""Runs whose folders are written by hand, compared."""

import csv
import json
import logging
import shutil

import numpy as np
import pytest
from PIL import Image

import effdet_lab
from effdet_lab.data.digits import read_digits
from effdet_lab.data.opening import learn_classes
from effdet_lab.errors import DataError
from effdet_lab.metrics.evaluators import evaluate
from effdet_lab.metrics.ground_truth import DetectionArrays, GroundTruth, write_results
from effdet_lab.run.compare import compare_runs
from effdet_lab.run.folder import write_spec

PICTURES = 16  # the last four are empty
SIDE = 48


@pytest.fixture
def coco(tmp_path):
    """Two squares a picture, a cat and a dog."""
    root = tmp_path / "coco"
    images, boxes = [], []
    for number in range(1, PICTURES + 1):
        images.append({"id": number, "file_name": f"{number:02}.jpg", "height": SIDE, "width": SIDE})
        if number <= PICTURES - 4:
            for category in (1, 2):
                corner = 24 * category - 22
                boxes.append({"image_id": number, "category_id": category, "bbox": [corner, corner, 20, 20]})
    content = {
        "images": images,
        "annotations": [{"id": index, "iscrowd": 0, "area": 400, **box} for index, box in enumerate(boxes, start=1)],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    }
    (root / "annotations").mkdir(parents=True)
    for split in ("train", "val"):
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
        (root / split).mkdir()
        for image in images:
            Image.effect_noise((SIDE, SIDE), 60).convert("RGB").save(root / split / image["file_name"])
    return root


def detector_run(folder, root, missed=(), invented=(), *overrides):
    """A run that finds everything but the boxes of some pictures, and a cat in empty ones."""
    spec = effdet_lab.compose("model=efficientdet", "phi=-4", "data=coco", f"data.root={root}", *overrides)
    folder.mkdir(parents=True)
    write_spec(folder, learn_classes(spec))
    truth = GroundTruth.from_coco_json(root / "annotations" / "instances_val.json")
    kept_N = ~np.isin(truth.box_image_ids_N, missed)
    found = DetectionArrays(
        np.concatenate([truth.box_image_ids_N[kept_N], invented]).astype(np.int64),
        np.concatenate([truth.boxes_N4[kept_N], np.tile([1.0, 1, 9, 9], (len(invented), 1))]),
        np.linspace(0.9, 0.5, kept_N.sum() + len(invented)),
        np.concatenate([truth.labels_N[kept_N], np.zeros(len(invented))]).astype(np.int64),
    )
    write_results(folder / "predictions.json", found, truth.category_ids)
    metrics = {f"val/{name}": float(np.float32(value)) for name, value in evaluate(truth, *found).items()}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder


@pytest.fixture
def detectors(coco, tmp_path):
    return [
        detector_run(tmp_path / "wide", coco, (3,), (), "bifpn.channels=64"),
        detector_run(tmp_path / "narrow", coco, (1, 2, 4, 5, 6, 7, 8), (13,), "bifpn.channels=32"),
    ]


def answers_of(right, sure):
    """Rows of a predictions.csv for the digits: which are right, and the probability of the best class."""
    records = read_digits("val", tuple(map(str, range(10))))
    rows = []
    for index, (is_right, probability) in enumerate(zip(right, sure, strict=True)):
        label = int(records.labels[index])
        order = [label, (label + 1) % 10] if is_right else [(label + 1) % 10, label]
        order += [digit % 10 for digit in range(label + 2, label + 5)]
        shares = [probability, *[(1 - probability) / 4] * 4]
        pairs = [value for digit, share in zip(order, shares, strict=True) for value in (str(digit), f"{share:.6f}")]
        rows.append([records.paths[index], str(label), *pairs])
    return rows


def classifier_run(folder, rows, *overrides):
    """A run with these answers."""
    folder.mkdir(parents=True)
    write_spec(folder, learn_classes(effdet_lab.compose("model=efficientnet", "phi=-6", "data=digits", *overrides)))
    with (folder / "predictions.csv").open("w", newline="", encoding="utf-8") as file:
        head = ["image", "label", *(f"{what}_{rank}" for rank in range(1, 6) for what in ("class", "probability"))]
        csv.writer(file).writerows([head, *rows])
    top1 = np.mean([row[1] == row[2] for row in rows])
    (folder / "metrics.json").write_text(json.dumps({"val/loss": 1.0, "val/top1": top1, "val/top5": 1.0}))
    return folder


def classifiers(tmp_path, *overrides):
    """The second is right where the first is but for the first forty pictures, surest of the eighth."""
    count = len(read_digits("val", tuple(map(str, range(10)))))
    right, sure = np.ones(count, dtype=bool), np.full(count, 0.6)
    worse, surer = right.copy(), sure.copy()
    worse[:40] = False
    surer[7] = sure[7] = 0.95
    surer[9] = 0.99  # but the other is not
    return [
        classifier_run(tmp_path / "a", answers_of(right, sure)),
        classifier_run(tmp_path / "b", answers_of(worse, surer), *overrides),
    ]


@pytest.fixture
def told(caplog):
    caplog.set_level(logging.INFO, logger="effdet_lab")
    return lambda: "\n".join(record.getMessage() for record in caplog.records)


def compare(runs, folder):
    compare_runs(runs, folder)
    return json.loads((folder / "compare.json").read_text())


def test_two_detectors(detectors, tmp_path, told):
    found = compare(detectors, tmp_path / "out")
    assert [(setting["name"], setting["values"]) for setting in found["settings"]] == [
        ("bifpn.channels", {"A": "64", "B": "32"})
    ]
    assert found["judged_on"] == PICTURES
    for metric in ("val/map", "val/map_50"):
        each = found["differences"][metric]["B"]
        metrics = [run["metrics"][metric] for run in found["runs"]]
        assert each["difference"] == pytest.approx(metrics[1] - metrics[0])
        assert each["low"] < each["difference"] < each["high"] < 0
    assert found["differences"]["val/map_75"]["B"]["low"] is None
    assert found["verdict"].startswith("A is better than B by")
    assert found["notes"][0].startswith("A: metrics.csv")  # nothing else is missing
    assert found["verdict"] in told()
    assert "bifpn.channels" in told()
    assert "val/map_50" in told()


def test_detectors_disagree_where_one_errs(detectors, tmp_path):
    found = compare(detectors, tmp_path / "out")["disagreements"]
    # One of each way of disagreeing first: missed by B, invented by B, missed by A.
    assert {each["image"].rpartition("/")[2] for each in found[:3]} == {"01.jpg", "13.jpg", "03.jpg"}
    assert len(found) == 9
    said = {each["image"].rpartition("/")[2]: each["said"] for each in found}
    assert said["01.jpg"] == ["the truth", "A: 2 of 2 found", "B: 0 of 2 found"]
    assert said["03.jpg"] == ["the truth", "A: 0 of 2 found", "B: 2 of 2 found"]
    assert said["13.jpg"] == ["the truth: nothing to find", "A: nothing found", "B: 1 wrong"]
    files = [tmp_path / "out" / name for each in found for name in each["files"]]
    assert len(set(files)) == 27
    assert all(file.is_file() for file in files)
    assert (tmp_path / "out" / "report.html").read_text().count("data:image/jpeg") == 27


def test_without_its_data_a_comparison_says_so_and_goes_on(detectors, coco, tmp_path, told):
    shutil.rmtree(coco)
    found = compare(detectors, tmp_path / "out")
    assert found["judged_on"] is None
    assert found["disagreements"] == []
    assert found["differences"]["val/map"]["B"]["difference"] < 0
    assert found["differences"]["val/map"]["B"]["low"] is None
    assert found["notes"][0].startswith("The validation pictures cannot be opened, so intervals and pictures are left")
    assert found["notes"][0] in told()
    assert (tmp_path / "out" / "report.html").is_file()


def test_data_that_changed_since_give_no_interval(detectors, coco, tmp_path):
    path = coco / "annotations" / "instances_val.json"
    content = json.loads(path.read_text())
    content["annotations"] = content["annotations"][6:]
    path.write_text(json.dumps(content))
    found = compare(detectors, tmp_path / "out")
    assert "its predictions give" in found["notes"][0]
    assert found["differences"]["val/map"]["B"]["low"] is None


def test_lost_predictions_give_no_interval(detectors, tmp_path):
    (detectors[1] / "predictions.json").unlink()
    found = compare(detectors, tmp_path / "out")
    assert "predictions.json" in found["notes"][0]
    assert found["judged_on"] is None


def test_runs_on_different_pictures_have_no_interval(detectors, coco, tmp_path):
    other = detector_run(tmp_path / "other", coco, (), (), "data.val_images=val")
    found = compare([detectors[0], other], tmp_path / "out")
    assert found["notes"][0] == "The runs were judged on different pictures, so no interval can be told."
    assert found["differences"]["val/map"]["B"]["low"] is None


def test_a_whole_set_without_boxes_is_compared_by_its_loss(coco, tmp_path):
    path = coco / "annotations" / "instances_val.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "annotations": []}))
    runs = []
    for name, loss in (("a", 0.5), ("b", 0.25)):
        runs.append(detector_run(tmp_path / name, coco, (), (3,) if name == "b" else ()))
        metrics = json.loads((runs[-1] / "metrics.json").read_text())
        (runs[-1] / "metrics.json").write_text(json.dumps({**metrics, "val/loss": loss}))
    found = compare(runs, tmp_path / "out")
    assert found["metric"] == "val/loss"
    assert found["differences"]["val/map"]["B"] is None


def test_two_classifiers(tmp_path):
    runs = classifiers(tmp_path, "optim.learning_rate=0.01")
    found = compare(runs, tmp_path / "out")
    each = found["differences"]["val/top1"]["B"]
    assert each["low"] < each["difference"] < each["high"] < 0
    assert found["differences"]["val/top5"]["B"] == {"difference": 0.0, "low": 0.0, "high": 0.0}
    disputes = found["disagreements"]
    assert len(disputes) == 12
    assert disputes[0]["image"] == "digits-val/00007"  # both are sure
    assert [said.split(", ")[1] for said in disputes[0]["said"]] == ["right", "wrong"]
    assert len(list((tmp_path / "out" / "images").iterdir())) == 24
    assert not found["repeated"]


def test_repeats_are_said_to_be_repeats(tmp_path):
    found = compare(classifiers(tmp_path, "seed=1"), tmp_path / "out")
    assert found["repeated"]
    assert found["verdict"].startswith("The same experiment, repeated: only seed differs.")


def test_classifiers_that_judged_other_pictures_have_no_interval(tmp_path):
    runs = classifiers(tmp_path, "seed=1")
    lines = (runs[1] / "predictions.csv").read_text().splitlines(keepends=True)
    (runs[1] / "predictions.csv").write_text("".join(lines[:-1]))
    found = compare(runs, tmp_path / "out")
    assert "judged other pictures" in found["notes"][0]
    assert found["judged_on"] is None


def test_a_torn_list_of_predictions_is_named(tmp_path):
    runs = classifiers(tmp_path, "seed=1")
    (runs[1] / "predictions.csv").write_text("image,label\nx,y,cat,much\n")
    assert "predictions.csv cannot be read" in compare(runs, tmp_path / "out")["notes"][0]


def test_everything_that_keeps_runs_from_being_compared_is_told_at_once(detectors, tmp_path):
    unmeasured = tmp_path / "unmeasured"
    shutil.copytree(detectors[0], unmeasured)
    (unmeasured / "metrics.json").unlink()
    checkpoint = detectors[0] / "checkpoints" / "best.ckpt"
    checkpoint.parent.mkdir()
    checkpoint.touch()
    sweep = tmp_path / "sweep"
    shutil.copytree(detectors[0], sweep / "0")
    classifier = classifiers(tmp_path)[0]
    named = [*detectors, detectors[0], tmp_path / "narow", tmp_path, unmeasured, checkpoint, sweep, classifier]
    with pytest.raises(DataError) as refusal:
        compare_runs(named, tmp_path / "out")
    twice, absent, no_run, no_metrics, file, a_sweep, mixed = refusal.value.problems
    assert twice == f"runs={detectors[0]}: is there twice. Name each run once."
    assert absent == f"runs={tmp_path / 'narow'}: no such file or folder. Did you mean {detectors[1]}?"
    assert "is not a run's folder: no spec.yaml in it. Runs below it:" in no_run
    assert "has no metrics.json" in no_metrics
    assert file.endswith(f"is a file. Name the run's folder, {detectors[0]}.")
    assert a_sweep.endswith(f"Runs below it: {sweep / '0'}.")
    assert "Compare runs of one kind." in mixed
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("number", [0, 1])
def test_one_run_is_no_comparison(detectors, tmp_path, number):
    with pytest.raises(DataError, match="needs two runs or more"):
        compare_runs(detectors[:number], tmp_path / "out")


def test_runs_without_a_metric_in_common_are_refused(detectors, tmp_path):
    (detectors[0] / "metrics.json").write_text('{"train/loss": 1.0}')
    with pytest.raises(DataError, match="no validation metric in common"):
        compare_runs(detectors, tmp_path / "out")


def test_a_run_of_another_version_is_refused(detectors, tmp_path):
    (detectors[0] / "spec.yaml").write_text("kind: ExperimentSpec\nmodel: {kind: Unknown}\n")
    with pytest.raises(DataError, match="no settled experiment of this version"):
        compare_runs(detectors, tmp_path / "out")


def test_the_runs_are_left_as_they_were(detectors, tmp_path):
    before = {path: path.read_bytes() for run in detectors for path in run.rglob("*") if path.is_file()}
    compare(detectors, tmp_path / "out")
    assert {path: path.read_bytes() for run in detectors for path in run.rglob("*") if path.is_file()} == before
