import dataclasses
import json
import os
import pty
import select
import struct
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
from PIL import Image
from tiny import changed, tiny_classifier, tiny_detector

from effdet_lab.data.splits import unlabelled_boxes
from effdet_lab.errors import ConfigError
from effdet_lab.metrics.ground_truth import DetectionArrays
from effdet_lab.run.tracking import build_logger, finish, log_pictures, tags, wandb_mode
from effdet_lab.spec import from_dict

KEY = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def nobody(monkeypatch, tmp_path):
    """A machine without account or rank."""
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL", "NETRC", "RANK", "LOCAL_RANK", "NODE_RANK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    yield
    finish()


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


def test_a_login_in_netrc_is_a_key(tmp_path):
    netrc = tmp_path / "home" / ".netrc"
    netrc.write_text(f"machine somewhere.else login user password {KEY}\n")
    netrc.chmod(0o600)
    assert wandb_mode(spec_of()) == "offline"
    netrc.write_text(f"machine api.wandb.ai login user password {KEY}\n")
    assert wandb_mode(spec_of()) == "online"


def test_online_without_a_key_is_refused_with_the_way_out():
    with pytest.raises(ConfigError, match=r"logger.mode=online.*wandb login.*logger.mode=offline"):
        wandb_mode(spec_of(mode="online"))


def test_each_job_has_an_offline_run_in_its_own_folder(tmp_path):
    spec = spec_of()
    ids = []
    for job in range(2):
        logger = build_logger(spec, tmp_path / f"job_{job}")
        logger.log_metrics({"train/loss": 1.0 - job}, step=3)
        ids.append(logger.experiment.id)
    finish(logger)  # the first job ended without
    assert ids[0] != ids[1]
    for job in range(2):
        (run,) = (tmp_path / f"job_{job}" / "wandb").glob("offline-run-*/*.wandb")
        assert run.name == f"run-{ids[job]}.wandb"
        records = wandb_records(run)
        rows = [history(record) for record in records if record.WhichOneof("record_type") == "history"]
        assert {"train/loss": 1.0 - job, "trainer/global_step": 3}.items() <= rows[0].items()
        run_record = next(record.run for record in records if record.WhichOneof("record_type") == "run")
        assert (run_record.run_group, run_record.project) == ("scaling", "effdet_lab")
        assert list(run_record.tags) == ["detector", "efficientnet", "phi=-4", "published"]
        config = {item.key: json.loads(item.value_json) for item in run_record.config.update}
        assert from_dict(config) == spec


@pytest.mark.slow
def test_wandb_comes_in_late_and_asks_no_terminal_for_an_account(tmp_path):
    program = f"""
        import pathlib, sys
        import effdet_lab
        from effdet_lab.run.tracking import build_logger, finish
        assert sys.stdin.isatty()
        assert not {{"wandb", "tensorboard"}} & set(sys.modules)
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
    assert tried == [("online", 10), ("offline", 10)]
    assert logger.experiment.offline
    assert "no such host" in caplog.text


def test_boxes_lie_beside_the_picture_in_pixels(tmp_path):
    Image.new("RGB", (40, 30), "red").save(tmp_path / "a.png")
    records = unlabelled_boxes([tmp_path / "a.png"], ("cat", "dog"), (1, 2))
    found = DetectionArrays(np.array([0]), np.array([[1.0, 2.0, 30.0, 20.0]]), np.array([0.75]), np.array([1]))
    drawn = [Image.new("RGB", (40, 30))]
    logger = build_logger(spec_of(), tmp_path / "run")
    log_pictures(logger, records, found, [0], drawn)
    finish(logger)
    files = (tmp_path / "run" / "wandb").glob("offline-run-*/files/media/metadata/boxes2D/**/*.json")
    (box,) = [box for file in files for box in json.loads(file.read_text())["box_data"]]
    assert box["position"] == {"minX": 1.0, "minY": 2.0, "maxX": 30.0, "maxY": 20.0}
    assert (box["domain"], box["class_id"], box["box_caption"]) == ("pixel", 1, "dog 0.75")
    assert box["scores"] == {"score": 0.75}


def test_tensorboard_gets_curves_and_pictures(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    records = unlabelled_boxes([tmp_path / "a.png"], ("cat",), (1,))
    found = DetectionArrays(*(np.zeros(shape) for shape in ((0,), (0, 4), (0,), (0,))))
    logger = build_logger(spec_of("tensorboard"), tmp_path / "run")
    logger.log_metrics({"val/map": 0.5}, step=7)
    log_pictures(logger, records, found, [0], [Image.new("RGB", (40, 30))])
    finish(logger)
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("val/map")] == [(7, 0.5)]
    assert events.Tags()["images"] == ["pictures/a"]


@pytest.mark.parametrize("name", ["wandb", "tensorboard"])
def test_a_missing_package_is_named_with_its_remedy(monkeypatch, tmp_path, name):
    monkeypatch.setattr("importlib.util.find_spec", lambda package: None)
    with pytest.raises(ConfigError, match=f"logger={name}: not installed. .*pip install {name}.*logger=csv"):
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


def wandb_records(path):
    """All records of a finished run's .wandb file, which W&B's service may still be writing."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        records = list(log_records(path.read_bytes()))
        if any(record.WhichOneof("record_type") == "exit" for record in records):
            return records
        time.sleep(0.1)
    raise TimeoutError(f"{path} has no end")


def log_records(data):
    """Protocol buffers in blocks of 32 KiB, the format of LevelDB's log."""
    from wandb.proto.wandb_internal_pb2 import Record

    offset, parts, block = 7, b"", 32768
    while offset + 7 <= len(data):
        if block - offset % block < 7:
            offset += block - offset % block
            continue
        _, length, kind = struct.unpack("<IHB", data[offset : offset + 7])
        offset += 7
        if offset + length > len(data):
            return
        parts += data[offset : offset + length]
        offset += length
        if kind in (1, 4):  # a whole record, or the last part of one
            yield Record.FromString(parts)
            parts = b""


def history(record):
    return {".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
