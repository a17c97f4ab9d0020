# ruff: noqa: RUF001 (pages are typeset, with minus signs and dashes)
import base64
import dataclasses
import io
import json
import subprocess
import sys

import pytest
from parsed_page import ParsedPage, needs_nothing_else
from PIL import Image
from report_folders import detector_rows, write_metrics, write_pictures, write_run, write_spec, write_table

import effdet_lab
from effdet_lab.errors import DataError
from effdet_lab.report.pictures import HEAVIEST
from effdet_lab.report.run import write_run_report
from effdet_lab.report.wording import decimal

EVIL = '<script>alert("1")</script>'


@pytest.fixture(scope="module")
def spec():
    overrides = ["model=efficientdet", "phi=-3", "data=digit_scenes", "bifpn.channels=48", "trainer.max_epochs=4"]
    return effdet_lab.compose(*overrides, "model.image_size=[128,192]")


def report(folder):
    path = write_run_report(folder)
    assert path == folder / "report.html"
    text = path.read_text(encoding="utf-8")
    assert needs_nothing_else(text)
    return text


def test_every_number_of_metrics_json_is_on_the_page(tmp_path, spec):
    metrics = write_run(tmp_path, spec)
    text = report(tmp_path)
    cells = {cell["title"] for cell in ParsedPage(text).attributes("td") if cell.get("title")}
    assert {repr(value) for value in metrics.values()} <= cells
    shown = ParsedPage(text).texts("td")
    assert all(decimal(value) in shown for value in metrics.values() if value != -1)


def test_cocos_twelve_numbers_come_first_in_its_order(tmp_path, spec):
    write_run(tmp_path, spec)
    names = [text for text in ParsedPage(report(tmp_path)).texts("code") if text.startswith(("val/", "train/"))]
    twelve = ["map", "map_50", "map_75", "map_small", "map_medium", "map_large"]
    twelve += ["mar_1", "mar_10", "mar_100", "mar_small", "mar_medium", "mar_large"]
    assert names == [*(f"val/{name}" for name in twelve), "val/loss", "train/loss"]


def test_what_coco_could_not_measure_is_a_dash(tmp_path, spec):
    write_run(tmp_path, spec)
    text = report(tmp_path)
    assert text.count('title="-1.0">–<') == 2
    assert "COCO writes −1" in text


def test_names_of_users_are_text_wherever_they_stand(tmp_path, spec):
    spec = dataclasses.replace(
        spec,
        name=EVIL,
        data=dataclasses.replace(spec.data, name=EVIL, root=EVIL, classes=(EVIL, "</style>")),
        overrides=(f"data.root={EVIL}",),
        off_table=(EVIL,),
    )
    write_run(tmp_path, spec, class_names=[EVIL, "b"])
    (tmp_path / "images" / "<img src=x onerror=alert(1)>.jpg").write_bytes(
        (tmp_path / "images" / "00000.jpg").read_bytes()
    )
    page = ParsedPage(report(tmp_path))
    assert len(page.attributes("script")) == 1
    assert not any("onerror" in attributes for _, attributes in page.tags)
    assert EVIL in page.texts("td")
    assert page.texts("h1") == [EVIL]


def test_the_headline_names_the_experiment_and_its_costs(tmp_path, spec):
    write_run(tmp_path, spec)
    (tmp_path / "costs.json").write_text('{"parameters": 3880067, "multiply_adds": 2546000000}', encoding="utf-8")
    page = ParsedPage(report(tmp_path))
    assert page.texts("h1") == ["efficientdet-d-3"]
    summary = "A detector at φ = −3, published scaling, 128 × 192 pixels, on digit_scenes (10 classes)."
    assert summary in page.texts("p")
    assert "train · 24 November 2026" in page.texts("p")
    assert page.texts("dd")[:4] == ["0.6520", "0.8439", "3.88 M", "2.55 G"]


def test_the_command_runs_it_again(tmp_path, spec):
    write_run(tmp_path, spec)
    page = ParsedPage(report(tmp_path))
    assert page.texts("pre") == [
        "python run.py model=efficientdet phi=-3 data=digit_scenes bifpn.channels=48 trainer.max_epochs=4 "
        "'model.image_size=[128,192]'"
    ]
    assert "bifpn.channels" in page.texts("code")  # what left the table


def test_curves_and_costs_come_from_the_epochs(tmp_path, spec):
    write_run(tmp_path, spec)
    page = ParsedPage(report(tmp_path))
    titles = ["Loss", "Precision", "Parts of the training loss", "Learning rate"]
    assert page.texts("h3") == titles
    assert "epoch 2\nmAP: 0.5065" in page.texts("title")  # 0.652 (1 - exp(-3/2))
    assert "epoch 1\nboxes × 50: 0.457" in page.texts("title")  # 50 (0.016 - 0.013 (1 - exp(-3/4)))
    facts = list(zip(page.texts("dt"), page.texts("dd"), strict=False))
    assert {("epochs", "4"), ("steps", "48"), ("all epochs", "47.1 s")} <= set(facts)  # 4 * 11.5 + sin 1 + ... + sin 4
    assert "Best val/map: 0.6195 after epoch 4." in page.texts("figcaption")


def test_the_settings_fold_out_to_every_number(tmp_path, spec):
    write_run(tmp_path, spec)
    page = ParsedPage(report(tmp_path))
    assert "Every setting" in page.texts("summary")
    assert "learning_rate" in page.texts("dt")
    assert "expand_ratio" in page.texts("th")  # the stages are a table


def test_pictures_are_few_small_and_inside(tmp_path, spec):
    write_run(tmp_path, spec, pictures=0)
    write_pictures(tmp_path, 30, side=900)  # noise, the hardest to shrink
    (tmp_path / "images" / "00007.jpg").write_bytes(b"no picture")
    text = report(tmp_path)
    shown = [image["src"] for image in ParsedPage(text).attributes("img")]
    assert 10 <= len(shown) <= 12
    assert len(text) < 3_000_000
    first = Image.open(io.BytesIO(base64.b64decode(shown[0].removeprefix("data:image/jpeg;base64,"))))
    assert first.size == (640, 640)
    assert max(map(len, shown)) < 4 / 3 * HEAVIEST + 100


def test_the_sheet_of_all_pictures_is_not_shown_beside_them(tmp_path, spec):
    write_run(tmp_path, spec, pictures=2)
    assert [image["alt"] for image in ParsedPage(report(tmp_path)).attributes("img")] == ["00000", "00001"]


def test_a_killed_run_shows_what_it_measured_and_says_what_is_missing(tmp_path, spec):
    write_spec(tmp_path, spec)
    write_table(tmp_path / "metrics.csv", detector_rows(2))
    text = report(tmp_path)
    page = ParsedPage(text)
    assert "metrics.json is not there: the run did not end, or measured nothing." in page.texts("li")
    assert "2 of 4" in page.texts("dd")
    assert "Loss" in page.texts("h3")
    assert "Final metrics" not in page.texts("h2")


def test_an_empty_folder_makes_a_page_too(tmp_path):
    assert len(ParsedPage(report(tmp_path)).texts("li")) == 3


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("spec.yaml", "model: [unclosed"),
        ("spec.yaml", "- a list"),
        ("spec.yaml", "kind: ExperimentSpec\nname: old\nmodel: {kind: Vanished}"),
        ("metrics.json", '{"val/map": '),
        ("metrics.json", '{"val/map": "good"}'),
        ("metrics.csv", "epoch,val/map\n1,0.5,0.6\n2\nx,y\n"),
        ("metrics.csv", "\n"),
        ("metrics.csv", "epoch,val/map\n1," + "9" * 200_000),
        ("costs.json", "[]"),
    ],
)
def test_files_that_cannot_be_read_are_left_out(tmp_path, spec, name, content):
    write_run(tmp_path, spec)
    (tmp_path / name).write_text(content, encoding="utf-8")
    report(tmp_path)


def test_numbers_that_are_none_are_left_out(tmp_path, spec):
    write_run(tmp_path, spec)
    write_metrics(tmp_path, {"val/map": float("nan"), "val/map_50": 0.5, "val/loss": float("inf")})
    names = [text for text in ParsedPage(report(tmp_path)).texts("code") if text.startswith("val/")]
    assert names == ["val/map_50"]


def test_a_classifier_has_its_two_numbers(tmp_path):
    write_spec(tmp_path, effdet_lab.compose("model=efficientnet", "phi=-6", "data=digits"))
    write_metrics(tmp_path, {"val/loss": 0.3, "val/top1": 0.95, "val/top5": 1.0})
    page = ParsedPage(report(tmp_path))
    assert page.texts("dd")[:2] == ["0.9500", "1.0000"]
    assert "Classes" not in page.texts("h2")


def test_the_page_replaces_an_older_one_and_leaves_nothing_else(tmp_path, spec):
    write_run(tmp_path, spec)
    before = {path.name for path in tmp_path.iterdir()}
    (tmp_path / "report.html").write_text("old", encoding="utf-8")
    report(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == before | {"report.html"}


def test_a_page_that_cannot_be_written_leaves_the_older_one(tmp_path, spec, monkeypatch):
    write_run(tmp_path, spec)
    (tmp_path / "report.html").write_text("old", encoding="utf-8")
    before = {path.name for path in tmp_path.iterdir()}

    def refuse(source, target):
        raise PermissionError(target)

    monkeypatch.setattr("os.replace", refuse)
    with pytest.raises(PermissionError):
        write_run_report(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == before
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == "old"


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        write_run_report(tmp_path / "nowhere")


def test_the_room_needs_no_torch():
    code = "import sys, effdet_lab.report.run, effdet_lab.report.sweep; print(*sorted(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "pytorch_lightning", "pydantic", "hydra"} & set(found)


def test_metrics_keep_their_digits_for_who_asks(tmp_path, spec):
    write_run(tmp_path, spec)
    write_metrics(tmp_path, json.loads('{"val/map": 0.123456789}'))
    text = report(tmp_path)
    assert 'title="0.123456789">0.1235<' in text
