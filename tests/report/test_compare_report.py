# ruff: noqa: RUF001 (pages are typeset, with minus signs and dashes)
import dataclasses
import subprocess
import sys

import pytest
from parsed_page import ParsedPage, needs_nothing_else
from PIL import Image
from report_folders import write_metrics, write_run, write_spec

import effdet_lab
from effdet_lab.report.compare import compare_page, write_compare_report
from effdet_lab.report.comparison import (
    Difference,
    Dispute,
    compared,
    differing_settings,
    same_pictures,
    verdict,
)
from effdet_lab.report.reading import read_run
from effdet_lab.report.wording import decimal

EVIL = '<script>alert("1")</script>'
DETECTOR = ("model=efficientdet", "phi=-3", "data=digit_scenes")


def run_of(folder, *overrides, **metrics):
    """A finished run with these settings and, where given, other metrics."""
    written = write_run(folder, effdet_lab.compose(*DETECTOR, *overrides), pictures=0)
    if metrics:
        write_metrics(folder, written | {f"val/{name}": value for name, value in metrics.items()})
    (folder / "costs.json").write_text(
        '{"parameters": 1000000, "multiply_adds": 70000000, "latency_ms": 12.5}', encoding="utf-8"
    )
    return read_run(folder)


@pytest.fixture
def two(tmp_path):
    return [
        run_of(tmp_path / "small", "bifpn.channels=32", map=0.5),
        run_of(tmp_path / "large", "bifpn.channels=64", "logger=csv", map=0.625),
    ]


def names_of(settings):
    return [setting.name for setting in settings]


def test_only_what_differs_is_a_setting_and_what_says_nothing_is_not(two):
    (found,) = differing_settings(two)
    assert (found.name, found.path) == ("bifpn.channels", "model.bifpn.channels")
    assert found.values == ("32", "64")
    assert found.typed


def test_what_follows_from_a_setting_is_told_apart_from_its_cause(tmp_path):
    runs = [run_of(tmp_path / str(phi), f"phi={phi}") for phi in (-3, -2)]
    result = compared(runs)
    assert names_of(result.causes) == ["phi"]
    following = {setting.name: setting.values for setting in result.settings if not setting.typed}
    assert {"backbone.phi", "backbone.stages.out_channels", "model.image_size"} <= set(following)
    assert following["backbone.stages.out_channels"][0] == "[16, 24, 32, 64, 88, 144, 240]"
    page = ParsedPage(compare_page(result))
    assert page.texts("h1") == ["phi: -3 or -2"]
    assert f"{len(following)} settings that follow from these" in page.texts("summary")


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("head.loss.gamma=2", "head.loss.gamma"),
        ("head.postprocess.nms=hard", "head.postprocess.nms"),
        ("data.val_images=50", "data.val_images"),
        ("backbone.padding=symmetric", "backbone.style.padding"),
        ("optim=adamw_cosine", "optim.name"),
        ("seed=3", "seed"),
        ("trainer.max_epochs=2", "trainer.max_epochs"),
    ],
)
def test_a_setting_is_called_what_is_typed(tmp_path, typed, name):
    runs = [run_of(tmp_path / "a"), run_of(tmp_path / "b", typed)]
    assert name in names_of(setting for setting in differing_settings(runs) if setting.typed)


def test_runs_without_known_commands_have_all_differences_as_causes(tmp_path):
    specs = [effdet_lab.compose(*DETECTOR, f"bifpn.channels={channels}") for channels in (32, 64)]
    for channels, spec in zip((32, 64), specs, strict=True):
        write_run(tmp_path / str(channels), dataclasses.replace(spec, overrides=()), pictures=0)
    runs = [read_run(tmp_path / str(channels)) for channels in (32, 64)]
    assert names_of(compared(runs).causes) == ["bifpn.channels"]


@pytest.mark.parametrize(
    ("override", "same"),
    [
        ("data.val_images=50", False),
        ("data.seed=1", False),
        ("data.fold=1", False),
        ("data.train_images=50", True),
        ("seed=1", True),
    ],
)
def test_settings_tell_whether_runs_are_judged_on_the_same_pictures(tmp_path, override, same):
    runs = [run_of(tmp_path / "a"), run_of(tmp_path / "b", override)]
    assert same_pictures(differing_settings(runs)) is same


def test_an_interval_that_excludes_zero_is_said_to(two):
    said = verdict(compared(two, {"val/map": [(0.1, 0.15)]}, judged_on=200))
    assert said.startswith("B is better than A by 0.1250 mAP (95 % interval 0.1000 to 0.1500).")
    assert "excludes zero" in said


def test_an_interval_that_includes_zero_is_said_to(two):
    said = verdict(compared(two, {"val/map": [(-0.01, 0.26)]}, judged_on=200))
    assert said.startswith("B is ahead of A by 0.1250 mAP, but the 95 % interval, −0.0100 to 0.2600, includes zero")
    assert "A could be as good or better" in said


def test_the_first_run_may_be_the_best_and_its_interval_is_turned(two):
    said = verdict(compared(two[::-1], {"val/map": [(-0.15, -0.1)]}, judged_on=200))
    assert said.startswith("A is better than B by 0.1250 mAP (95 % interval 0.1000 to 0.1500).")


def test_the_best_of_three_is_measured_against_the_first(two, tmp_path):
    third = run_of(tmp_path / "third", "optim.learning_rate=0.01", map=0.6)
    said = verdict(compared([*two, third], {"val/map": [(0.1, 0.15), (0.05, 0.2)]}))
    assert said.startswith("B is better than A by 0.1250 mAP (95 % interval 0.1000")
    said = verdict(compared([two[1], two[0], third], {"val/map": [(-0.15, -0.1), (-0.05, 0.01)]}))
    assert said.startswith("A is ahead of C by 0.0250 mAP, but the 95 % interval, −0.0100 to 0.0500, includes zero")


def test_without_an_interval_nothing_is_promised(two):
    assert verdict(compared(two)).endswith("by 0.1250 mAP. How certain that is, is not known.")


def test_of_losses_the_lower_is_better(tmp_path):
    runs = [run_of(tmp_path / "a", "bifpn.channels=32"), run_of(tmp_path / "b", "bifpn.channels=64")]
    for run, loss in zip(runs, (0.5, 0.25), strict=True):
        write_metrics(run.path, {"val/map": -1.0, "val/loss": loss})  # no box to find
    said = verdict(compared([read_run(run.path) for run in runs]))
    assert said.startswith("B is better than A by 0.2500 val/loss.")


def test_repeats_are_no_cause(tmp_path):
    runs = [run_of(tmp_path / str(seed), f"seed={seed}", map=0.5 + seed / 10) for seed in (0, 1, 2)]
    result = compared(runs, {"val/map": [(0.05, 0.15), (0.1, 0.3)]}, judged_on=200)
    assert result.repeated
    assert verdict(result).startswith(
        "The same experiment, repeated: only seed differs. mAP is 0.6000 ± 0.1000 over 3 runs."
    )
    assert "better" not in verdict(result)
    same = compared([runs[0], dataclasses.replace(runs[1], settings=runs[0].settings, spec=runs[0].spec)])
    assert "not one setting differs" in verdict(same)


def test_several_causes_are_not_told_apart(two, tmp_path):
    third = run_of(tmp_path / "third", "bifpn.channels=64", "bifpn.repeats=3", "optim.learning_rate=0.01")
    text = compare_page(compared([*two, third]))
    assert (
        "B differs from A in bifpn.channels alone; C differs from A in bifpn.channels, bifpn.repeats and "
        "optim.learning_rate together, so which of them is the cause is not told." in text
    )


def test_every_metric_and_difference_is_on_the_page(two):
    result = compared(two, {"val/map": [(0.1, 0.15)]}, judged_on=200)
    page = ParsedPage(compare_page(result))
    shown = page.texts("td") + page.texts("strong")
    for run in two:
        assert all(decimal(value) in shown for value in run.metrics.values() if value != -1)
    assert page.texts("strong") == ["+0.1250"]
    assert "0.1000 to 0.1500" in shown
    assert {"1.00 M", "70.0 M", "12.5", "×1.00"} <= set(shown)


def test_what_one_run_did_not_measure_is_a_dash(two):
    write_metrics(two[1].path, {"val/map": 0.625})
    result = compared([two[0], read_run(two[1].path)])
    assert result.differences["val/map"] == (Difference(0.125),)
    assert result.differences["val/map_50"] == (None,)
    assert "–" in ParsedPage(compare_page(result)).texts("td")


def test_pictures_stand_side_by_side_with_what_was_said_of_them(two, tmp_path):
    panels = []
    for letter in ("truth", "A", "B"):
        Image.effect_noise((40, 40), 60).convert("RGB").save(tmp_path / f"01_{letter}.jpg")
        panels.append((f"{letter} says so", tmp_path / f"01_{letter}.jpg"))
    result = compared(two, disputes=[Dispute("val/a.png", "a.png", tuple(panels))], remarks=["Something is missing."])
    path = write_compare_report(tmp_path, result)
    text = path.read_text(encoding="utf-8")
    assert needs_nothing_else(text)
    page = ParsedPage(text)
    assert [picture["alt"] for picture in page.attributes("img")] == ["truth says so", "A says so", "B says so"]
    assert "a.png" in page.texts("h3")
    assert "Something is missing." in page.texts("li")


def test_names_of_users_are_text_wherever_they_stand(tmp_path):
    runs = []
    for name, evil in (("a", EVIL), ("b", "</style>")):
        spec = effdet_lab.compose(*DETECTOR)
        spec = dataclasses.replace(spec, data=dataclasses.replace(spec.data, classes=(evil,)), overrides=(evil,))
        write_run(tmp_path / name, spec, class_names=[EVIL], pictures=0)
        runs.append(read_run(tmp_path / name))
    page = ParsedPage(compare_page(compared(runs, disputes=[Dispute(EVIL, EVIL, ())], remarks=[EVIL])))
    assert len(page.attributes("script")) == 1


def test_a_setting_that_an_earlier_version_did_not_know_is_no_difference(two):
    settings = {name: value for name, value in two[0].settings["data"].items() if name not in ("fold", "folds")}
    write_spec(two[0].path, two[0].spec, data=settings)
    assert names_of(differing_settings([read_run(two[0].path), two[1]])) == ["bifpn.channels"]


def test_a_run_of_another_version_is_compared_as_it_stands(two):
    write_spec(two[1].path, two[1].spec, model="of another kind")
    found = differing_settings([two[0], read_run(two[1].path)])
    assert "model" in names_of(found)


def test_the_page_needs_no_torch():
    check = "import sys, effdet_lab.report.compare; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", check], check=True, timeout=60)
