import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from tiny import changed, tiny_classifier, tiny_detector
from wandb_file import kind, values, wandb_records

from effdet_lab.data.pictures import PictureArray
from effdet_lab.data.splits import ClassificationRecords, starts_of, unlabelled_boxes
from effdet_lab.metrics.curves import PrecisionRecall
from effdet_lab.metrics.ground_truth import DetectionArrays
from effdet_lab.metrics.topk import BestClasses
from effdet_lab.tracking.artifacts import log_checkpoints, prune
from effdet_lab.tracking.charts import chosen_curves, condensed
from effdet_lab.tracking.loggers import build_logger, finish
from effdet_lab.tracking.predictions import log_predictions, worst_first


def spec_of(spec, name="wandb"):
    return changed(spec, "logger", name=name, mode="offline")


def scenes(folder):
    """Three pictures with a dog each: found, missed, and taken for a cat."""
    paths = [folder / f"{name}.png" for name in "abc"]
    for path in paths:
        Image.new("RGB", (40, 30), "red").save(path)
    records = dataclasses.replace(
        unlabelled_boxes(paths, ("cat", "dog"), (1, 2)),
        image_ids=np.array([30, 10, 20]),
        starts=starts_of(np.array([1, 1, 1])),
        boxes_N4=np.tile([[1.0, 2.0, 30.0, 20.0]], (3, 1)),
        labels_N=np.array([1, 1, 1]),
        crowd_N=np.zeros(3, dtype=bool),
        areas_N=np.full(3, 522.0),
    )
    found = DetectionArrays(
        image_ids_D=np.array([20, 20, 30]),
        boxes_D4=np.array([[1.0, 2.0, 30.0, 20.0], [0.0, 0.0, 9.0, 9.0], [1.0, 2.0, 30.0, 20.0]]),
        scores_D=np.array([0.5, 0.1, 0.75]),
        labels_D=np.array([0, 0, 1]),
    )
    return records, found


@pytest.fixture(scope="module")
def detector_run(nobody_for_long, tmp_path_factory):
    """The folder of a detector's W&B run, and its records."""
    folder = tmp_path_factory.mktemp("detector")
    records, found = scenes(folder)
    (folder / "checkpoints").mkdir()
    for name in ("best", "last"):
        (folder / "checkpoints" / f"{name}.ckpt").write_text(name)
    spec = spec_of(tiny_detector())
    logger = build_logger(spec, folder)
    log_predictions(logger, records, found, [0, 1, 2], [Image.new("RGB", (40, 30))] * 3)
    log_checkpoints(logger, spec, folder)  # nobody asked for these
    with_artifact = SimpleNamespace(name="demo", logger=SimpleNamespace(artifact=True))
    log_checkpoints(logger, with_artifact, folder)
    finish(logger)
    (file,) = (folder / "wandb").glob("offline-run-*/*.wandb")
    return file.parent, wandb_records(file)


@pytest.fixture(scope="module")
def classifier_run(nobody_for_long, tmp_path_factory):
    """The same of a classifier that errs on the second of three pictures, and is unsure of the third."""
    folder = tmp_path_factory.mktemp("classifier")
    pictures = PictureArray.of("val", np.zeros((4, 8, 8, 3), dtype=np.uint8))
    records = ClassificationRecords.of(pictures, np.array([0, 1, 1, -1]), ("cat", "dog"), (8, 8))
    best = BestClasses(
        image_ids_I=np.arange(4),
        labels_I=records.labels,
        classes_IC=np.array([[0, 1], [0, 1], [1, 0], [0, 1]]),
        probabilities_IC=np.array([[0.875, 0.125], [0.75, 0.25], [0.625, 0.375], [0.5, 0.5]], dtype=np.float32),
    )
    logger = build_logger(spec_of(tiny_classifier()), folder)
    log_predictions(logger, records, best, [0, 1, 2, 3], [Image.new("RGB", (8, 8))] * 4)
    finish(logger)
    (file,) = (folder / "wandb").glob("offline-run-*/*.wandb")
    return file.parent, wandb_records(file)


def logged(run, name):
    """What a file of the run holds, by the name it was logged under."""
    folder, records = run
    (path,) = [row[f"{name}.path"] for row in history(records) if f"{name}.path" in row]
    return json.loads((folder / "files" / path).read_text())


def history(records):
    return [values(row.item) for row in kind(records, "history")]


def test_the_worst_pictures_of_a_detector_come_first(detector_run):
    table = logged(detector_run, "predictions")
    assert table["columns"] == ["picture", "file", "wrong", "ground truth", "predicted"]
    rows = [[file[-5:], wrong, truth, predicted] for _, file, wrong, truth, predicted in table["data"]]
    assert rows == [
        ["b.png", 1.0, "dog", ""],
        ["c.png", 1.0, "dog", "cat 0.50"],
        ["a.png", 0.0, "dog", "dog 0.75"],
    ]


def test_every_row_has_its_picture_with_both_kinds_of_boxes(detector_run):
    """W&B keeps a table's pictures in an artifact, and its words in the run's own file."""
    (artifact,) = [a for a in kind(detector_run[1], "artifact") if a.name.endswith("-predictions")]
    files = {entry.path: Path(entry.local_path) for entry in artifact.manifest.contents}
    rows = json.loads(files["predictions.table.json"].read_text())["data"]
    assert [(len(row[0]["boxes"]["predictions"]), len(row[0]["boxes"]["ground_truth"])) for row in rows] == [
        (0, 1),
        (2, 1),
        (1, 1),
    ]
    for picture, *_ in rows:
        assert Image.open(files[picture["path"]]).size == (40, 30)


def test_boxes_lie_beside_the_picture_in_pixels(detector_run):
    (found,), (truth,) = (
        logged(detector_run, f"pictures/a.boxes.{name}")["box_data"] for name in ("predictions", "ground_truth")
    )
    for box in (found, truth):
        assert box["position"] == {"minX": 1.0, "minY": 2.0, "maxX": 30.0, "maxY": 20.0}
        assert (box["domain"], box["class_id"]) == ("pixel", 1)
    assert (found["box_caption"], found["scores"]) == ("dog 0.75", {"score": 0.75})
    assert truth["box_caption"] == "dog"


def test_pictures_that_were_drawn_have_a_panel_each(detector_run):
    (row,) = history(detector_run[1])
    assert all((detector_run[0] / "files" / row[f"pictures/{name}.path"]).is_file() for name in "abc")


def test_the_confusion_of_a_detector_knows_the_background(detector_run):
    table = logged(detector_run, "confusion_table")
    cells = {(actual, predicted): count for actual, predicted, count in table["data"] if count}
    assert cells == {("dog", "dog"): 1, ("dog", "cat"): 1, ("dog", "(background)"): 1}
    assert len(table["data"]) == 9


def test_precision_has_a_line_a_class_and_the_mean(detector_run):
    table = logged(detector_run, "precision_recall_table")
    lines = {}
    for recall, name, precision in (
        [row[table["columns"].index(c)] for c in ("step", "lineKey", "lineVal")] for row in table["data"]
    ):
        lines.setdefault(name, []).append((round(100 * recall), precision))
    assert set(lines) == {"mean of 1", "dog"}  # there is no cat to find
    # One dog of three is found, without a false alarm before it.
    assert lines["dog"] == [(recall, float(recall <= 33)) for recall in range(101)]


def test_both_charts_are_wandbs_own(detector_run):
    """W&B keeps a custom chart in the run's configuration."""
    text = "".join(str(update) for update in kind(detector_run[1], "config"))
    assert "wandb/confusion_matrix/v1" in text
    assert "wandb/lineseries/v0" in text


def test_the_worst_pictures_of_a_classifier_come_first(classifier_run):
    table = logged(classifier_run, "predictions")
    assert [row[1:] for row in table["data"]] == [
        ["val/00001", 0.75, "dog", "cat 0.75, dog 0.25"],
        ["val/00002", 0.375, "dog", "dog 0.62, cat 0.38"],
        ["val/00000", 0.125, "cat", "cat 0.88, dog 0.12"],
    ]


def test_the_confusion_of_a_classifier_is_its_top_1(classifier_run):
    cells = logged(classifier_run, "confusion_table")["data"]
    assert cells == [["cat", "cat", 1], ["cat", "dog", 0], ["dog", "cat", 1], ["dog", "dog", 1]]


def test_checkpoints_are_an_artifact_only_where_asked_for(detector_run):
    models = [artifact for artifact in kind(detector_run[1], "artifact") if artifact.type == "model"]
    assert [set(artifact.aliases) for artifact in models] == [{"last", "latest"}, {"best", "latest"}]
    assert len({artifact.name for artifact in models}) == 1
    assert [entry.path for artifact in models for entry in artifact.manifest.contents] == ["last.ckpt", "best.ckpt"]


def test_pruning_spares_what_has_a_name():
    deleted = []

    def version(*aliases):
        return SimpleNamespace(aliases=list(aliases), delete=lambda delete_aliases: deleted.append(aliases))

    prune([version("v0"), version("v1", "production"), version("v2", "last"), version("v3", "best"), version("latest")])
    assert deleted == [("v0",), ("latest",)]


def test_unknown_truths_are_not_among_the_worst():
    assert worst_first(np.array([0.5, np.nan, 0.9, 0.5]), 9) == [2, 0, 3]
    assert worst_first(np.array([0.5, np.nan, 0.9, 0.5]), 1) == [2]


def test_a_chart_shows_the_twenty_most_common_classes():
    curves = PrecisionRecall(np.linspace(0, 1, 101), np.full((30, 101), 0.5))
    curves.precisions_KR[29] = np.nan
    lines = chosen_curves(curves, [f"class {label}" for label in range(30)], np.arange(30))
    assert list(lines) == ["mean of 29", *(f"class {label}" for label in range(28, 8, -1))]


def test_a_condensed_matrix_keeps_its_sums():
    matrix = np.random.default_rng(0).integers(0, 9, (60, 60))
    matrix[7, 3] = 1000
    small, names = condensed(matrix, [f"class {label}" for label in range(60)], most=10)
    assert small.shape == (10, 10)
    assert small.sum() == matrix.sum()
    assert names[-1] == "(other classes)"
    row, column = names.index("class 7"), names.index("class 3")
    assert small[row, column] == 1000
    assert small[row].sum() == matrix[7].sum()


def test_tensorboard_gets_curves_and_pictures(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    records = unlabelled_boxes([tmp_path / "a.png"], ("cat",), (1,))
    found = DetectionArrays(*(np.zeros(shape) for shape in ((0,), (0, 4), (0,), (0,))))
    logger = build_logger(spec_of(tiny_detector(), "tensorboard"), tmp_path / "run")
    logger.log_metrics({"val/map": 0.5}, step=7)
    log_predictions(logger, records, found, [0], [Image.new("RGB", (40, 30))])
    finish(logger)
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("val/map")] == [(7, 0.5)]
    assert events.Tags()["images"] == ["pictures/a"]
