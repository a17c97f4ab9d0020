"""The command as people type it: exit codes, sentences, and what lies in the folders afterwards."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

REPOSITORY = Path(__file__).parents[2]
DIGITS = ["model=efficientnet", "phi=-6", "model.image_size=32", "optim=adamw_cosine", "logger.images=2"]
SCENES = ["phi=-4", "model.image_size=64", "data.train_images=16", "data.val_images=6", "data.batch_size=8"]
SHORT = ["trainer.max_epochs=1", "trainer.max_steps=2", "data.workers=0"]
COCO_NUMBERS = ("map", "map_50", "map_75", "map_small", "map_medium", "map_large")
COCO_NUMBERS += ("mar_1", "mar_10", "mar_100", "mar_small", "mar_medium", "mar_large")


def run(*arguments, cwd, timeout=240, **environment):
    """python run.py in a folder of its own, offline."""
    environment = {**os.environ, "WANDB_MODE": "offline", "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run(
        [sys.executable, str(REPOSITORY / "run.py"), *arguments],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def done(*arguments, cwd, **environment):
    result = run(*arguments, cwd=cwd, **environment)
    assert result.returncode == 0, result.stdout + result.stderr
    return result


def metrics_of(folder: Path) -> dict[str, float]:
    return json.loads((folder / "metrics.json").read_text())


@pytest.fixture(scope="module")
def classifier(tmp_path_factory) -> Path:
    """The folder of a run that trained a classifier for two steps, logged by W&B without a login."""
    cwd = tmp_path_factory.mktemp("classifier")
    done(*DIGITS, *SHORT, "hydra.run.dir=run", cwd=cwd)
    return cwd / "run"


@pytest.fixture(scope="module")
def detector(tmp_path_factory) -> Path:
    """The folder of a run that trained a detector for two steps in two processes."""
    cwd = tmp_path_factory.mktemp("detector")
    done(*SCENES, *SHORT, "trainer.processes=2", "logger=csv", "hydra.run.dir=run", cwd=cwd)
    return cwd / "run"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["phii=3"], "phii=3: no such setting. Did you mean phi?"),
        (["+stray=1"], "stray=1: no such setting."),
        (["data=voc", "data.root=nowhere"], "data.root=nowhere"),
        (["data=coco"], "data.root"),
        (["trainer.gpus=64", "data.batch_size=64"], "trainer.gpus=64: this machine has"),
        (["task=evaluate", "checkpoint=nowhere"], "checkpoint=nowhere: no such file or folder."),
        (["init=nowhere.pth"], "init=nowhere.pth: no such file or folder."),
        (["--sweep"], "--sweep: no such flag."),
        (["-m", "phi=0,1,9"], "job 2 (phi=9): phi=9"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_refusal_is_one_list_with_exit_code_2_and_leaves_nothing(arguments, sentence, tmp_path):
    result = run(*arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_broken_picture_is_named_before_training_and_leaves_nothing(tmp_path):
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            folder = tmp_path / "pets" / split / name
            folder.mkdir(parents=True)
            Image.new("RGB", (40, 30), "red").save(folder / "good.jpg")
    (tmp_path / "pets" / "train" / "dog" / "broken.jpg").write_bytes(b"no picture")
    pets = ["model=efficientnet", "phi=-6", "data=imagefolder", "data.root=pets", "logger=csv", *SHORT]
    refused = run(*pets, "hydra.run.dir=run", cwd=tmp_path)
    assert refused.returncode == 2, refused.stderr
    assert "pets/train/dog/broken.jpg" in refused.stderr
    assert "data.on_error=skip" in refused.stderr
    assert not (tmp_path / "run").exists()
    skipped = done(*pets, "data.on_error=skip", "hydra.run.dir=run", cwd=tmp_path)
    assert "1 of 3 pictures are left out" in skipped.stdout


def test_the_cause_is_shown_when_hydra_s_full_error_is_asked_for(tmp_path):
    assert "Traceback" in run("phii=3", cwd=tmp_path, HYDRA_FULL_ERROR="1").stderr


@pytest.mark.parametrize("question", [["--help"], ["--cfg", "job"]])
def test_questions_are_answered_without_a_run(question, tmp_path):
    result = done(*question, cwd=tmp_path)
    assert "phi: 0" in result.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_plan_tells_the_published_numbers(tmp_path):
    result = done("task=plan", "data=coco", cwd=tmp_path)
    assert "3,880,067" in result.stdout
    assert "2.492 G" in result.stdout
    (folder,) = (tmp_path / "outputs").iterdir()
    assert {path.name for path in folder.iterdir()} == {"plan.json", "plan.csv", "log.txt"}


def test_a_training_leaves_what_was_promised(classifier):
    names = {path.name for path in classifier.iterdir()}
    promised = {
        "spec.yaml",
        "metrics.json",
        "metrics.csv",
        "predictions.csv",
        "checkpoints",
        "images",
        "log.txt",
        "wandb",
    }
    assert promised <= names
    assert {"val/top1", "val/top5", "val/loss", "train/loss"} <= metrics_of(classifier).keys()
    assert {path.name for path in (classifier / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    for path in (classifier / "checkpoints").iterdir():
        torch.load(path, weights_only=True, map_location="cpu")
    assert Image.open(classifier / "images" / "contact_sheet.jpg").size[0] > 500


def test_a_trained_run_is_not_overwritten(classifier):
    result = run(*DIGITS, *SHORT, "hydra.run.dir=run", cwd=classifier.parent)
    assert result.returncode == 2
    assert "holds trained weights" in result.stderr


def test_a_checkpoint_brings_its_own_settings_to_its_evaluation(classifier):
    done("task=evaluate", "checkpoint=run", "logger=csv", "hydra.run.dir=again", cwd=classifier.parent)
    before, after = metrics_of(classifier), metrics_of(classifier.parent / "again")
    assert after["val/top1"] == pytest.approx(before["val/top1"])
    assert after["val/loss"] == pytest.approx(before["val/loss"], rel=1e-5)


def test_a_classifier_names_pictures_it_never_saw(classifier, tmp_path):
    for name, size in (("wide", (90, 30)), ("tall", (20, 50))):
        Image.new("RGB", size, "white").save(tmp_path / f"{name}.png")
    done(
        "task=predict", f"checkpoint={classifier}", f"input={tmp_path}", f"hydra.run.dir={tmp_path}/seen", cwd=tmp_path
    )
    with open(tmp_path / "seen" / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [Path(row["image"]).name for row in rows] == ["tall.png", "wide.png"]
    assert rows[0]["class_1"] in set("0123456789")


@pytest.mark.slow
def test_one_rank_measures_what_two_ranks_measured(detector):
    assert not (detector.parent / "outputs" / "sweep").exists()
    folders = [path for path in detector.parent.iterdir() if (path / "spec.yaml").exists()]
    assert folders == [detector]
    done(
        "task=evaluate",
        f"checkpoint={detector}",
        "data.workers=0",
        "logger=csv",
        "hydra.run.dir=one",
        cwd=detector.parent,
    )
    two, one = metrics_of(detector), metrics_of(detector.parent / "one")
    for name in COCO_NUMBERS:
        assert one[f"val/{name}"] == pytest.approx(two[f"val/{name}"], abs=1e-9), name
    # The metrics of so young a network are near nothing; what it found is not.
    seen_by_two, seen_by_one = (
        json.loads((run / "predictions.json").read_text()) for run in (detector, detector.parent / "one")
    )
    assert len(seen_by_one) == len(seen_by_two) > 100
    assert [entry["score"] for entry in seen_by_one] == pytest.approx(
        [entry["score"] for entry in seen_by_two], rel=1e-4
    )


@pytest.mark.slow
def test_predictions_are_judged_as_the_run_judged_them(detector):
    annotations = detector.parent / "outputs" / "data" / "digit_scenes" / "annotations" / "instances_val.json"
    files = [f"predictions={detector / 'predictions.json'}", f"data.annotations={annotations}"]
    done("task=evaluate", *files, "hydra.run.dir=judged", cwd=detector.parent)
    run_metrics, judged = metrics_of(detector), metrics_of(detector.parent / "judged")
    for name in COCO_NUMBERS:
        assert judged[f"val/{name}"] == pytest.approx(run_metrics[f"val/{name}"], abs=1e-6), name


@pytest.mark.slow
def test_a_detector_finds_things_through_the_python_door(detector):
    import effdet_lab

    model = effdet_lab.load(detector)
    assert not model.training
    picture = detector.parent / "outputs" / "data" / "digit_scenes" / "val"
    results = effdet_lab.predict(model, sorted(picture.iterdir())[:2])
    assert len(results) == 2
    assert results[0].boxes.shape == (len(results[0].scores), 4)
    assert (results[0].boxes >= 0).all()
    assert (results[0].boxes <= 128).all()


@pytest.mark.slow
def test_a_sweep_ends_with_a_table_and_a_job_that_fails_stops_no_other(tmp_path):
    folder = tmp_path / "sweep"
    # The second seed's job finds a file where its checkpoints should go.
    blocked = folder / "1" / "checkpoints"
    blocked.parent.mkdir(parents=True)
    blocked.write_text("in the way")
    result = run(
        "-m", *DIGITS, *SHORT, "seed=0,1,2", "logger=csv", f"hydra.sweep.dir={folder}", cwd=tmp_path, timeout=400
    )
    assert result.returncode == 1, result.stdout + result.stderr
    with open(folder / "sweep.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["seed"] for row in rows] == ["0", "1", "2"]
    assert [row["status"] == "done" for row in rows] == [True, False, True]
    assert float(rows[0]["val/top1"]) >= 0
    assert "job 3 of 3" in result.stdout


@pytest.mark.slow
def test_ctrl_c_ends_with_130_and_a_checkpoint_that_loads(tmp_path):
    process = subprocess.Popen(
        [
            sys.executable,
            str(REPOSITORY / "run.py"),
            *DIGITS,
            "trainer.max_epochs=500",
            "logger=csv",
            "hydra.run.dir=run",
        ],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    checkpoint = tmp_path / "run" / "checkpoints" / "last.ckpt"
    for _ in range(600):
        if checkpoint.exists() or process.poll() is not None:
            break
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Interrupted." in errors
    assert "Traceback" not in errors
    torch.load(checkpoint, weights_only=True, map_location="cpu")
