import dataclasses
import os
import pty
import re
import select
import socket
import subprocess
import sys
import textwrap
import time

import pytest
from tiny import changed, tiny_classifier, tiny_detector
from wandb_file import kind, values, wandb_records

from effdet_lab.errors import ConfigError
from effdet_lab.spec import to_dict
from effdet_lab.tracking.describe import flatten, tags
from effdet_lab.tracking.loggers import build_logger, finish, log_cost
from effdet_lab.tracking.weights_and_biases import SECONDS_TO_CONNECT, wandb_mode

KEY = "0123456789abcdef0123456789abcdef01234567"


def spec_of(name="wandb", mode="auto"):
    return changed(tiny_detector(), "logger", name=name, mode=mode, group="scaling")


@pytest.mark.parametrize(
    ("asked", "environment", "mode"),
    [
        ("auto", {}, "offline"),
        ("auto", {"WANDB_API_KEY": KEY}, "online"),
        ("auto", {"WANDB_MODE": "offline", "WANDB_API_KEY": KEY}, "offline"),
        ("auto", {"WANDB_MODE": "dryrun", "WANDB_API_KEY": KEY}, "offline"),
        ("auto", {"WANDB_MODE": "online"}, "offline"),
        ("auto", {"WANDB_MODE": "disabled"}, "disabled"),
        ("offline", {"WANDB_API_KEY": KEY}, "offline"),
        ("online", {"WANDB_API_KEY": KEY}, "online"),
    ],
)
def test_wandb_is_online_only_with_a_key(monkeypatch, asked, environment, mode):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert wandb_mode(spec_of(mode=asked)) == mode


def own_host():
    import wandb

    return wandb.Settings().base_url.partition("//")[2]


@pytest.mark.parametrize(
    ("machine", "base_url", "mode"),
    [
        ("somewhere.else", None, "offline"),
        ("api.wandb.ai", None, "online"),
        (own_host, None, "online"),  # where the installed library would log in
        ("api.wandb.ai", "http://wandb.local:8080", "offline"),
        ("wandb.local:8080", "http://wandb.local:8080", "online"),
    ],
)
def test_a_login_in_netrc_is_a_key_for_its_server(monkeypatch, tmp_path, machine, base_url, mode):
    netrc = tmp_path / "home" / ".netrc"
    netrc.write_text(f"machine {machine() if callable(machine) else machine} login user password {KEY}\n")
    netrc.chmod(0o600)
    if base_url:
        monkeypatch.setenv("WANDB_BASE_URL", base_url)
    assert wandb_mode(spec_of()) == mode


def test_online_without_a_key_is_refused_with_the_way_out():
    with pytest.raises(ConfigError, match=r"logger.mode=online.*wandb login.*logger.mode=offline"):
        wandb_mode(spec_of(mode="online"))


@pytest.fixture(scope="module")
def two_jobs(nobody_for_long, tmp_path_factory):
    """Two jobs of one process, the first of which was resumed: folder, and the id of each run in turn."""
    root, spec, ids = tmp_path_factory.mktemp("jobs"), spec_of(), []
    for folder, losses, maps in (("a", (3, 1, 2), (0.1, 0.5, 0.4)), ("b", (5,), (0.2,)), ("a", (4,), (0.3,))):
        logger = build_logger(spec, root / folder)
        for step, (loss, score) in enumerate(zip(losses, maps, strict=True), start=1):
            logger.log_metrics({"step/loss": loss, "train/loss": loss, "val/loss": loss}, step=step)
            logger.log_metrics({"val/map": score, "val/map_50": score}, step=step)
        log_cost(logger, {"parameters": 12, "multiply_adds": 345})
        ids.append(logger.experiment.id)
        if folder == "a":  # the other one ended without
            finish(logger)
        if len(ids) == 1:
            time.sleep(1.1)  # W&B names folders by the second
    finish(logger)
    return root, ids


def runs_in(folder):
    return [wandb_records(path) for path in sorted((folder / "wandb").glob("offline-run-*/*.wandb"))]


def test_each_job_has_a_run_of_its_own_and_goes_on_with_it_when_resumed(two_jobs):
    root, (first, other, resumed) = two_jobs
    assert first == resumed != other
    assert (root / "a" / "wandb_id.txt").read_text() == f"{first}\n"
    assert [kind(records, "run")[0].run_id for records in runs_in(root / "a")] == [first, first]
    assert [kind(records, "run")[0].run_id for records in runs_in(root / "b")] == [other]


def test_every_metric_is_in_the_file_at_its_step(two_jobs):
    records = runs_in(two_jobs[0] / "a")[0]
    rows = [values(row.item) for row in kind(records, "history")]
    told = [{name: row[name] for name in row if not name.startswith("_")} for row in rows]
    assert {"step/loss": 1, "train/loss": 1, "val/loss": 1, "trainer/global_step": 2} in told
    assert [row["val/map"] for row in rows if "val/map" in row] == [0.1, 0.5, 0.4]


def test_a_table_of_runs_shows_the_best_of_each_curve(two_jobs):
    records = runs_in(two_jobs[0] / "a")[0]
    summary = {}
    for update in kind(records, "summary"):
        summary |= values(update.update)
    assert (summary["val/map"], summary["val/map_50"]) == ({"max": 0.5}, {"max": 0.5})
    assert [summary[f"{split}/loss"] for split in ("step", "train", "val")] == [{"min": 1}] * 3


def test_the_run_tells_its_settings_flat_and_where_it_belongs(two_jobs):
    records = runs_in(two_jobs[0] / "a")[0]
    run = kind(records, "run")[0]
    assert (run.run_group, run.project, run.job_type) == ("scaling", "effdet_lab", "train")
    assert list(run.tags) == ["detector", "efficientnet", "phi=-4", "published"]
    config = values(run.config.update)
    for update in kind(records, "config"):
        config |= values(update.update)
    assert {name: config[name] for name in flatten(spec_of())} == flatten(spec_of())
    assert (config["parameters"], config["multiply_adds"]) == (12, 345)


def test_the_system_is_watched(nobody_for_long, tmp_path):
    """W&B looks by itself when it is ready: a run that is over before that has seen nothing."""
    for seconds in (1, 5, 20):
        folder = tmp_path / str(seconds)
        logger = build_logger(spec_of(), folder)
        time.sleep(seconds)
        finish(logger)
        names = {item.key for stats in kind(runs_in(folder)[0], "stats") for item in stats.item}
        if names:
            break
    assert "proc.memory.rssMB" in names


def test_flat_names_lead_to_every_setting():
    spec = tiny_detector()
    flat = flatten(spec)
    assert flat["model.backbone.phi"] == spec.model.backbone.phi
    assert flat["model.kind"] == "DetectorSpec"
    assert flat["model.input.image_size"] == list(spec.model.input.image_size)
    assert flat["model.backbone.stages.1.repeats"] == spec.model.backbone.stages[1].repeats
    for name, value in flat.items():
        place = to_dict(spec)
        for key in name.split("."):
            place = place[int(key)] if isinstance(place, list) else place[key]
        assert place == value
        assert not isinstance(value, dict)


def test_an_offline_run_ends_with_the_command_that_sends_it(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    caplog.set_level("INFO", logger="effdet_lab")
    logger = build_logger(spec_of(), tmp_path / "out puts")
    finish(logger)
    (sentence,) = [record.getMessage() for record in caplog.records if "wandb sync" in record.getMessage()]
    command = re.search(r"wandb sync .*", sentence)[0]
    ours = subprocess.run(f"echo {command.removeprefix('wandb sync ')}", shell=True, capture_output=True, text=True)
    assert "*" not in ours.stdout  # the pattern leads to the run
    assert str(next((tmp_path / "out puts" / "wandb").glob("offline-run-*")).relative_to(tmp_path)) in ours.stdout


@pytest.mark.slow
def test_wandb_comes_in_late_and_asks_no_terminal_for_an_account(tmp_path):
    program = f"""
        import pathlib, sys
        import effdet_lab
        from effdet_lab.tracking.loggers import build_logger, finish
        import effdet_lab.tracking.artifacts, effdet_lab.tracking.predictions
        import effdet_lab.tracking.local, effdet_lab.tracking.trackio_logger, effdet_lab.tracking.workspace
        assert sys.stdin.isatty()
        assert not {{"wandb", "wandb_workspaces", "tensorboard", "trackio"}} & set(sys.modules)
        spec = effdet_lab.compose("model=efficientdet", "phi=-4", "data=digit_scenes")
        logger = build_logger(spec, pathlib.Path({str(tmp_path / "run")!r}))
        finish(logger)
        print("started offline:", logger.experiment.offline)
    """
    ours, theirs = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    ) as process:
        os.close(theirs)
        said, deadline = b"", time.monotonic() + 60
        while time.monotonic() < deadline:
            if select.select([ours], [], [], 0.5)[0]:
                try:
                    said += os.read(ours, 65536)
                except OSError:  # the other end is closed
                    break
        process.kill() if process.poll() is None and time.monotonic() >= deadline else process.wait(20)
    text = said.decode(errors="replace")
    assert process.returncode == 0, text
    assert "started offline: True" in text
    assert "account" not in text
    assert "wandb:" not in text


def test_a_server_out_of_reach_leaves_an_offline_run_and_a_sentence(monkeypatch, tmp_path, caplog):
    import wandb

    real_init, tried = wandb.init, []

    def init(**arguments):
        tried.append((arguments["mode"], arguments["settings"].init_timeout))
        if arguments["mode"] == "online":
            raise wandb.errors.CommError("no such host")
        return real_init(**arguments)

    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setattr(wandb, "init", init)
    logger = build_logger(spec_of(), tmp_path)
    assert tried == [("online", SECONDS_TO_CONNECT), ("offline", SECONDS_TO_CONNECT)]
    assert logger.experiment.offline
    said = [record.getMessage() for record in caplog.records if record.name.startswith("effdet_lab")]
    assert said == ["W&B did not start online (no such host); the run goes on offline."]


@pytest.mark.slow
def test_a_server_that_never_answers_costs_ten_seconds_at_most(monkeypatch, tmp_path, capfd):
    import wandb

    wandb.teardown()  # it reads the environment once
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(50)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        begin = time.monotonic()
        logger = build_logger(spec_of(), tmp_path)
        seconds = time.monotonic() - begin
        assert logger.experiment.offline
        finish(logger)
    wandb.teardown()
    assert seconds < 10
    assert "wandb:" not in "".join(capfd.readouterr())
    (run,) = runs_in(tmp_path)
    assert kind(run, "run")[0].run_id == (tmp_path / "wandb_id.txt").read_text().strip()


@pytest.mark.parametrize("name", ["wandb", "tensorboard", "trackio"])
def test_a_missing_package_is_named_with_its_remedy(monkeypatch, tmp_path, name):
    monkeypatch.setattr("importlib.util.find_spec", lambda package: None)
    package = {"trackio": r"'effdet-lab\[dashboards\]'"}.get(name, name)
    with pytest.raises(ConfigError, match=f"logger={name}: not installed. .*pip install {package}.*logger=csv"):
        build_logger(spec_of(name), tmp_path)


def test_csv_and_other_ranks_need_no_logger(monkeypatch, tmp_path):
    assert build_logger(spec_of("csv"), tmp_path) is False
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert build_logger(spec_of(), tmp_path) is False
    assert not list(tmp_path.glob("wandb"))


def test_tags_name_the_settings_that_left_the_table():
    spec = tiny_classifier("backbone=efficientnet_lite")
    spec = dataclasses.replace(spec, off_table=("model.image_size", "x" * 100))
    assert tags(spec) == ("classifier", "efficientnet_lite", "phi=-6", "published", "model.image_size", "x" * 64)
