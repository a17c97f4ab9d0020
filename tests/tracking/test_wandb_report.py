import json

import pytest

from effdet_lab.errors import ConfigError
from effdet_lab.tracking import dashboard, wandb_report, weights_and_biases, workspace
from effdet_lab.tracking.panels import SWEPT
from effdet_lab.tracking.wandb_report import build_report, save_report

PICTURES = ["What scaling buys", "How each size learns", "How the sweeps compare", "What a sweep found"]


@pytest.fixture
def blocks_of(monkeypatch):
    """The report's blocks as they are sent; only the number of the project is made up."""
    interface = pytest.importorskip("wandb_workspaces.reports.v2.interface")

    def answer(api, query, variables):
        assert variables == {"entityName": "somebody", "projectName": "effdet_lab"}
        return {"project": {"internalId": "7"}}

    monkeypatch.setattr(interface, "execute_graphql", answer)
    monkeypatch.setattr(interface, "_get_api", lambda: None)

    def blocks(*arguments):
        model = build_report("somebody", "effdet_lab", *arguments)._to_model()
        return json.loads(model.spec.model_dump_json(by_alias=True, exclude_none=True))["blocks"]

    return blocks


def grids(blocks):
    """Each picture book by its heading: run sets and panels."""
    found, heading = {}, ""
    for block in blocks:
        if block["type"] == "heading":
            heading = block["children"][0]["text"]
        if block["type"] == "panel-grid":
            metadata = block["metadata"]
            found[heading] = metadata["runSets"], metadata["panelBankSectionConfig"]["panels"]
    return found


@pytest.mark.parametrize(
    ("task", "name", "metric"), [("detection", "mAP", "val/map"), ("classification", "top-1", "val/top1")]
)
def test_the_report_without_a_server(blocks_of, task, name, metric):
    pages = grids(blocks_of(task))
    assert list(pages) == PICTURES
    ((scatter,), curves, (by_sweep,), (sweep, importance)) = [panels for _, panels in pages.values()]
    assert scatter["config"]["xAxis"] == "config:multiply_adds.value"
    assert scatter["config"]["yAxis"] == f"summary:{metric}.max"
    assert [curve["config"]["metrics"] for curve in curves] == [[metric], ["val/loss"]]
    assert {curve["config"]["groupBy"] for curve in curves} == {"phi.value"}
    assert (by_sweep["config"]["metrics"], by_sweep["config"]["groupBy"]) == ([metric], "group")
    assert [column["accessor"] for column in sweep["config"]["columns"]] == [
        *(f"config:{setting}.value" for setting in SWEPT),
        f"summary:{metric}.max",
    ]
    assert importance["viewType"] == "Parameter Importance"
    assert importance["config"]["targetKey"] == f"{metric}.max"


def test_runs_stand_together_by_phi_and_by_sweep(blocks_of):
    keys = {}
    for heading, (runsets, _) in grids(blocks_of()).items():
        (runset,) = runsets
        assert runset["project"] == {"id": "7", "name": "effdet_lab", "entityName": "somebody"}
        assert runset["sort"]["keys"][0]["key"] == {"section": "summary", "name": "val/map.max"}
        keys[heading] = [(key["section"], key["name"]) for key in runset["grouping"]]
    assert list(keys.values()) == [[("config", "phi.value")], [("config", "phi.value")], [("run", "group")], []]


def test_no_panel_lies_on_another(blocks_of):
    for _, panels in grids(blocks_of()).values():
        cells = []
        for panel in panels:
            x, y, w, h = (panel["layout"][side] for side in "xywh")
            cells += [(x + right, y + down) for right in range(w) for down in range(h)]
        assert len(set(cells)) == len(cells)
        assert max(x for x, _ in cells) == 23
        assert {panel["layout"]["y"] for panel in panels} == {0}


def test_every_picture_has_words_above_it(blocks_of):
    blocks = blocks_of("classification")
    for number, block in enumerate(blocks):
        if block["type"] == "panel-grid":
            words = "".join(child["text"] for child in blocks[number - 1]["children"])
            assert len(words) > 100
            assert not {"{", "}"} & set(words)


def test_other_settings_can_be_its_axes(blocks_of):
    sweep = grids(blocks_of("detection", ["bifpn.channels"]))["What a sweep found"][1][0]
    assert [column["accessor"] for column in sweep["config"]["columns"]] == [
        "config:bifpn.channels.value",
        "summary:val/map.max",
    ]


def test_saving_needs_a_key():
    with pytest.raises(ConfigError, match=r"no key.*wandb login"):
        save_report(None)


def test_both_addresses_are_told(monkeypatch, capsys):
    pytest.importorskip("wandb_workspaces")
    from tiny import changed, tiny_classifier

    places = []
    for module, name in ((workspace, "workspace"), (wandb_report, "report")):
        monkeypatch.setattr(module, f"build_{name}", lambda *place: places.append(place))
        monkeypatch.setattr(module, f"save_{name}", lambda _, name=name: f"https://server/{name}")
    monkeypatch.setattr(weights_and_biases, "default_entity", lambda: "somebody")
    dashboard.show_dashboard(changed(tiny_classifier("task=dashboard", "target=wandb"), "logger", project="p"), None)
    assert capsys.readouterr().out == (
        "The dashboard is on https://server/workspace\nThe report is on https://server/report\n"
    )
    assert places == [("somebody", "p", "classification")] * 2
