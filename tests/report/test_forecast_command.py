"""task=forecast and task=report, from the command line to their files."""

import functools
import json

import pytest
from report_folders import write_metrics, write_spec

import effdet_lab
from effdet_lab.arithmetic import count_model
from effdet_lab.errors import DataError
from effdet_lab.run.forecast import FILE, forecast

compose = functools.cache(effdet_lab.compose)
FAMILY = ("model=efficientnet", "data=digits", "scaling=formula")
A, B, C = 2.0, 0.2, 0.02  # error = A * multiply-adds^-B + C


def law(multiply_adds: float) -> float:
    return 1 - (A * multiply_adds**-B + C)


@pytest.fixture
def runs(tmp_path):
    """Four members of one family that follow the law exactly."""
    folders = []
    for phi in (-4, -3, -2, -1):
        spec = compose(*FAMILY, f"phi={phi}")
        parameters, multiply_adds = count_model(spec.model, 10)
        folder = tmp_path / f"run_{phi}"
        write_spec(folder, spec)
        write_metrics(folder, {"val/top1": law(multiply_adds), "train/loss": 0.5})
        costs = {"parameters": parameters, "multiply_adds": multiply_adds, "latency_ms": 1.0}
        (folder / "costs.json").write_text(json.dumps(costs), encoding="utf-8")
        folders.append(str(folder))
    return folders


def asked(runs, *overrides):
    return effdet_lab.compose("task=forecast", f"runs=[{','.join(runs)}]", *overrides)


def test_a_larger_member_is_foretold_from_the_smaller_ones(runs, tmp_path):
    spec = asked(runs, *FAMILY, "phi=0")
    (tmp_path / "told").mkdir()
    forecast([spec], tmp_path / "told")
    (told,) = json.loads((tmp_path / "told" / FILE).read_text())
    multiply_adds = count_model(spec.model, 10).multiply_adds
    assert told["cost"] == multiply_adds
    assert told["value"] == pytest.approx(law(multiply_adds), abs=1e-3)
    assert told["is_extrapolated"]
    assert told["metric"] == "val/top1"


def test_another_family_is_not_foretold_from_this_one(runs, tmp_path):
    for other in (("backbone=mobilenet_v2",), ("scaling=depth",), ("scaling.base.width=0.5",)):
        with pytest.raises(DataError, match=r"There are: EfficientNet \(compound\)"):
            forecast([asked(runs, *FAMILY, *other)], tmp_path)


def test_two_members_are_too_few(runs, tmp_path):
    with pytest.raises(DataError, match="2 members that were measured; a forecast needs 3"):
        forecast([asked(runs[:2], *FAMILY)], tmp_path)


def test_the_commands_leave_their_files_and_a_refusal_leaves_none(runs, tmp_path, monkeypatch):
    from effdet_lab import cli

    def typed(*arguments):
        monkeypatch.setattr("sys.argv", ["run.py", *arguments])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return stop.value.code

    given, home = f"runs=[{','.join(runs)}]", tmp_path / "page"
    assert typed("task=report", given, "published=[efficientnet]", f"hydra.run.dir={home}") == 0
    assert (home / "report.html").exists()
    assert list((home / "figures").glob("*.svg"))
    told = tmp_path / "told"
    assert typed("task=forecast", given, *FAMILY, "-m", "phi=0,1", f"hydra.sweep.dir={told}") == 0
    assert len(json.loads((told / FILE).read_text())) == 2
    refused = tmp_path / "refused"
    assert typed("task=report", given, "published=[efficientnt]", f"hydra.run.dir={refused}") == 2
    assert typed("task=report", f"hydra.run.dir={refused}") == 2
    assert not refused.exists()
