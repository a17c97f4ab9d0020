"""The studies of the EfficientNet and MnasNet papers: candidates, rewards, and the files that hold what was found."""

import csv
import dataclasses
import json

import pytest
import yaml
from scripted import ScriptedEngine, experiment, ledger_of

from effdet_lab.arithmetic import count_model
from effdet_lab.errors import ConfigError
from effdet_lab.run.jobs import is_search, search, single, sweep
from effdet_lab.run.outcome import Outcome
from effdet_lab.scaling import Coefficients
from effdet_lab.settings.compose import compose
from effdet_lab.sweep_spec import Dimension, SearchSpec
from effdet_lab.sweeps import driver
from effdet_lab.sweeps.driver import drive
from effdet_lab.sweeps.findings import coefficient_rows, write_findings
from effdet_lab.sweeps.grid import coefficients_in, count_of, points_of, told_candidates
from effdet_lab.sweeps.ledger import Ledger, read_ledger
from effdet_lab.sweeps.table import REWARD, best_of

SMALL = (
    "model=efficientnet",
    "scaling=formula",
    "data=digits",
    "logger=csv",
    "scaling.base={depth:0.6,width:0.25,resolution:0.1429}",
)


def recipe(name: str, *more: str) -> SearchSpec:
    return search(["task=search", f"experiment={name}", *more]).spec.search


def test_the_recipe_s_candidates_double_the_cost_and_the_paper_s_are_among_them():
    asked = recipe("compound_grid")
    found = {coefficients_in(point) for point in points_of(asked)}
    assert len(found) == 17
    assert all(abs(coefficients.cost - 2) <= 0.08 + 1e-9 for coefficients in found)
    assert Coefficients(1.2, 1.1, 1.15) in found
    assert count_of(asked) == 3 * 17
    said = told_candidates(asked)
    assert "The paper's 1.2, 1.1, 1.15 are among them: 1.9203." in said
    assert "17 candidates" in said
    assert "51 jobs" in said


def test_a_narrower_tolerance_leaves_the_paper_s_out():
    asked = recipe("compound_grid", "search.tolerance=0.05")
    assert Coefficients() not in {coefficients_in(point) for point in points_of(asked)}
    assert "paper" not in told_candidates(asked)


def test_a_grid_s_numbers_are_as_people_type_them():
    dimension = Dimension("scaling.alpha", low=1.0, high=1.4, step=0.1)
    asked = dataclasses.replace(recipe("compound_grid"), space=(dimension,), tolerance=0.0)
    assert [point["scaling.alpha"] for point in points_of(asked)] == [1.0, 1.1, 1.2, 1.3, 1.4]


def test_candidates_that_are_compared_spend_about_the_same():
    base = search(["task=search", "experiment=compound_grid", "scaling.base={depth:1,width:1,resolution:1}"])
    counts = []
    for point in points_of(base.spec.search)[::3]:
        spec = compose(*base.base, *(f"{setting}={value}" for setting, value in point.items()))
        counts.append(count_model(spec.model, 10).multiply_adds)
    # Blocks are whole and round up: a depth of 1.1 adds one to each of the seven stages.
    assert max(counts) / min(counts) < 1.6


def test_task_search_needs_a_search():
    assert is_search(["task=search", "phi=0"])
    with pytest.raises(ConfigError, match="there is nothing to search"):
        search(["task=search", "model=efficientnet"])


def test_a_recipe_s_own_axes_make_the_sweep_and_what_is_typed_wins():
    jobs = sweep(["experiment=scaling_dimensions", "seed=0", "budget.growth=2"]).jobs
    assert [job.spec.scaling for job in jobs] == ["formula", "depth", "width", "resolution"]
    base = count_model(compose(*SMALL).model, 10).multiply_adds
    for job in jobs:
        growth = count_model(job.spec.model, 10).multiply_adds / base
        assert 1.5 < growth <= 2  # whole blocks and channels of eight leave some of it


def test_a_recipe_that_is_a_sweep_says_so_without_m():
    with pytest.raises(ConfigError, match="Add -m"):
        single(["experiment=scaling_dimensions"])


def measured(tmp_path, scores, setting="scaling.alpha"):
    """Jobs of a setting's values and seeds with their scores."""
    specs = [
        dataclasses.replace(
            compose(*SMALL, f"{setting}={value}", f"seed={seed}"),
            overrides=(*SMALL, f"{setting}={value}", f"seed={seed}"),
        )
        for value, seed in scores
    ]
    ledger = ledger_of(tmp_path, specs)
    for number, score in enumerate(scores.values()):
        ledger.change(number, state="done", metrics={"val/top1": score})
    return ledger


def test_the_best_coefficients_become_a_file_that_scales(tmp_path):
    ledger = measured(tmp_path, {(1.2, 0): 0.5, (1.2, 1): 0.7, (1.4, 0): 0.8, (1.4, 1): 0.82})
    sentences = write_findings(ledger)
    assert f"scaling={tmp_path / 'scaling.yaml'}" in sentences[0]
    spec = compose("model=efficientnet", f"scaling={tmp_path / 'scaling.yaml'}", "phi=1")
    assert spec.model.backbone.depth == pytest.approx(0.6 * 1.4)
    assert spec.scaling == "formula"


def test_candidates_are_told_with_product_and_interval(tmp_path):
    ledger = measured(tmp_path, {(1.2, 0): 0.5, (1.2, 1): 0.7, (1.4, 0): 0.8, (1.4, 1): 0.82})
    first, second = coefficient_rows(ledger)
    assert (first["alpha"], second["alpha"]) == (1.4, 1.2)
    assert second["product"] == pytest.approx(1.2 * 1.1**2 * 1.15**2)
    # Student's t for two values: 12.706 standard errors.
    assert second["high"] - second["low"] == pytest.approx(2 * 12.706 * 0.1, rel=1e-3)
    write_findings(ledger)
    with (tmp_path / "coefficients.csv").open() as file:
        assert [row["n"] for row in csv.DictReader(file)] == ["2", "2"]


@pytest.fixture
def _without_waiting(monkeypatch):
    monkeypatch.setattr(driver, "LOOK_EVERY", 0.0)


ACCURACY = {8: 0.90, 16: 0.91, 24: 0.92, 32: 0.60}  # by the channels of the stem


def architectures(folder, trials=4, target=2_000_000):
    pytest.importorskip("optuna")
    from effdet_lab.sweeps.search import Search

    space = (Dimension("backbone.stem_channels", choices=tuple(ACCURACY)),)
    asked = SearchSpec("grid", trials, "", "", "none", 0, "", (), space, target=target)
    base = (*SMALL, "backbone=mnasnet_a1")

    def script(job, spec, attempt):
        stem = int(next(text for text in spec.overrides if "stem_channels" in text).partition("=")[2])
        multiply_adds = count_model(spec.model, 10).multiply_adds
        (job / "costs.json").write_text(json.dumps({"parameters": 1, "multiply_adds": multiply_adds}))
        accuracies[job.name] = ACCURACY[stem]
        return Outcome("done")

    accuracies: dict[str, float] = {}

    class Engine(ScriptedEngine):
        def start(self, job):
            handle = super().start(job)
            (job / "metrics.json").write_text(json.dumps({"val/top1": accuracies[job.name]}))
            return handle

    folder.mkdir(exist_ok=True)
    ledger = read_ledger(folder) if (folder / "sweep.json").exists() else Ledger(folder)
    found = Search(asked, ledger, base, "val/top1")
    drive(ledger, found, Engine(script), retries=0, tell=lambda *_: None)
    return found, ledger


@pytest.mark.usefixtures("_without_waiting")
def test_architectures_are_judged_by_accuracy_and_cost(tmp_path):
    found, ledger = architectures(tmp_path)
    for entry, trial in zip(ledger.entries, found.study.trials, strict=True):
        multiply_adds = json.loads((ledger.job_folder(entry.number) / "costs.json").read_text())["multiply_adds"]
        reward = entry.metrics["val/top1"] * (multiply_adds / 2e6) ** -0.07
        assert entry.metrics[REWARD] == pytest.approx(reward)
        assert trial.value == pytest.approx(reward)
    best = best_of(ledger.entries)
    assert best.metrics[REWARD] == max(entry.metrics[REWARD] for entry in ledger.entries)


@pytest.mark.usefixtures("_without_waiting")
def test_the_front_is_kept_and_the_winner_scales_like_any_other_backbone(tmp_path):
    _, ledger = architectures(tmp_path)
    write_findings(ledger)
    with (tmp_path / "pareto.csv").open() as file:
        rows = list(csv.DictReader(file))
    on_front = {row["job"] for row in rows if row["front"] == "1"}
    worst = next(str(entry.number) for entry in ledger.entries if entry.metrics["val/top1"] == 0.60)
    assert worst not in on_front
    assert on_front
    for row in rows:
        assert bool(row["file"]) == (row["front"] == "1")
        if row["file"]:
            compose("model=efficientnet", f"backbone={tmp_path / row['file']}")
    winner = tmp_path / "backbone.yaml"
    stem = yaml.safe_load(winner.read_text())["stem_channels"]
    small, large = (compose("model=efficientnet", f"backbone={winner}", f"phi={phi}").model.backbone for phi in (0, 3))
    assert small.stem_channels == stem
    assert sum(stage.repeats for stage in large.stages) > sum(stage.repeats for stage in small.stages)
    compose("model=efficientdet", f"backbone={winner}", "phi=-1")  # it carries a detector, too


@pytest.mark.usefixtures("_without_waiting")
def test_a_resumed_architecture_search_knows_the_rewards_of_before(tmp_path):
    architectures(tmp_path, trials=2)
    found, ledger = architectures(tmp_path, trials=4)
    assert len(ledger.entries) == 4
    assert len({entry.overrides for entry in ledger.entries}) == 4
    assert [trial.value for trial in found.study.trials] == [entry.metrics[REWARD] for entry in ledger.entries]


def test_a_sweep_that_varied_neither_leaves_no_such_file(tmp_path):
    ledger = ledger_of(tmp_path, [experiment(0), experiment(1)])
    for number in range(2):
        ledger.change(number, state="done", metrics={"val/top1": 0.5})
    assert write_findings(ledger) == []
    assert not list(tmp_path.glob("*.yaml"))


def test_the_space_of_mnasnet_names_settings_that_are_there():
    pytest.importorskip("optuna")
    found = search(["task=search", "experiment=architecture_search"])
    assert len(found.spec.search.space) == 49
    assert found.spec.search.target == 1_000_000
