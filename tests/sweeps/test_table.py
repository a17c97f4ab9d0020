"""A sweep as tables."""

import dataclasses

from scripted import experiment, ledger_of

from effdet_lab.sweeps.status import progress_of, summary
from effdet_lab.sweeps.table import best_of, ranking_table, result_table, varied, write_csv, write_ranking


def measured(tmp_path, scores):
    """Jobs of several phi and seeds with their scores."""
    specs = [
        dataclasses.replace(experiment(seed), overrides=(f"phi={phi}", f"seed={seed}", "data=digits"))
        for phi, seed in scores
    ]
    ledger = ledger_of(tmp_path, specs)
    for number, score in enumerate(scores.values()):
        ledger.change(number, state="done", metrics={"val/top1": score})
    return ledger


def cells(table) -> list[list[str]]:
    return [list(row) for row in zip(*(column.cells for column in table.columns), strict=True)]


def test_repeats_stand_together_with_mean_spread_and_number(tmp_path):
    ledger = measured(tmp_path, {(0, 0): 0.5, (0, 1): 0.7, (1, 0): 0.8, (1, 1): 0.8, (2, 0): 0.9})
    table = ranking_table(ledger)
    assert [column.header for column in table.columns] == ["phi", "val/top1", "std", "n"]
    assert cells(table) == [["2", "0.9000", "", "1"], ["1", "0.8000", "0.0000", "2"], ["0", "0.6000", "0.1414", "2"]]


def test_without_repeats_there_is_no_such_table(tmp_path):
    assert ranking_table(measured(tmp_path, {(0, 0): 0.5, (1, 0): 0.7})) is None


def test_more_settings_than_can_be_read_side_by_side_are_left_to_the_file(tmp_path):
    specs = [
        dataclasses.replace(
            experiment(seed), overrides=tuple(f"backbone.stages.{stage}.repeats={seed}" for stage in range(9))
        )
        for seed in (0, 1)
    ]
    ledger = ledger_of(tmp_path, specs)
    for number in range(2):
        ledger.change(number, state="done", metrics={"val/top1": 0.5})
    assert [column.header for column in result_table(ledger).columns] == ["job", "status", "seconds", "val/top1"]
    write_csv(ledger)
    assert "backbone.stages.8.repeats" in (tmp_path / "sweep.csv").read_text()


def test_what_varies_is_what_differs_or_is_not_everywhere(tmp_path):
    ledger = measured(tmp_path, {(0, 0): 0.5, (0, 1): 0.7})
    assert varied(ledger.entries) == ["seed"]
    ledger.entries.append(dataclasses.replace(ledger.entries[0], number=2, overrides=("phi=0", "seed=0")))
    assert varied(ledger.entries) == ["seed", "data"]


def test_the_best_is_a_finished_job(tmp_path):
    ledger = measured(tmp_path, {(0, 0): 0.5, (0, 1): 0.7, (0, 2): 0.9})
    ledger.change(2, state="stopped")
    assert best_of(ledger.entries).number == 1
    assert best_of([]) is None


def test_the_csv_has_a_row_a_job(tmp_path):
    ledger = measured(tmp_path, {(0, 0): 0.5, (1, 0): 0.7})
    write_csv(ledger)
    lines = (tmp_path / "sweep.csv").read_text().splitlines()
    assert lines[0] == "job,overrides,phi,status,seconds,folder,val/top1"
    assert lines[2] == f"1,phi=1 seed=0 data=digits,1,done,0.0,{tmp_path / '1'},0.7"


def test_progress_is_read_from_the_files(tmp_path):
    ledger = ledger_of(tmp_path, [experiment()])
    (tmp_path / "0" / "metrics.csv").write_text("epoch,step,seconds,val/top1\n1,3,0.1,0.5\n2,6,0.1,0.75\n")
    progress = progress_of(ledger, ledger.entries[0])
    assert (progress.epoch, progress.metric, progress.left) == (2, "top1 0.7500", None)
    assert summary(ledger) == f"{tmp_path}: 1 jobs, 1 waiting"


def test_a_lucky_repeat_does_not_make_its_setting_the_best(tmp_path):
    ledger = measured(tmp_path, {(0, 0): 0.95, (0, 1): 0.5, (1, 0): 0.8, (1, 1): 0.9})
    assert best_of(ledger.entries).number == 3


def test_the_ranking_is_a_file_with_mean_spread_and_number(tmp_path):
    write_ranking(measured(tmp_path, {(0, 0): 0.5, (0, 1): 0.7, (1, 0): 0.9}))
    assert (tmp_path / "ranking.csv").read_text().splitlines() == [
        "rank,phi,n,jobs,val/top1,val/top1_std",
        "1,1,1,2,0.9,",
        "2,0,2,0 1,0.6,0.1414214",
    ]


def test_without_a_measurement_there_is_no_ranking(tmp_path):
    write_ranking(ledger_of(tmp_path, [experiment()]))
    assert not (tmp_path / "ranking.csv").exists()
