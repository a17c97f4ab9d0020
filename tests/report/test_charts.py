import itertools
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parsed_page import ParsedPage

from effdet_lab.report.charts import (
    HEIGHT,
    LABEL_PIXELS,
    WIDTH,
    Axis,
    Point,
    Scale,
    Series,
    chart,
    linear_ticks,
    log_ticks,
    loss_axis,
    scale_of,
)

AXIS = Axis("x")


def points(*pairs):
    return [Point(x, y) for x, y in pairs]


def coordinates(html, name="cx"):
    return [float(circle[name]) for circle in ParsedPage(html).attributes("circle")]


@given(st.lists(st.floats(1e-6, 1e9), min_size=1, max_size=20), st.booleans(), st.booleans())
@settings(max_examples=50, deadline=None)
def test_pixels_keep_the_order_of_the_data_and_stay_in_the_plot(values, log, whole):
    scale, ticks = scale_of(values, 50, 446, Axis("x", log=log, whole=whole and not log))
    pixels = [scale.pixel(value) for value in sorted(values)]
    assert pixels == sorted(pixels)
    assert all(50 - 1e-6 <= pixel <= 446 + 1e-6 for pixel in pixels)
    assert ticks == sorted(set(ticks))
    assert all(50 - 1e-6 <= scale.pixel(tick) <= 446 + 1e-6 for tick in ticks)


def test_the_ends_of_the_data_are_the_ends_in_pixels():
    assert [Scale(0, 10, 100, 0).pixel(value) for value in (0, 5, 10)] == [100, 50, 0]
    assert [Scale(1, 100, 0, 200, log=True).pixel(value) for value in (1, 10, 100)] == pytest.approx([0, 100, 200])


def test_ticks_are_round_numbers():
    assert linear_ticks(0, 0.3, 5) == [0.0, 0.1, 0.2, 0.3]
    assert linear_ticks(1, 3, 6, whole=True) == [1.0, 2.0, 3.0]
    assert linear_ticks(1, 300, 6, whole=True) == [50.0, 100.0, 150.0, 200.0, 250.0, 300.0]
    assert log_ticks(1e6, 5e6, 5) == [1e6, 2e6, 5e6]
    assert log_ticks(1e3, 1e9, 5) == [1e3, 1e5, 1e7, 1e9]
    assert log_ticks(30, 40, 5) == [30.0, 32.0, 34.0, 36.0, 38.0, 40.0]  # no power of ten is near


def test_known_ticks_are_kept():
    _, ticks = scale_of([-6, -4.5], 0, 1, Axis("phi", ticks=(-4.5, -6)))
    assert ticks == [-6, -4.5]


def test_a_log_axis_spaces_equal_factors_equally_and_leaves_out_what_has_no_logarithm():
    series = Series("", points((1, 1), (10, 2), (100, 3), (0, 4), (-5, 5)), style="dots")
    one, ten, hundred = coordinates(chart("t", [series], Axis("x", log=True), AXIS))
    assert ten - one == pytest.approx(hundred - ten, abs=0.11)
    assert one < ten


@pytest.mark.parametrize("series", [[], [Series("a", [])], [Series("a", points((1, float("nan"))))]])
def test_a_chart_of_nothing_says_so(series):
    html = chart("Loss", series, AXIS, AXIS)
    assert "Nothing was measured." in html
    assert "<svg" not in html


@pytest.mark.parametrize("pairs", [[(3, 0.5)], [(1, 0.0), (2, 0.0)], [(1, 1e-30), (2, 3e30)], [(1, -4), (2, 4)]])
def test_any_range_can_be_drawn(pairs):
    html = chart("t", [Series("a", points(*pairs))], Axis("x", whole=True), AXIS)
    assert all(0 <= x <= WIDTH for x in coordinates(html))
    assert all(0 <= y <= HEIGHT for y in coordinates(html, "cy"))
    assert "nan" not in html


def test_higher_values_stand_higher():
    low, high = coordinates(chart("t", [Series("a", points((1, 0.1), (2, 0.9)))], AXIS, AXIS), "cy")
    assert high < low


def test_whiskers_reach_from_low_to_high_within_the_plot():
    html = chart("t", [Series("a", [Point(1, 0.5, 0.2, 0.9), Point(2, 0.5)], style="dots")], AXIS, AXIS)
    paths = [path["d"] for path in ParsedPage(html).attributes("path") if "whisker" in path["class"]]
    assert len(paths) == 1
    top, bottom = (float(y) for y in re.match(r"M\S+ (\S+)V(\S+?)M", paths[0]).groups())
    assert 0 < top < coordinates(html, "cy")[0] < bottom < HEIGHT


def test_the_legend_has_each_label_once_in_the_order_of_colours():
    lines = [Series("b", points((1, 2)), 1), Series("others", points((1, 3)), None), Series("a", points((1, 1)), 0)]
    html = chart("t", [*lines, Series("b", points((2, 2)), 1)], AXIS, AXIS)
    assert ParsedPage(html).texts("li") == ["a", "b", "others"]


def test_one_series_needs_no_legend_and_the_mouse_is_told():
    page = ParsedPage(chart("t", [Series("a", [Point(1, 2, told="epoch 1\n<b>")])], AXIS, AXIS))
    assert page.texts("li") == []
    assert page.texts("title") == ["epoch 1\n<b>"]


def test_names_never_cover_one_another():
    crowd = [Point(1 + index / 1000, 1, name=f"name {index}") for index in range(20)]
    page = ParsedPage(chart("t", [Series("", crowd, style="dots")], AXIS, AXIS))
    names = [text for text in page.attributes("text") if text.get("class") == "beside"]
    assert 0 < len(names) < 20
    spans = []
    for text in names:
        x, width = float(text["x"]), LABEL_PIXELS * len("name 0")
        spans.append((text["y"], x, x + width) if text["text-anchor"] == "start" else (text["y"], x - width, x))
    for one, other in itertools.pairwise(sorted(spans)):
        assert one[0] != other[0] or one[2] <= other[1] + 0.2


def test_wild_first_losses_do_not_hide_the_others():
    assert loss_axis("loss", [150.0, 2.0, 0.5]).log
    assert not loss_axis("loss", [4.0, 2.0, 0.5]).log
    assert not loss_axis("loss", [150.0, 0.0]).log  # zero has no place on a logarithmic axis
