"""Searches: what is proposed, what is learnt, and that a kill neither loses nor repeats a trial."""

import json
import math
import sys
from dataclasses import replace

import pytest
from scripted import ScriptedEngine

from effdet_lab.cli import main
from effdet_lab.errors import ConfigError, MachineError
from effdet_lab.run.jobs import is_search, search
from effdet_lab.run.outcome import Outcome
from effdet_lab.settings.compose import split_space
from effdet_lab.sweep_spec import Dimension, SearchSpec
from effdet_lab.sweeps import driver
from effdet_lab.sweeps.driver import drive
from effdet_lab.sweeps.ledger import Ledger, read_ledger

pytest.importorskip("optuna")
from effdet_lab.sweeps.search import Search

BASE = ("model=efficientnet", "phi=-6", "data=digits", "logger=csv")
RATE = Dimension("optim.learning_rate", low=1e-4, high=1e-1, log=True)


@pytest.fixture(autouse=True)
def _without_waiting(monkeypatch):
    monkeypatch.setattr(driver, "LOOK_EVERY", 0.0)


def asked(name="tpe", trials=6, space=(RATE,), prune="none", against="", warm_start=(), seed=0) -> SearchSpec:
    return SearchSpec(name, trials, "", against, prune, seed, "", warm_start, space)


def goodness(spec) -> float:
    """Best at a learning rate of 0.01."""
    return 1 - abs(math.log10(spec.optim.learning_rate / spec.optim.learning_rate * typed_rate(spec)) + 2) / 4


def typed_rate(spec) -> float:
    return float(next(text for text in spec.overrides if text.startswith("optim.learning_rate=")).partition("=")[2])


def learns(folder, spec, attempt):
    (folder / "metrics.json").write_text(json.dumps({"val/top1": goodness(spec)}))
    (folder / "costs.json").write_text(json.dumps({"parameters": 7, "multiply_adds": typed_rate(spec)}))
    return Outcome("stopped")  # the scripted engine writes no metrics of its own for these


def done_with(folder, spec, attempt):
    learns(folder, spec, attempt)
    return Outcome("done")


class Engine(ScriptedEngine):
    def start(self, folder):
        handle = super().start(folder)
        learns(folder, self.started[-1][1], 1)
        return handle


def run(folder, spec, engine=None):
    folder.mkdir(exist_ok=True)
    ledger = read_ledger(folder) if (folder / "sweep.json").exists() else Ledger(folder)
    found = Search(spec, ledger, BASE, "val/top1")
    engine = engine or Engine(done_with)
    drive(ledger, found, engine, retries=0, tell=lambda *_: None)
    return found, ledger, engine


@pytest.mark.parametrize("name", ["random", "tpe", "cmaes"])
def test_every_trial_is_a_job_and_the_study_knows_what_it_achieved(name, tmp_path):
    found, ledger, _ = run(tmp_path, asked(name, trials=5))
    assert [entry.state for entry in ledger.entries] == ["done"] * 5
    trials = found.study.trials
    assert [trial.value for trial in trials] == [entry.metrics["val/top1"] for entry in ledger.entries]
    assert len({entry.overrides for entry in ledger.entries}) == 5
    assert all(1e-4 <= trial.params["optim.learning_rate"] <= 1e-1 for trial in trials)


def test_a_search_learns(tmp_path):
    _, ledger, _ = run(tmp_path, asked("tpe", trials=30))
    scores = [entry.metrics["val/top1"] for entry in ledger.entries]
    assert sum(scores[20:]) / 10 > sum(scores[:10]) / 10
    assert max(scores) > 0.95


def test_a_grid_is_walked_once_and_wholly(tmp_path):
    space = (Dimension("trainer.max_epochs", low=1, high=3, step=1), Dimension("seed", choices=(0, 1)))
    search_spec = asked("grid", trials=6, space=space)

    def script(folder, spec, attempt):
        (folder / "metrics.json").write_text(json.dumps({"val/top1": 0.5}))
        return Outcome("done")

    tmp_path.mkdir(exist_ok=True)
    ledger = Ledger(tmp_path)
    drive(
        ledger, Search(search_spec, ledger, BASE, "val/top1"), ScriptedEngine(script), retries=0, tell=lambda *_: None
    )
    found = {entry.overrides[-2:] for entry in ledger.entries}
    assert found == {(f"trainer.max_epochs={epochs}", f"seed={seed}") for epochs in (1, 2, 3) for seed in (0, 1)}


def test_a_killed_search_loses_no_trial_and_repeats_none(tmp_path):
    """The kill comes while job 3 runs; its trial goes on, and those after it are new."""

    class Killed(Exception):
        pass

    def script(folder, spec, attempt):
        if folder.name == "3":
            raise Killed
        return done_with(folder, spec, attempt)

    with pytest.raises(Killed):
        run(tmp_path, asked(trials=6), Engine(script))
    before = read_ledger(tmp_path)
    assert [entry.state for entry in before.entries] == ["done", "done", "done", "running"]
    before.change(3, state="waiting")  # what sweep=resume does
    found, ledger, engine = run(tmp_path, asked(trials=6))
    assert [number for number, _ in engine.started] == [3, 4, 5]
    assert [entry.overrides for entry in ledger.entries[:4]] == [entry.overrides for entry in before.entries]
    assert len(found.study.trials) == 6
    assert len({trial.params["optim.learning_rate"] for trial in found.study.trials}) == 6
    assert all(trial.state.is_finished() for trial in found.study.trials)


def test_a_trial_that_was_drawn_but_never_written_down_is_not_drawn_again(tmp_path):
    run(tmp_path, asked(trials=2))
    ledger = read_ledger(tmp_path)
    forgotten = Search(asked(trials=3), ledger, BASE, "val/top1").ask(2)
    again = Search(asked(trials=3), read_ledger(tmp_path), BASE, "val/top1").ask(2)
    assert again.overrides == forgotten.overrides


def test_an_end_the_study_did_not_hear_of_is_told_when_it_is_opened(tmp_path):
    found, ledger, _ = run(tmp_path, asked(trials=2))
    trial = found.study.ask(found.distributions)
    from effdet_lab.run.jobs import spec_of

    spec = spec_of(BASE, trial.params)
    ledger.add(spec.overrides, spec)
    ledger.change(2, state="done", metrics={"val/top1": 0.25})
    again = Search(asked(trials=3), read_ledger(tmp_path), BASE, "val/top1")
    assert again.study.trials[2].value == 0.25


def test_the_same_seed_does_not_propose_the_same_after_a_restart(tmp_path):
    run(tmp_path, asked("random", trials=3))
    _, ledger, _ = run(tmp_path, asked("random", trials=6))
    assert len({entry.overrides for entry in ledger.entries}) == 6


def stopped_trials(tmp_path, spec):
    """Those of trials of three epochs that were asked to stop, and the ledger."""

    class Slow(Engine):
        def start(self, folder):
            handle = super().start(folder)
            score = goodness(self.started[-1][1])
            rows = "".join(f"{epoch},1,0.1,{score}\n" for epoch in (1, 2, 3))
            (folder / "metrics.csv").write_text("epoch,step,seconds,val/top1\n" + rows)
            return handle

    _, ledger, _ = run(tmp_path, spec, Slow(done_with, looks=3))
    return [entry.number for entry in ledger.entries if (tmp_path / str(entry.number) / "stop").exists()], ledger


def test_what_falls_behind_is_stopped(tmp_path):
    """Successive halving after the first epoch: of three alike but for their score the worse are asked to stop."""
    stopped, ledger = stopped_trials(tmp_path, asked("random", trials=9, prune="asha"))
    assert 2 <= len(stopped) <= 7
    best = max(ledger.entries, key=lambda entry: entry.metrics["val/top1"])
    assert best.number not in stopped


@pytest.mark.parametrize("prune", ["asha", "hyperband", "median"])
def test_no_trial_falls_behind_before_its_first_epochs_are_over(prune, tmp_path):
    stopped, _ = stopped_trials(tmp_path, replace(asked("random", trials=9, prune=prune), min_epochs=4))
    assert stopped == []


def test_two_aims_are_weighed(tmp_path):
    found, _, _ = run(tmp_path, asked("nsga2", trials=5, against="multiply_adds"))
    assert [len(trial.values) for trial in found.study.trials] == [2] * 5
    assert [direction.name for direction in found.study.directions] == ["MAXIMIZE", "MINIMIZE"]


def test_an_earlier_sweep_is_known_from_the_start(tmp_path):
    run(tmp_path / "first", asked(trials=3))
    found, ledger, _ = run(tmp_path / "second", asked(trials=2, warm_start=(str(tmp_path / "first"),)))
    assert len(found.study.trials) == 5
    assert len(ledger.entries) == 2
    assert found.study.trials[4].value == ledger.entries[1].metrics["val/top1"]


def test_a_failed_trial_is_a_failed_trial(tmp_path):
    found, ledger, _ = run(tmp_path, asked(trials=2), ScriptedEngine(lambda *_: Outcome("error", "x")))
    assert [entry.state for entry in ledger.entries] == ["failed", "failed"]
    assert [trial.state.name for trial in found.study.trials] == ["FAIL", "FAIL"]


def test_the_space_is_judged_before_the_first_trial(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as refusal:
        search(
            [
                *BASE,
                "search=tpe",
                "optim.learning_rate=interval(-1.0,0.1)",
                "head.dropout=choice(0.1,1.5)",
                "seed=range(0,3)",
            ]
        )
    text = str(refusal.value)
    assert "space: optim.learning_rate=-1.0" in text
    assert "head.dropout=1.5" in text
    assert "seed" not in text
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["search=tpe"], "a search needs settings to choose"),
        (["search=grid", "optim.learning_rate=interval(0.1,0.2)"], "a grid needs choices or a step"),
        (["search=nsga2", "search.prune=asha", "seed=0,1"], "search.prune=asha: of two aims"),
        (["search=tpe", "space.settings=[{setting: seed}]"], "space: seed: needs choices, or low and high"),
        (["search=tpe", "space.settings=[{setting: seed, low: 3, high: 1}]"], "low=3 must be below high=1"),
        (["search=tpe", "space.settings=[{setting: seed, low: 0, high: 1, log: true}]"], "starts above 0"),
        (["search=tpe", "space.settings=[{setting: sed, choices: [1]}]"], "sed=1: no such setting"),
    ],
)
def test_a_wrong_search_is_refused_in_words(overrides, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as refusal:
        search([*BASE, *overrides])
    assert sentence in str(refusal.value)


def test_what_is_typed_becomes_a_space():
    settled, space = split_space(
        [
            "a=1",
            "b=1,2",
            "c=interval(0.5,2)",
            "d=tag(log,interval(0.1,1))",
            "e=range(2,9,3)",
            "f=interval(1,4)",
            "g=int(interval(1,4))",
        ]
    )
    assert settled == ("a=1",)
    assert space == (
        Dimension("b", choices=(1, 2)),
        Dimension("c", low=0.5, high=2.0),
        Dimension("d", low=0.1, high=1.0, log=True),
        Dimension("e", low=2.0, high=8.0, step=3.0),
        Dimension("f", low=1.0, high=4.0),
        Dimension("g", low=1.0, high=4.0, step=1.0),
    )
    assert is_search(["search=tpe"])
    assert not is_search(["search=none", "seed=1"])


def test_without_optuna_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.delitem(sys.modules, "effdet_lab.sweeps.search")
    with pytest.raises(MachineError, match=r"pip install 'effdet-lab\[search\]'"):
        __import__("effdet_lab.sweeps.search")


def test_a_search_that_is_left_to_wandb_starts_nothing_here(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    typed = [*BASE[:-1], "logger.mode=offline", "search=tpe", "search.agent=wandb", "hydra.sweep.dir=sweep"]
    typed += ["optim.learning_rate=interval(0.001,0.1)"]
    monkeypatch.setattr(sys, "argv", ["run.py", *typed])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0
    assert [path.name for path in (tmp_path / "sweep").iterdir()] == ["wandb_sweep.yaml"]
    assert "wandb sweep sweep/wandb_sweep.yaml" in capsys.readouterr().out
