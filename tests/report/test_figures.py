# ruff: noqa: RUF001 (figures are typeset, with minus signs and dashes)
import io
import re
import sys
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from effdet_lab.report.charts import Axis, Point, Series, chart
from effdet_lab.report.figures import ZOOM, png, png_without_fonts, standalone, write_figures
from effdet_lab.report.page import HERE

SVG = "{http://www.w3.org/2000/svg}"


def colour(name):
    """As the style sheet has it in daylight."""
    return re.search(rf"--{name}: (#\w+);", (HERE / "page.css").read_text(encoding="utf-8"))[1]


def figure(label="ours", title="val/top1 against φ"):
    series = [
        Series("forecast", [Point(1, 0.5, 0.4, 0.6), Point(4, 0.8, 0.5, 0.9)], 1, "band", "a forecast"),
        Series("published", [Point(1, 0.3, name="B0"), Point(2, 0.4)], None, "under"),
        Series("Pareto front", [Point(1, 0.5), Point(2, 0.6)], None, "stairs"),
        Series(label, [Point(1, 0.5, 0.45, 0.55, "told", "φ −1"), Point(2, 0.6)], 1),
        Series("dots", [Point(1.5, 0.55)], 2, "dots"),
    ]
    return chart(title, series, Axis("multiply-adds", log=True), Axis("val/top1"), "What whiskers are.")


def pixels(data):
    with Image.open(io.BytesIO(data)) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


@pytest.fixture(scope="module")
def drawn():
    return ElementTree.fromstring(standalone(figure()))


def test_a_figure_needs_no_style_sheet(drawn):
    text = standalone(figure())
    assert not re.search(r"var\(|\b(?<!-)(class|style)=|font[:=]", text)
    unpainted = [
        node.tag
        for node in drawn.iter()
        if node.tag in (f"{SVG}path", f"{SVG}line", f"{SVG}circle") and not {"stroke", "fill"} & set(node.keys())
    ]
    assert unpainted == []


def test_colours_are_those_of_the_page_in_daylight(drawn):
    strokes = {node.get("stroke") for node in drawn.iter(f"{SVG}path")}
    assert {colour("c1"), colour("quiet")} <= strokes
    band = next(node for node in drawn.iter(f"{SVG}path") if node.get("d", "").endswith("Z"))
    assert band.get("fill") == colour("c1")
    assert colour("c2") in {node.get("fill") for node in drawn.iter(f"{SVG}circle")}


def test_a_dash_stays_a_dash(drawn):
    (front,) = [node for node in drawn.iter(f"{SVG}path") if "V" in node.get("d", "") and node.get("stroke-dasharray")]
    assert front.get("stroke-dasharray") == "4 3"


def test_title_legend_and_names_are_written_in_it(drawn):
    said = [node.text for node in drawn.iter(f"{SVG}text")]
    assert said[:6] == ["val/top1 against φ", "ours", "dots", "forecast", "published", "Pareto front"]
    assert {"φ −1", "B0", "multiply-adds"} <= set(said)
    assert drawn.findtext(f"{SVG}desc") == "What whiskers are."
    assert {"told", "a forecast"} <= {node.text for node in drawn.iter(f"{SVG}title")}


def test_a_long_legend_goes_on_in_another_row_and_moves_the_plot_down(drawn):
    longer = ElementTree.fromstring(standalone(figure("a family whose name is as long as it can be, and longer")))
    assert float(longer.get("height")) > float(drawn.get("height"))
    assert all(0 < float(node.get("x", 1)) < float(drawn.get("width")) for node in longer.iter(f"{SVG}text"))


def test_no_name_becomes_a_tag_or_breaks_the_file():
    text = standalone(figure("<b>&\x07evil</b>"))
    assert "<b>&evil</b>" in [node.text for node in ElementTree.fromstring(text).iter(f"{SVG}text")]


def test_a_chart_of_nothing_is_no_figure(tmp_path):
    empty = chart("t", [], Axis("x"), Axis("y"))
    assert standalone(empty) == ""
    assert write_figures(tmp_path / "figures", {"empty": empty}) == ""
    assert not (tmp_path / "figures").exists()


def test_the_picture_is_sharp_and_has_the_colours():
    pytest.importorskip("resvg_py", reason="PNG files need the extra figures")
    text = standalone(figure())
    shown = pixels(png(text))
    assert shown.shape[:2] == tuple(
        round(ZOOM * float(re.search(rf' {side}="(\d+)', text)[1])) for side in ("height", "width")
    )
    line = tuple(int(colour("c1")[at : at + 2], 16) for at in (1, 3, 5))
    assert (shown == line).all(axis=-1).sum() > 500
    assert tuple(shown[2, 2]) == (255, 255, 255)


def test_words_are_drawn_where_a_machine_has_no_fonts():
    pytest.importorskip("resvg_py", reason="PNG files need the extra figures")
    text = standalone(figure())
    assert png_without_fonts(text) == png_without_fonts(text.replace("φ", "phi").replace("−", "-"))
    mute = re.sub(r"<text.*?</text>", "", text)
    differ = (pixels(png_without_fonts(text)) != pixels(png_without_fonts(mute))).any(axis=-1)
    assert differ.mean() > 0.005
    heading = differ[: round(ZOOM * 34)]
    assert heading.any(axis=0).sum() > ZOOM * 40  # of the title


def test_without_the_extra_there_are_svgs_and_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    said = write_figures(tmp_path, {"one": figure()})
    assert "effdet-lab[figures]" in said
    assert [path.name for path in tmp_path.iterdir()] == ["one.svg"]


def test_every_figure_is_two_files(tmp_path):
    pytest.importorskip("resvg_py", reason="PNG files need the extra figures")
    assert write_figures(tmp_path / "figures", {"one": figure(), "two": figure()}) == ""
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == [
        "one.png",
        "one.svg",
        "two.png",
        "two.svg",
    ]
