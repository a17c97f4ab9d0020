import dataclasses
import io
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console
from tiny import changed, loader, scenes, swatches, tiny_classifier, tiny_detector, truth_of

from effdet_lab.models.build import build_model
from effdet_lab.run.progress import RunProgress
from effdet_lab.run.record import read_table
from effdet_lab.run.trainer import LaterOfEquals, build_evaluator, build_trainer, lightning_arguments
from effdet_lab.spec import from_dict
from effdet_lab.tasks.classification import ClassificationTask
from effdet_lab.tasks.detection import DetectionTask


@pytest.fixture(autouse=True)
def _one_seed():
    torch.manual_seed(0)


def fit(spec, folder, batches=2, **arguments):
    """A classifier on a few batches of colours."""
    task = ClassificationTask(build_model(spec), spec)
    trainer = build_trainer(spec, folder, False)
    trainer.fit(task, loader(*[swatches(3)] * batches), loader(swatches(3)), **arguments)
    return task, trainer


def classifier(**trainer):
    spec = changed(tiny_classifier("optim=sgd_cosine", "optim.warmup_epochs=0"), "trainer", **trainer)
    return changed(spec, "optim", ema_decay=0.5)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"gpus": 0}, {"accelerator": "cpu", "devices": 1, "strategy": "auto", "sync_batchnorm": False}),
        ({"gpus": 1}, {"accelerator": "gpu", "devices": 1, "strategy": "auto", "sync_batchnorm": False}),
        ({"gpus": 8}, {"accelerator": "gpu", "devices": 8, "strategy": "ddp", "sync_batchnorm": True}),
        ({"gpus": 1, "num_nodes": 2}, {"num_nodes": 2, "strategy": "ddp", "sync_batchnorm": True}),
        ({"processes": 2}, {"accelerator": "cpu", "devices": 2, "strategy": "ddp", "sync_batchnorm": False}),
        ({"precision": "bf16", "accumulate": 4}, {"precision": "bf16-mixed", "accumulate_grad_batches": 4}),
    ],
)
def test_our_words_become_lightnings(settings, expected):
    arguments = lightning_arguments(dataclasses.replace(tiny_detector().trainer, **settings))
    assert {name: arguments[name] for name in expected} == expected


def test_a_run_leaves_two_checkpoints_that_load_without_code(tmp_path):
    spec = classifier(max_epochs=3)
    fit(spec, tmp_path)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]
    for name, epochs in (("last", 3), ("best", None)):
        checkpoint = torch.load(tmp_path / "checkpoints" / f"{name}.ckpt", weights_only=True)
        assert from_dict(checkpoint["hyper_parameters"]) == spec
        assert set(checkpoint["state_dict"]) == set(checkpoint["current_model_state"])
        assert epochs is None or checkpoint["epoch"] + 1 == epochs
    rows = read_table(tmp_path / "metrics.csv")
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert {"train/loss", "train/learning_rate", "val/loss", "val/top1", "val/top5"} <= set(rows[0])
    assert not any(name.startswith("step/") for name in rows[0])


def test_a_run_resumes_from_its_last_checkpoint(tmp_path):
    fit(classifier(max_epochs=2), tmp_path)
    last = tmp_path / "checkpoints" / "last.ckpt"
    _, trainer = fit(classifier(max_epochs=3), tmp_path, ckpt_path=last, weights_only=True)
    assert (trainer.current_epoch, trainer.global_step) == (3, 6)
    assert [row["step"] for row in read_table(tmp_path / "metrics.csv")] == ["2", "4", "6"]
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]


@pytest.mark.parametrize(
    ("settings", "steps", "evaluated"),
    [
        ({"max_epochs": 3, "evaluate_every": 2}, 9, [False, True, True]),
        ({"max_epochs": 9, "max_steps": 4}, 4, [True, True]),
        ({"max_epochs": 9, "max_steps": 2, "evaluate_every": 5}, 2, [True]),
        ({"max_epochs": 1, "accumulate": 2}, 2, [True]),
    ],
)
def test_the_last_weights_are_always_evaluated_and_kept(tmp_path, settings, steps, evaluated):
    _, trainer = fit(classifier(**settings), tmp_path, batches=3)
    rows = read_table(tmp_path / "metrics.csv")
    assert trainer.global_step == steps
    assert ["val/top1" in row for row in rows] == evaluated
    assert torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == steps


def test_a_detector_trains_evaluates_and_keeps_its_predictions(tmp_path):
    batch = scenes(4)
    spec = changed(tiny_detector(), "trainer", max_epochs=1)
    task = DetectionTask(build_model(spec), spec, truth_of(batch))
    trainer = build_trainer(spec, tmp_path, False)
    trainer.fit(task, loader(batch), loader(batch))
    metrics = trainer.callback_metrics
    assert {"train/loss", "train/loss_class", "train/loss_box", "val/loss", "val/map", "val/map_50"} <= set(metrics)
    assert set(task.predictions.image_ids_D.tolist()) == {1, 2, 3, 4}

    evaluator = build_evaluator(spec, tmp_path, False)
    evaluator.validate(task, loader(batch), verbose=False)
    assert evaluator.callback_metrics["val/map"] == metrics["val/map"]
    evaluator.test(task, loader(batch), verbose=False)
    assert evaluator.callback_metrics["test/map"] == metrics["val/map"]


def test_outside_a_terminal_an_epoch_is_a_line(tmp_path, caplog, capsys):
    with caplog.at_level("INFO", logger="effdet_lab"):
        fit(classifier(max_epochs=2), tmp_path)
    first, second = own_sentences(caplog)
    assert first.startswith("epoch 1/2: ")
    assert all(word in first for word in (" loss ", " val loss ", " top-1 ", " left"))
    assert second.endswith("0:00:00 left")
    assert not capsys.readouterr().out


def test_in_a_terminal_a_bar_counts_the_batches_of_the_whole_run(tmp_path, caplog):
    console = Console(force_terminal=True, record=True, width=160, file=io.StringIO())
    spec = classifier(max_epochs=2)
    trainer = build_trainer(spec, tmp_path, False)
    trainer.callbacks = [
        RunProgress(console) if isinstance(callback, RunProgress) else callback for callback in trainer.callbacks
    ]
    with caplog.at_level("INFO", logger="effdet_lab"):
        trainer.fit(ClassificationTask(build_model(spec), spec), loader(*[swatches(3)] * 2), loader(swatches(3)))
    text = console.export_text()
    assert "evaluating" in text
    assert "4/4 batches" in text
    assert len(own_sentences(caplog)) == 2


def test_a_second_run_in_the_same_folder_replaces_the_checkpoints(tmp_path):
    fit(classifier(max_epochs=2), tmp_path)
    fit(classifier(max_epochs=1), tmp_path)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]
    assert torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 2
    assert [row["epoch"] for row in read_table(tmp_path / "metrics.csv")] == ["1"]


def own_sentences(caplog):
    """What we say, among what Lightning says."""
    return [record.message for record in caplog.records if record.name == "effdet_lab"]


@pytest.mark.parametrize(("score", "kept"), [(0.4, False), (0.5, True), (0.6, True)])
def test_of_equal_scores_the_later_weights_are_kept(score, kept, tmp_path):
    best = LaterOfEquals(tmp_path, monitor="val/top1", mode="max", save_top_k=1)
    best.best_model_score, best.best_k_models, best.kth_best_model_path = (
        torch.tensor(0.5),
        {"best.ckpt": torch.tensor(0.5)},
        "best.ckpt",
    )
    one_process = SimpleNamespace(strategy=SimpleNamespace(reduce_boolean_decision=lambda decision, **_: decision))
    assert best.check_monitor_top_k(one_process, torch.tensor(score)) is kept
