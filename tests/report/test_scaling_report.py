# ruff: noqa: RUF001 (pages are typeset, with minus signs and dashes)
import functools
import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parsed_page import ParsedPage, needs_nothing_else
from report_folders import write_metrics, write_spec, write_sweep

import effdet_lab
from effdet_lab.errors import ConfigError, DataError
from effdet_lab.report.charts import BOTTOM, HEIGHT, TOP, Axis, Point, Series, chart
from effdet_lab.report.comparison import Difference
from effdet_lab.report.forecast import Observation, fit
from effdet_lab.report.reading import read_run
from effdet_lab.report.scaling import write_scaling_report
from effdet_lab.report.scaling_charts import cost_charts
from effdet_lab.report.scaling_facts import duels, grounds_of, runs_of, student
from effdet_lab.report.sweep import write_sweep_report

FOUR = ((-1, 0.50), (0, 0.60), (1, 0.67), (2, 0.72))  # phi, and what its first seed reaches
compose = functools.cache(effdet_lab.compose)


@pytest.fixture
def runs(tmp_path):
    """Writes a run's folder and keeps its path."""

    class Runs(list):
        def add(self, value, cost, *overrides, phi=0, seed=0, scaling="published", latency=None, metric="val/top1"):
            model = ("model=efficientnet", "data=digits") if metric != "val/map" else ("model=efficientdet",)
            spec = compose(*model, f"phi={phi}", f"scaling={scaling}", *overrides)
            folder = tmp_path / f"run_{len(self)}"
            write_spec(folder, spec, seed=seed)
            write_metrics(folder, {metric: value, "train/loss": 0.5})
            costs = {"parameters": cost, "multiply_adds": 10 * cost, "latency_ms": latency}
            (folder / "costs.json").write_text(json.dumps(costs), encoding="utf-8")
            self.append(folder)
            return folder

        def grounds(self):
            return grounds_of([read_run(folder) for folder in self])[0]

        def page(self, *published):
            path = write_scaling_report(self, tmp_path / "page", published)
            assert path == tmp_path / "page" / "report.html"
            text = path.read_text(encoding="utf-8")
            assert needs_nothing_else(text)
            return ParsedPage(text)

    return Runs()


def compound_and(runs, dimension, compound, alone, seeds=(0, 1, 2)):
    """Compound at 200 multiply-adds, the dimension at 100 and 400; a value a seed."""
    for seed, value in zip(seeds, compound, strict=True):
        runs.add(value, 20, phi=1, seed=seed)
    for seed, (low, high) in enumerate(alone):
        runs.add(low, 10, phi=-1, seed=seed, scaling=dimension)
        runs.add(high, 40, phi=2, seed=seed, scaling=dimension)
    return runs


def classes(page, name):
    return [path["d"] for path in page.attributes("path") if path.get("class") == name]


# What the runs say


def test_repeats_are_one_member_whose_costs_are_averaged(runs):
    for seed, value in enumerate((0.4, 0.5, 0.6)):
        runs.add(value, 100, seed=seed, latency=1.0 + seed)
    runs.add(0.9, 200, phi=1)
    (ground,) = runs.grounds()
    (family,) = ground.families
    assert (family.base, family.mode, family.label) == ("EfficientNet", "compound", "EfficientNet, compound")
    first, second = family.members
    assert (first.mean, first.deviation, len(first.runs)) == (pytest.approx(0.5), pytest.approx(0.1), 3)
    assert (first.costs.multiply_adds, first.costs.latency_ms) == (1000, 2.0)
    assert second.deviation is None
    assert second.costs.latency_ms is None


def test_a_family_is_a_base_and_a_way_to_scale_it(runs):
    for scaling in ("resolution", "published", "width", "depth"):
        runs.add(0.5, 100, phi=1, scaling=scaling)
    runs.add(0.5, 100, "backbone=efficientnet_lite", phi=1)
    (ground,) = runs.grounds()
    assert [family.label for family in ground.families] == [
        "EfficientNet, compound", "EfficientNet, depth", "EfficientNet, width", "EfficientNet, resolution",
        "EfficientNet-Lite, compound",
    ]  # fmt: skip


def test_another_feature_network_is_another_family(runs):
    runs.add(0.3, 100, phi=-3, metric="val/map")
    runs.add(0.3, 100, "bifpn=fpn", phi=-3, metric="val/map")
    runs.add(0.3, 100, "backbone=resnet18", phi=-3, metric="val/map")
    (ground,) = runs.grounds()
    assert [family.base for family in ground.families] == [
        "EfficientDet", "EfficientDet through fpn", "EfficientDet with resnet18",
    ]  # fmt: skip


def test_table_and_formula_are_two_families_where_both_are_there(runs):
    runs.add(0.5, 100, phi=1)
    runs.add(0.6, 100, phi=1, scaling="formula")
    (ground,) = runs.grounds()
    assert [family.mode for family in ground.families] == ["compound (published)", "compound (formula)"]


def test_other_pictures_or_another_metric_are_never_in_one_chart(runs, tmp_path):
    runs.add(0.5, 100)
    runs.add(0.6, 200, phi=1)
    runs.add(0.3, 300, phi=-3, metric="val/map")
    runs.add(0.4, 900, phi=-2, metric="val/map")
    runs.add(0.2, 900, phi=-2, metric="val/loss")
    told = [(ground.data, ground.metric, len(ground.members)) for ground in runs.grounds()]
    assert told == [("digits", "val/top1", 2), ("digit_scenes", "val/map", 2), ("digits", "val/loss", 1)]
    page = runs.page()
    assert "Scaling on digits" in page.texts("h2")
    assert "Scaling on digit_scenes" in page.texts("h2")
    assert page.texts("h3").count("val/map against multiply-adds") == 1
    assert "figures/digits_val_top1_against_parameters.svg" in page.texts("code")
    assert (tmp_path / "page" / "figures" / "digit_scenes_val_map_against_parameters.svg").is_file()


def test_pictures_of_the_same_name_that_are_drawn_otherwise_are_told_apart(runs):
    runs.add(0.3, 100, phi=-3, metric="val/map")
    runs.add(0.3, 100, "data.val_images=7", phi=-3, metric="val/map")
    first, second = (ground.data for ground in runs.grounds())
    assert "val_images" in first
    assert second.endswith("val_images 7)")


def test_a_choice_that_repeats_a_phi_makes_a_line_of_its_own(runs):
    for phi in (0, 1):
        for rate in ("0.1", "0.2"):
            runs.add(0.5, 100 * (phi + 1), f"optim.learning_rate={rate}", phi=phi)
    (ground,) = runs.grounds()
    assert len({family.label for family in ground.families}) == 2
    assert all(family.label.startswith("learning_rate 0.") for family in ground.families)
    assert [len(family.members) for family in ground.families] == [2, 2]
    assert not any("Unlike runs" in text for text in runs.page().texts("p"))


def test_a_choice_that_goes_with_phi_is_told(runs):
    runs.add(0.5, 100, "data.batch_size=16", phi=0)
    runs.add(0.5, 200, "data.batch_size=8", phi=1)
    (note,) = [text for text in runs.page().texts("p") if "Unlike runs" in text]
    assert "data.batch_size (16, 8)" in note


def test_what_phi_implies_is_no_difference_but_what_left_it_is(runs):
    for phi in (-1, 0, 1):
        runs.add(0.5, 100, phi=phi)
    assert runs.grounds()[0].families[0].differing == ()
    runs.add(0.5, 100, "model.image_size=96", phi=2)
    assert [setting.name for setting in runs.grounds()[0].families[0].differing] == ["model.image_size"]


def test_a_run_that_cannot_be_placed_is_left_out_and_said(runs, tmp_path):
    runs.add(0.5, 100)
    (tmp_path / "empty").mkdir()
    runs.append(tmp_path / "empty")
    assert f"{tmp_path / 'empty'}: left out, since its settings are not known." in runs.page().texts("li")


# One dimension against all three


def test_at_equal_cost_a_dimension_is_read_in_the_logarithm_of_it(runs):
    """200 lies halfway between 100 and 400; t(2) = 4.303, so 0.1 of spread reaches 4.303 * 0.1 / sqrt(3)."""
    compound_and(runs, "depth", (0.6, 0.7, 0.8), [(0.4, 0.6)] * 3)
    (ground,) = runs.grounds()
    (duel,) = duels(ground, ground.families[0])
    (meeting,) = duel.meetings
    assert (duel.dimension, meeting.multiply_adds, meeting.value) == ("depth", 200, pytest.approx(0.5))
    assert meeting.difference.value == pytest.approx(0.2)
    assert meeting.difference.high == pytest.approx(0.2 + 4.303 * 0.1 / 3**0.5)
    assert duel.overall == meeting.difference


def test_what_cannot_be_told_is_said_so(runs):
    compound_and(runs, "depth", (0.6, 0.7, 0.8), [(0.4, 0.6)] * 3)
    (text,) = [text for text in runs.page().texts("p") if text.startswith("Against depth")]
    assert "cannot be told at this scale: compound is ahead by 0.2000 top-1 at 200 multiply-adds" in text
    assert "includes zero" in text


@pytest.mark.parametrize(("compound", "verdict"), [(0.7, "better by 0.2000"), (0.3, "worse by 0.2000")])
def test_a_clear_difference_is_named(runs, compound, verdict):
    compound_and(runs, "width", (compound - 0.01, compound, compound + 0.01), [(0.4, 0.6)] * 3)
    (text,) = [text for text in runs.page().texts("p") if text.startswith("Against width")]
    assert f"compound was {verdict} top-1" in text
    assert "over 3 repeats" in text


def test_of_losses_the_lower_is_better(runs):
    for seed, offset in enumerate((-0.01, 0.0, 0.01)):
        runs.add(0.3 + offset, 20, phi=1, seed=seed, metric="val/loss")
        for phi, cost, value in ((-1, 10, 0.6), (2, 40, 0.4)):
            runs.add(value, cost, phi=phi, seed=seed, scaling="depth", metric="val/loss")
    (text,) = [text for text in runs.page().texts("p") if text.startswith("Against depth")]
    assert "compound was better by 0.2000" in text


def test_without_shared_seeds_nothing_is_certain(runs):
    compound_and(runs, "depth", (0.7, 0.7, 0.7), [(0.4, 0.6)] * 3, seeds=(7, 8, 9))
    (ground,) = runs.grounds()
    assert duels(ground, ground.families[0])[0].overall == Difference(pytest.approx(0.2))
    assert any("nothing says what is chance" in text for text in runs.page().texts("p"))


def test_a_dimension_is_not_extrapolated(runs):
    compound_and(runs, "depth", (0.7, 0.7, 0.7), [(0.4, 0.6)] * 3)
    runs.add(0.9, 41, phi=3)
    runs.add(0.1, 9, phi=-2)
    (ground,) = runs.grounds()
    (duel,) = duels(ground, ground.families[0])
    assert (len(duel.meetings), duel.outside) == (1, 2)
    assert any("2 compound members cost more or less" in text for text in runs.page().texts("p"))


def test_every_dimension_starts_at_the_base_network(runs):
    runs.add(0.5, 10, phi=0)
    runs.add(0.7, 20, phi=1)
    runs.add(0.6, 40, phi=2, scaling="width")
    (ground,) = runs.grounds()
    (duel,) = duels(ground, ground.families[0])
    assert [member.phi for member in duel.line] == [0, 2]
    assert [(meeting.member.phi, meeting.value) for meeting in duel.meetings] == [(1, pytest.approx(0.55))]


def test_unlike_recipes_are_told_where_dimensions_are_compared(runs):
    runs.add(0.5, 10, "optim.weight_decay=0.5")
    runs.add(0.7, 20, "optim.weight_decay=0.5", phi=1)
    runs.add(0.6, 40, "optim.weight_decay=0.25", phi=2, scaling="width")
    (note,) = [text for text in runs.page().texts("p") if "Unlike runs" in text]
    assert "optim.weight_decay (0.5, 0.25)" in note


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=30))
@settings(max_examples=50, deadline=None)
def test_an_interval_turns_with_its_differences(values):
    there, back = student(values, 0.0), student([-value for value in values], 0.0)
    assert there.low <= there.value <= there.high
    assert (back.value, back.low, back.high) == pytest.approx((-there.value, -there.high, -there.low), abs=1e-12)


# The page


@pytest.fixture
def four(runs):
    """Four costs with two seeds each."""
    for phi, value in FOUR:
        for seed in range(2):
            runs.add(value + 0.01 * seed, 1000 * 2**phi, phi=phi, seed=seed, latency=2.0**phi)
    return runs


def test_each_known_cost_has_its_chart_with_whiskers_and_front(four):
    page = four.page()
    titles = [f"val/top1 against {cost}" for cost in ("multiply-adds", "parameters", "milliseconds a picture")]
    assert page.texts("h3") == titles
    assert len([path for path in page.attributes("path") if path.get("class") == "whisker s0"]) == 12
    assert [path.count("H") for path in classes(page, "front")] == [3, 3, 3]
    assert "EfficientNet, compound, φ 1\nval/top1 0.6750 ± 0.0071 (n = 2)\n20.0 k multiply-adds" in page.texts("title")


def test_four_costs_have_a_forecast_to_four_times_the_largest_and_three_have_none(four):
    page = four.page()
    assert len(classes(page, "band")) == len(classes(page, "forecast")) == 3
    assert any("it is an extrapolation, drawn to 4 times that cost" in text for text in page.texts("p"))
    law = fit([Observation(10_000 * 2**phi, (value, value + 0.01)) for phi, value in FOUR])
    start = f"EfficientNet, compound, forecast\n4 × the largest cost: {law.predict(160_000).value:.4f} ("
    assert any(text.startswith(start) for text in page.texts("title"))
    of_three = [run for run in four if read_run(run).experiment.phi < 2]
    (ground,), _ = grounds_of([read_run(run) for run in of_three])
    assert "forecast" not in "".join(cost_charts(ground).values())


def test_the_table_has_every_network_with_its_spread(four, tmp_path):
    page = four.page()
    heads = page.texts("th")
    first = heads.index("family", heads.index("family") + 1)  # after the forecasts'
    assert heads[first:] == [
        "family", "φ", "scaling", "d", "w", "r", "pixels", "parameters", "multiply-adds", "FLOPs", "ms", "val/top1",
        "std", "n", "seeds",
    ]  # fmt: skip
    cells = page.texts("td")
    row = cells.index("2.00 k") - 7  # φ = 1
    assert cells[row : row + 14] == [
        "EfficientNet", "1", "compound", "1.10", "1.00", "1.07", "240", "2.00 k", "20.0 k", "40.0 k", "2", "0.6750",
        "0.0071", "2",
    ]  # fmt: skip


def test_a_run_whose_report_lies_below_is_linked(four, tmp_path):
    inside = tmp_path / "page" / "inside"
    four[0].parent.joinpath("page").mkdir()
    four[0].rename(inside)
    four[0] = inside
    (inside / "report.html").write_text("a report", encoding="utf-8")
    (four[1] / "report.html").write_text("not below", encoding="utf-8")
    assert [link["href"] for link in four.page().attributes("a")] == ["inside/report.html"]


def test_published_points_lie_under_ours_in_grey_and_in_a_table(four):
    page = four.page("efficientnet", "scaling_dimensions", "efficientdet")
    under = [text for text in page.attributes("g") if text.get("class") == "under"]
    assert under
    assert any("Grey is what papers print, on ImageNet: to be compared in shape" in text for text in page.texts("p"))
    assert "EfficientNet-B7, published\nval/top1 0.843" in page.texts("title")
    assert "EfficientDet-D7" in page.texts("td")
    assert not any("EfficientDet" in text for text in page.texts("title"))  # no mAP of ours is there to lie under
    assert any("1905.11946" in text for text in page.texts("p"))


def test_nobody_published_a_misspelt_table(four, tmp_path):
    with pytest.raises(ConfigError, match=r"published=efficientnett.*Did you mean efficientnet"):
        four.page("efficientnett")
    assert not (tmp_path / "page").exists()


def test_a_sweep_gives_its_done_jobs_and_a_run_counts_once(runs, tmp_path):
    specs = [compose("model=efficientnet", "data=digits", f"phi={phi}") for phi in (0, 1, 2)]
    rows = [{"phi": 0, "val/top1": 0.5}, {"phi": 1, "val/top1": 0.6}, {"phi": 2, "status": "failed (1)"}]
    write_sweep(tmp_path / "sweep", specs, ["phi"], rows, [{"parameters": 10 * 2**phi} for phi in range(3)])
    runs.add(0.7, 40, phi=2)
    found, said = runs_of([tmp_path / "sweep", runs[0], tmp_path / "sweep" / "0"])
    assert [run.experiment.phi for run in found] == [0, 1, 2]
    assert said == [f"{tmp_path / 'sweep'}: 2 of 3 jobs are done; the others are left out."]
    with pytest.raises(DataError, match="no such folder"):
        runs_of([tmp_path / "nowhere"])


def test_no_name_becomes_a_tag(runs, tmp_path):
    folder = runs.add(0.5, 100)
    write_spec(folder, compose("model=efficientnet", "data=digits"), data={
        **json.loads(json.dumps(read_run(folder).settings["data"])), "name": "<b>evil",
    })  # fmt: skip
    assert any("<b>evil" in text for text in runs.page().texts("p"))


def test_without_any_run_there_is_still_a_page(runs):
    assert "No run could be read." in runs.page().texts("p")


def test_the_report_of_a_sweep_over_scaling_compares_the_dimensions(tmp_path):
    chosen = [("published", 0), ("published", 1), ("width", -1), ("width", 2)]
    specs = [compose("model=efficientnet", "data=digits", f"phi={phi}", f"scaling={mode}") for mode, phi in chosen]
    rows = [{"phi": phi, "scaling": mode, "val/top1": 0.5 + phi / 10} for mode, phi in chosen]
    costs = [{"parameters": 100, "multiply_adds": 1000 * 2**phi} for _, phi in chosen]
    write_sweep(tmp_path, specs, ["phi", "scaling"], rows, costs)
    page = ParsedPage(write_sweep_report(tmp_path).read_text(encoding="utf-8"))
    assert "One dimension against all three" in page.texts("h2")
    assert page.texts("h3")[:2] == ["val/top1 against φ", "val/top1 against multiply-adds"]
    assert any(text.startswith("Against width alone it cannot be told") for text in page.texts("p"))


# The marks


def test_a_band_is_cut_off_where_the_plot_ends():
    points = [Point(1, 0.5, -7.0, 9.0), Point(10, 0.6, 0.55, 0.65)]
    text = chart("t", [Series("forecast", points, 0, "band")], Axis("x", log=True), Axis("y"))
    (path,) = classes(ParsedPage(text), "band")
    heights = [float(y) for _, y in re.findall(r"(\S+) (\S+?)(?=[LZ])", path.removeprefix("M"))]
    assert max(heights) == HEIGHT - BOTTOM
    assert min(heights) == TOP


def test_what_is_under_is_grey_and_yields_its_place_to_ours():
    point = Point(1, 1, name="here")
    series = [Series("published", [Point(1, 1, name="theirs")], None, "under"), Series("ours", [point])]
    page = ParsedPage(chart("t", series, Axis("x"), Axis("y")))
    assert page.texts("text")[-2:] == ["here", "theirs"]
    assert page.texts("li") == ["ours", "published"]
    assert [mark["class"] for mark in page.attributes("i")] == ["s0 line", "under"]
