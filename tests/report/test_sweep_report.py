# ruff: noqa: RUF001 (pages are typeset, with minus signs and dashes)
import csv

import pytest
from parsed_page import ParsedPage, needs_nothing_else
from report_folders import detector_rows, write_metrics, write_spec, write_sweep, write_table

import effdet_lab
from effdet_lab.errors import DataError
from effdet_lab.report.ranking import ranked
from effdet_lab.report.reading import read_sweep
from effdet_lab.report.sweep import write_sweep_report

VARIED = ["phi", "optim.learning_rate", "seed"]
# phi, rate, seed, val/map: means 0.2, 0.5, 0.6 and one group whose second repeat failed.
JOBS = [
    ("-3", "0.01", "0", 0.1), ("-3", "0.01", "1", 0.3),
    ("-2", "0.01", "0", 0.5), ("-2", "0.01", "1", 0.5),
    ("-3", "0.02", "0", 0.6), ("-3", "0.02", "1", 0.6),
    ("-2", "0.02", "0", 0.4), ("-2", "0.02", "1", None),
]  # fmt: skip


@pytest.fixture(scope="module")
def eight():
    fixed = ["model=efficientdet", "data=digit_scenes", "trainer.max_epochs=3"]
    return [
        effdet_lab.compose(*fixed, f"phi={phi}", f"optim.learning_rate={rate}", f"seed={seed}")
        for phi, rate, seed, _ in JOBS
    ]


def rows():
    made = []
    for number, (phi, rate, seed, value) in enumerate(JOBS):
        row = {"phi": phi, "optim.learning_rate": rate, "seed": seed, "seconds": 20.0 + number}
        made.append(
            row | ({"status": "failed (1)"} if value is None else {"val/map": value, "val/map_50": value + 0.1})
        )
    return made


@pytest.fixture
def sweep(tmp_path, eight):
    costs = [{"parameters": 1000 * 2 ** (number // 2), "multiply_adds": 5000} for number in range(8)]
    folder = tmp_path / "sweep"
    write_sweep(folder, eight, VARIED, rows(), costs)
    for number in range(8):
        write_table(folder / str(number) / "metrics.csv", detector_rows(3))
    (folder / "7" / "log.txt").write_text("epoch 1\nRuntimeError: <out of luck>\n", encoding="utf-8")
    (folder / "0" / "report.html").write_text("a report", encoding="utf-8")
    return folder


def report(folder):
    path = write_sweep_report(folder)
    assert path == folder / "report.html"
    text = path.read_text(encoding="utf-8")
    assert needs_nothing_else(text)
    return text


def test_repeats_are_grouped_and_the_best_mean_comes_first(sweep):
    groups = ranked(read_sweep(sweep), "val/map")
    assert [(group.label, group.values) for group in groups] == [
        ("φ −3, learning_rate 0.02", (0.6, 0.6)),
        ("φ −2, learning_rate 0.01", (0.5, 0.5)),
        ("φ −2, learning_rate 0.02", (0.4,)),
        ("φ −3, learning_rate 0.01", (0.1, 0.3)),
    ]
    assert groups[3].mean == pytest.approx(0.2)
    assert groups[3].deviation == pytest.approx(0.02**0.5)  # two values 0.2 apart
    assert groups[2].deviation is None


def test_the_ranking_shows_mean_deviation_and_number(sweep):
    text = report(sweep)
    page = ParsedPage(text)
    assert page.texts("th")[:9] == [
        "rank", "phi", "optim.learning_rate", "val/map", "std", "n", "val/map_50", "parameters", "multiply-adds",
    ]  # fmt: skip
    shown = page.texts("td")
    assert shown[:9] == ["1", "-3", "0.02", "0.6000", "0.0000", "2", "0.7000", "4.00 k", "5.00 k"]
    assert shown[20:26] == ["3", "-2", "0.02", "0.4000", "–", "1"]
    assert shown[30:36] == ["4", "-3", "0.01", "0.2000", "0.1414", "2"]


def test_the_headline_is_the_best_group(sweep):
    page = ParsedPage(report(sweep))
    assert page.texts("dd")[:2] == ["0.6000", "7 of 8"]
    assert page.texts("small") == ["± 0.0000 over 2 repeats; φ −3, learning_rate 0.02"]
    assert "8 jobs of detectors on digit_scenes, over phi, optim.learning_rate and seed." in page.texts("p")


def test_charts_draw_whiskers_the_front_and_all_jobs(sweep):
    text = report(sweep)
    page = ParsedPage(text)
    titles = ["val/map against φ", "val/map against parameters", "val/map against seconds"]
    assert page.texts("h3")[:3] == titles  # multiply-adds are all the same: nothing to draw
    told = page.texts("title")
    assert "φ −3, learning_rate 0.01\nval/map 0.2000 ± 0.1414 (n = 2)" in told
    assert sum(text.startswith("job ") and "val/loss" in text for text in told) == 8
    fronts = [path["d"] for path in page.attributes("path") if path["class"] == "front"]
    assert [front.count("H") for front in fronts] == [2, 2]  # through 0.2, 0.5 and 0.6; 0.4 costs most


def test_long_curves_are_thinned_and_keep_their_end(sweep):
    write_table(sweep / "0" / "metrics.csv", detector_rows(1000))
    page = ParsedPage(report(sweep))
    lines = [path["d"] for path in page.attributes("path") if path["class"] == "line"]
    assert 100 < max(line.count("L") for line in lines) < 150
    assert "job 0: φ −3, learning_rate 0.01, seed 0\nval/map 0.6195 after epoch 1000" in page.texts("title")


def test_the_weight_of_a_setting_is_its_eta_squared(sweep):
    """Seven values, mean 3/7; rates: 0.35 (n = 4) and 1.6/3 (n = 3)."""
    values = [value for *_, value in JOBS if value is not None]
    centre = sum(values) / 7
    total = sum((value - centre) ** 2 for value in values)
    rate = (4 * (0.35 - centre) ** 2 + 3 * (1.6 / 3 - centre) ** 2) / total
    shown = ParsedPage(report(sweep)).texts("td")
    assert f"{rate:.3f}" in shown


def test_a_setting_that_no_two_jobs_share_cannot_be_told(tmp_path, eight):
    given = [{"phi": str(number), "seed": "01"[number % 2], "val/map": number / 10} for number in range(4)]
    write_sweep(tmp_path, eight[:4], ["phi", "seed"], given)
    assert "cannot be told" in report(tmp_path)


def test_a_failed_job_is_told_with_its_last_words(sweep):
    page = ParsedPage(report(sweep))
    assert "Job 7: failed (1)" in page.texts("h3")
    assert page.texts("pre") == ["epoch 1\nRuntimeError: <out of luck>"]
    assert "failed (1)" in page.texts("td")


def test_links_lead_to_the_reports_that_are_there(sweep):
    assert [link["href"] for link in ParsedPage(report(sweep)).attributes("a")] == ["0/report.html"]


def test_settings_of_users_are_text(tmp_path, eight):
    evil = "<script>alert(1)</script>"
    given = [{"data.name": name, "seed": seed, "val/map": 0.5} for name in (evil, "b") for seed in "01"]
    write_sweep(tmp_path, eight[:4], ["data.name", "seed"], given)
    page = ParsedPage(report(tmp_path))
    assert len(page.attributes("script")) == 1
    assert evil in page.texts("td")


def test_without_costs_there_is_no_chart_of_them(tmp_path, eight):
    write_sweep(tmp_path, eight, VARIED, rows())
    page = ParsedPage(report(tmp_path))
    assert [title for title in page.texts("h3") if "against" in title] == [
        "val/map against φ",
        "val/map against seconds",
    ]
    assert "parameters" not in page.texts("th")


def test_a_sweep_that_was_killed_lists_the_jobs_it_never_started(tmp_path, eight):
    write_sweep(tmp_path, eight, VARIED, rows()[:3])
    sweep = read_sweep(tmp_path)
    assert [job.status for job in sweep.jobs] == ["done"] * 3 + ["not ended"] * 5
    assert sweep.jobs[4].settings == {"phi": "-3", "optim.learning_rate": "0.02", "seed": "0"}
    report(tmp_path)


def test_without_its_table_a_sweep_is_read_from_its_jobs(tmp_path, eight):
    for number, spec in enumerate(eight):
        write_spec(tmp_path / str(number), spec)
    write_metrics(tmp_path / "2", {"val/map": 0.25})
    sweep = read_sweep(tmp_path)
    assert set(sweep.varied) == set(VARIED)
    assert "sweep.csv is not there: no job has ended." in ParsedPage(report(tmp_path)).texts("li")
    assert [group.values for group in ranked(sweep, "val/map")] == [(0.25,)]


def test_a_table_without_its_folders_is_still_ranked(tmp_path, eight):
    write_sweep(tmp_path, [], VARIED, rows())
    assert ParsedPage(report(tmp_path)).texts("td")[:4] == ["1", "-3", "0.02", "0.6000"]


def test_nothing_but_losses_ranks_the_lowest_first(tmp_path, eight):
    given = [{"phi": phi, "val/loss": loss} for phi, loss in (("-3", 0.9), ("-2", 0.4))]
    write_sweep(tmp_path, eight[:2], ["phi"], given)
    assert ParsedPage(report(tmp_path)).texts("td")[:3] == ["1", "-2", "0.4000"]


def test_an_empty_folder_makes_a_page_and_none_is_refused(tmp_path):
    report(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        write_sweep_report(tmp_path / "nowhere")


def test_the_hand_made_table_is_as_a_sweep_writes_it(sweep):
    with (sweep / "sweep.csv").open(newline="", encoding="utf-8") as file:
        columns = next(csv.reader(file))
    assert columns == ["job", "overrides", *VARIED, "status", "seconds", "folder", "val/map", "val/map_50"]


@pytest.fixture
def searched(tmp_path, eight):
    """Trials of a search over two settings: eight draws, of which three were ended early."""
    given = [
        {
            "optim.learning_rate": f"0.00385588703188{number:04}",
            "optim.weight_decay": f"1.{number}e-05",
            "val/map": number / 10,
            "status": "stopped" if number < 3 else "done",
        }
        for number in range(8)
    ]
    write_sweep(tmp_path, eight, ["optim.learning_rate", "optim.weight_decay"], given)
    for number in range(8):
        write_table(tmp_path / str(number) / "metrics.csv", detector_rows(3))
    return ParsedPage(report(tmp_path))


def test_trials_that_were_ended_early_are_no_failures(searched):
    assert "3 ended early, having fallen behind" in searched.texts("small")
    assert "Not done" not in searched.texts("h2")


def test_a_drawn_number_is_shown_short_and_told_whole(searched):
    assert "0.003856" in searched.texts("td")
    assert any(cell.get("title") == "0.003855887031880007" for cell in searched.attributes("td"))


def test_curves_of_long_names_are_named_by_their_rank(searched):
    assert [name for name in searched.texts("li") if name.startswith("rank")][:2] == ["rank 1", "rank 2"]


def test_without_repeats_nothing_is_said_of_their_spread(searched):
    assert not {"std", "n"} & set(searched.texts("th"))
    assert "By val/map." in searched.texts("p")
