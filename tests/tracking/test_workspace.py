import builtins
import json

import pytest

from effdet_lab.errors import ConfigError
from effdet_lab.tracking.panels import SWEPT
from effdet_lab.tracking.workspace import build_workspace, save_workspace


def panels_of(task):
    pytest.importorskip("wandb_workspaces")
    model = build_workspace("somebody", "effdet_lab", task)._to_model()
    content = json.loads(model.model_dump_json(by_alias=True))
    sections = content["spec"]["section"]["panelBankConfig"]["sections"]
    return {
        panel["config"].get("chartTitle", panel["viewType"]): panel
        for section in sections
        for panel in section["panels"]
    }


@pytest.mark.parametrize(
    ("task", "name", "metric"), [("detection", "mAP", "val/map"), ("classification", "top-1", "val/top1")]
)
def test_the_dashboard_without_a_server(task, name, metric):
    panels = panels_of(task)
    scatter = panels[f"{name} against multiply-adds"]
    assert scatter["viewType"] == "Scatter Plot"
    assert scatter["config"]["xAxis"] == "config:multiply_adds.value"
    assert scatter["config"]["yAxis"] == f"summary:{metric}.max"
    curve = panels[f"{name} by phi"]["config"]
    assert (curve["xAxis"], curve["metrics"], curve["groupBy"]) == ("trainer/global_step", [metric], "phi.value")
    sweep = panels["The sweep"]
    assert sweep["viewType"] == "Parallel Coordinates Plot"
    assert [column["accessor"] for column in sweep["config"]["columns"]] == [
        *(f"config:{setting}.value" for setting in SWEPT),  # the whole flat name, then the value
        f"summary:{metric}.max",
    ]
    assert panels["Parameter Importance"]["config"]["targetKey"] == f"{metric}.max"


def test_the_axes_of_a_sweep_are_settings_of_every_experiment():
    from tiny import tiny_classifier, tiny_detector

    from effdet_lab.tracking.describe import flatten

    for spec in (tiny_detector(), tiny_classifier()):
        assert set(SWEPT) <= set(flatten(spec))


def test_saving_needs_a_key():
    with pytest.raises(ConfigError, match=r"no key.*wandb login"):
        save_workspace(None)


def test_an_absent_library_is_named_with_its_extra(monkeypatch):
    real_import = builtins.__import__

    def without(name, *rest):
        if name.startswith("wandb_workspaces"):
            raise ModuleNotFoundError(name)
        return real_import(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"pip install 'effdet-lab\[dashboards\]'"):
        build_workspace("somebody", "effdet_lab")
