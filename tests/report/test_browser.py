# ruff: noqa: RUF001 (pages are typeset, with minus signs and dashes)
"""The pages in a real browser."""

import itertools
import json
import shutil
import subprocess

import pytest
from parsed_page import ParsedPage
from report_folders import write_metrics, write_run, write_spec, write_sweep

import effdet_lab
from effdet_lab.report.run import write_run_report
from effdet_lab.report.scaling import write_scaling_report
from effdet_lab.report.sweep import write_sweep_report

# Clicks the heads of a page's first table and writes what it finds into the page's title.
CLICKS = """<script>
const heads = [...document.querySelectorAll("table")[0].tHead.rows[0].cells];
const column = heads.findIndex((head) => head.textContent === NAME);
const rows = document.querySelectorAll("table")[0].tBodies[0].rows;
const order = () => [...rows].map((row) => row.cells[column].textContent);
const clicked = () => {
  heads[column].firstChild.click();
  return `${heads[column].getAttribute("aria-sort")}: ${order().join(" ")}`;
};
document.title = `${clicked()} | ${clicked()}`;
</script></body>"""


def opened(page, folder):
    """The page's document once its scripts ran; what the browser complained of."""
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    flags += ["--enable-logging=stderr", f"--user-data-dir={folder}", "--dump-dom", page.as_uri()]
    done = subprocess.run(["chromium", *flags], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def clicked(path, column):
    """A copy of the page that sorts itself."""
    copy = path.with_name("clicked.html")
    text = path.read_text(encoding="utf-8").replace("</body>", CLICKS.replace("NAME", repr(column)))
    copy.write_text(text, encoding="utf-8")
    return copy


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium here to open the pages with")
def test_both_pages_open_without_a_complaint_and_sort_their_tables(tmp_path):
    spec = effdet_lab.compose("model=efficientdet", "phi=-3", "data=digit_scenes")
    write_run(tmp_path / "run", spec)
    rows = [{"phi": phi, "seed": "0", "val/map": value} for phi, value in (("-3", 0.3), ("-2", 0.5), ("0.5", 0.4))]
    rows.append({"phi": "1", "seed": "0", "status": "failed (1)"})
    write_sweep(tmp_path / "sweep", [spec] * 4, ["phi", "seed"], rows)

    text, complaints = opened(clicked(write_run_report(tmp_path / "run"), "value"), tmp_path / "browser")
    assert complaints == []
    page = ParsedPage(text[text.index("<html") :])
    assert page.attributes("button"), "tables did not become sortable"
    assert {"id": "tip", "hidden": ""} in page.attributes("div")
    falling, rising = page.texts("title")[0].split(" | ")
    assert falling.startswith("descending: 0.8439 0.7867 0.7330")
    assert falling.endswith("– –")
    assert rising.startswith("ascending: 0.2895 0.3007 0.3110")
    assert rising.endswith("– –")

    text, complaints = opened(clicked(write_sweep_report(tmp_path / "sweep"), "phi"), tmp_path / "browser")
    assert complaints == []
    assert "<title>descending: 0.5 -2 -3 | ascending: -3 -2 0.5</title>" in text


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium here to open the pages with")
def test_the_scaling_report_and_its_figures_open_without_a_complaint(tmp_path):
    runs = []
    for scaling, phi in itertools.product(("published", "width"), (-1, 1, 2, 3)):
        folder = tmp_path / f"{scaling}{phi}"
        write_spec(folder, effdet_lab.compose("model=efficientnet", f"phi={phi}", f"scaling={scaling}", "data=digits"))
        write_metrics(folder, {"val/top1": 0.6 + phi / 10})
        costs = {"parameters": 1e6 * 2**phi, "multiply_adds": 1e7 * 2**phi, "latency_ms": 2**phi}
        (folder / "costs.json").write_text(json.dumps(costs), encoding="utf-8")
        runs.append(folder)
    path = write_scaling_report(runs, tmp_path / "page", ["efficientnet"])

    text, complaints = opened(clicked(path, "family"), tmp_path / "browser")
    assert complaints == []
    page = ParsedPage(text[text.index("<html") :])
    drawn = [mark.get("class") for mark in page.attributes("path")]
    assert drawn.count("band") == drawn.count("forecast") == 2 * 3
    assert page.texts("title")[0] == "ascending: compound width | descending: width compound"
    for figure in sorted((tmp_path / "page" / "figures").glob("*.svg")):
        text, complaints = opened(figure, tmp_path / "browser")
        assert complaints == []
        assert "parsererror" not in text
