import json
import os
import subprocess
import sys
import textwrap
import urllib.request

import pytest
import yaml
from PIL import Image
from tiny import changed, tiny_detector

from effdet_lab.errors import ConfigError
from effdet_lab.spec import to_dict
from effdet_lab.tracking.describe import flatten
from effdet_lab.tracking.local import name_of, open_trackio, read_run, run_folders


def write_run(folder, rows, seed=0):
    folder.mkdir(parents=True, exist_ok=True)
    spec = changed(tiny_detector(f"seed={seed}"), "logger", group="")
    (folder / "spec.yaml").write_text(yaml.safe_dump(to_dict(spec)))
    lines = ["epoch,step,seconds,train/loss,val/map", *(",".join(map(str, row)) for row in rows)]
    (folder / "metrics.csv").write_text("\n".join(lines) + "\n")
    return spec


def test_runs_are_found_where_they_lie(tmp_path):
    write_run(tmp_path / "single", [(1, 10, 1.5, 3.0, 0.1)])
    write_run(tmp_path / "sweep" / "0", [])
    (tmp_path / "data").mkdir()
    folders = run_folders(tmp_path)
    assert [name_of(folder, tmp_path) for folder in folders] == ["single", "sweep/0"]


def test_a_run_is_read_with_settings_group_and_curves(tmp_path):
    spec = write_run(tmp_path / "sweep" / "0", [(1, 10, 1.5, 3.0, ""), (2, 20, 1.5, "nan", 0.25)])
    run = read_run(tmp_path / "sweep" / "0", tmp_path)
    assert (run.project, run.name, run.group) == (spec.logger.project, "sweep/0", "sweep")
    assert run.config == flatten(spec)
    assert run.rows == [
        (10, {"train/seconds": 1.5, "train/loss": 3.0}),
        (20, {"train/seconds": 1.5, "val/map": 0.25}),
    ]
    write_run(tmp_path / "single", [])
    assert read_run(tmp_path / "single", tmp_path).group is None


@pytest.mark.parametrize("damage", [{"spec.yaml": "a: ["}, {"spec.yaml": "{}"}, {"metrics.csv": "epoch,step\n1,x\n"}])
def test_a_folder_that_holds_no_run_is_left_out_with_a_sentence(tmp_path, caplog, damage):
    write_run(tmp_path / "single", [(1, 10, 1.5, 3.0, 0.1)])
    for name, text in damage.items():
        (tmp_path / "single" / name).write_text(text)
    assert read_run(tmp_path / "single", tmp_path) is None
    assert "single: left out" in caplog.text


def test_absence_is_named_with_the_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "trackio", None)
    with pytest.raises(ConfigError, match=r"pip install 'effdet-lab\[dashboards\]'"):
        open_trackio(tmp_path)


def answer_of(program, *arguments):
    """What a process of its own prints as JSON: Trackio reads its folder once a process."""
    # Whatever the environment says, nothing may leave the machine.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TRACKIO_SERVER_URL": "http://127.0.0.1:9"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """Imports of one folder while it changes; each step tells what it brought and what Trackio then holds."""
    pytest.importorskip("trackio")
    outputs = tmp_path_factory.mktemp("story") / "outputs"
    first = [(1, 10, 1.5, 3.0, ""), (2, 20, 1.5, 2.0, 0.25)]
    write_run(outputs / "single", first)
    write_run(outputs / "sweep" / "0", first, seed=1)
    files = outputs.parent / "later"
    write_run(files / "longer", [*first, (3, 30, 1.5, 1.0, 0.5)])
    write_run(files / "other", [(1, 10, 1.5, 9.0, "")])
    Image.new("RGB", (8, 8), "green").save(files / "seen.png")
    return outputs, answer_of(
        """
        import json, pathlib, shutil, sys, urllib.request
        outputs, files = map(pathlib.Path, sys.argv[1:])
        import yaml
        from effdet_lab.spec import from_dict
        from effdet_lab.tracking.local import import_runs, open_page
        from effdet_lab.tracking.trackio_logger import TrackioLogger

        def held():
            from trackio.sqlite_storage import SQLiteStorage
            runs = SQLiteStorage.get_run_records("effdet_lab")
            return {
                run["name"]: {
                    "id": run["id"],
                    "logs": SQLiteStorage.get_logs("effdet_lab", run["name"], run_id=run["id"]),
                    "config": SQLiteStorage.get_run_config("effdet_lab", run["name"], run_id=run["id"]),
                } for run in runs
            }, len(runs)

        told = {}
        def step(name, change=None):
            if change:
                shutil.copy(files / change / "metrics.csv", outputs / "single" / "metrics.csv")
            brought = import_runs(outputs)
            told[name] = [brought, *held()]

        step("first")
        step("again")
        step("grown", "longer")
        (outputs / "single" / "images").mkdir()
        shutil.copy(files / "seen.png", outputs / "single" / "images" / "seen.png")
        step("drawn")
        step("drawn, again")
        (outputs / "single" / "spec.yaml").touch()
        step("touched")
        step("started anew", "other")

        spec = from_dict(yaml.safe_load((outputs / "single" / "spec.yaml").read_text()))
        live = outputs / "live"
        logger = TrackioLogger(spec, live, outputs)
        logger.log_metrics({"step/loss": 7.0}, step=5)
        logger.finish()
        shutil.copytree(outputs / "single", live)
        step("live")

        server, address = open_page(outputs)
        with urllib.request.urlopen(address) as page:
            told["page"] = [address, page.status, page.read().decode()]
        server.close()
        print(json.dumps(told))
        """,
        outputs,
        files,
    )


def curve(held, name, metric):
    return [(row["step"], row[metric]) for row in held[name]["logs"] if metric in row]


def test_curves_settings_and_groups_come_from_the_folders(story):
    outputs, told = story
    brought, held, count = told["first"]
    assert (brought, count) == (["single", "sweep/0"], 2)
    assert curve(held, "single", "train/loss") == [(10, 3.0), (20, 2.0)]
    assert curve(held, "single", "val/map") == [(20, 0.25)]
    config = held["sweep/0"]["config"]
    assert (config["_Group"], held["single"]["config"]["_Group"]) == ("sweep", None)
    expected = read_run(outputs / "sweep" / "0", outputs).config
    assert {name: config[name] for name in expected} == expected
    assert list((outputs / ".trackio").glob("*.db"))


def test_what_has_not_changed_is_skipped(story):
    brought, held, count = story[1]["again"]
    assert (brought, count) == ([], 2)
    assert held == story[1]["first"][1]


def test_a_run_that_grows_is_the_same_run(story):
    brought, held, count = story[1]["grown"]
    assert (brought, count) == (["single"], 2)
    assert held["single"]["id"] == story[1]["first"][1]["single"]["id"]
    assert curve(held, "single", "train/loss") == [(10, 3.0), (20, 2.0), (30, 1.0)]


def test_the_pictures_of_a_run_are_shown_once(story):
    brought, held, count = story[1]["drawn"]
    assert (brought, count) == (["single"], 2)
    assert held["single"]["id"] == story[1]["grown"][1]["single"]["id"]
    [(step, picture)] = curve(held, "single", "pictures/seen")
    assert (step, picture["_type"], picture["caption"]) == (30, "trackio.image", "seen")
    assert story[1]["drawn, again"][0] == []
    assert len(curve(story[1]["touched"][1], "single", "pictures/seen")) == 1


def test_a_run_that_started_anew_replaces_the_old_one(story):
    brought, held, count = story[1]["started anew"]
    assert (brought, count) == (["single"], 2)
    assert curve(held, "single", "train/loss") == [(10, 9.0)]


def test_a_run_that_logs_itself_is_left_alone(story):
    brought, held, count = story[1]["live"]
    assert (brought, count) == ([], 3)
    assert curve(held, "live", "step/loss") == [(5, 7.0)]
    assert curve(held, "live", "train/loss") == []


def test_the_page_is_on_this_machine_only(story):
    address, status, text = story[1]["page"]
    assert address.startswith("http://127.0.0.1:")
    assert status == 200
    assert "<html" in text.lower()


def test_serve_prints_its_address_and_ends_with_the_keyboard(tmp_path):
    pytest.importorskip("trackio")
    import signal

    write_run(tmp_path / "outputs" / "single", [(1, 10, 1.5, 3.0, 0.1)])
    outputs = str(tmp_path / "outputs")
    program = f"import pathlib, effdet_lab.tracking.local as local; local.serve(pathlib.Path({outputs!r}))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment) as page:
        try:
            line = page.stdout.readline()
            address = line.split(" are on ")[1].split()[0]
            with urllib.request.urlopen(address, timeout=20) as answer:
                assert answer.status == 200
        finally:
            page.send_signal(signal.SIGINT)
        assert page.wait(30) == 0
    assert address.startswith("http://127.0.0.1:")
