"""The commands around weights, from outside: verify, export, and wrong files."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from tiny import tiny_classifier

sys.path.append(str(Path(__file__).parents[1] / "weights"))
from references import effdet_detector, saved, timm_classifier

import effdet_lab
from effdet_lab.errors import ConfigError, MachineError
from effdet_lab.run.jobs import single, sweep
from effdet_lab.spec import with_classes
from effdet_lab.weights.header import header_of
from effdet_lab.weights.save import save_weights

RUN = Path(__file__).parents[2] / "run.py"
CLASSIFIER = ("model=efficientnet", "phi=0", "model.image_size=64")


def command(*arguments, cwd):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.run(
        [sys.executable, RUN, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300
    )


@pytest.mark.slow
def test_verify_writes_its_table_and_agrees(tmp_path):
    file = saved(effdet_detector("tf_efficientdet_d0", (128, 128)), tmp_path / "tf_efficientdet_d0.safetensors")
    answer = command(
        *("task=verify", "model=efficientdet", "phi=0", "model.image_size=128", f"checkpoint={file}"),
        *("hydra.run.dir=seen", "logger=csv"),
        cwd=tmp_path,
    )
    assert answer.returncode == 0, answer.stderr
    assert "The outputs are those of effdet tf_efficientdet_d0." in answer.stdout
    with open(tmp_path / "seen" / "parity.csv", newline="") as rows:
        stages = [row["stage"] for row in csv.DictReader(rows)]
    assert stages[0] == "backbone stem"
    assert stages[-2:] == ["class logits", "box deltas"]
    metrics = json.loads((tmp_path / "seen" / "metrics.json").read_text())
    assert metrics["parity/agrees"] == 1
    assert metrics["parity/class logits"] <= 1e-5


@pytest.mark.slow
def test_verify_ends_with_one_where_the_outputs_differ(tmp_path):
    file = saved(timm_classifier("tf_efficientnet_b0"), tmp_path / "tf_efficientnet_b0.safetensors")
    answer = command(
        *("task=verify", *CLASSIFIER, "model.norm_eps=0.1", f"checkpoint={file}", "hydra.run.dir=seen"), cwd=tmp_path
    )
    assert answer.returncode == 1
    assert "The outputs differ from timm tf_efficientnet_b0's." in answer.stdout
    assert json.loads((tmp_path / "seen" / "metrics.json").read_text())["parity/agrees"] == 0


@pytest.fixture
def trained(tmp_path):
    """A classifier of three classes, as a run leaves it."""
    spec = with_classes(effdet_lab.compose(*CLASSIFIER, "model.mean=[0.5,0.4,0.3]"), ("ant", "bee", "wasp"), (0, 1, 2))
    model = effdet_lab.build_model(spec).eval()
    save_weights(tmp_path / "model.safetensors", model.state_dict(), header_of(spec))
    return tmp_path / "model.safetensors", model


@pytest.mark.slow
def test_an_export_for_timm_is_a_folder_that_timm_opens(trained, tmp_path):
    import timm

    file, model = trained
    answer = command("task=export", f"checkpoint={file}", "export.grammar=timm", "hydra.run.dir=out", cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert 'timm.create_model("local-dir:out", pretrained=True)' in answer.stdout
    theirs = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True).eval()
    images_BCHW = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(theirs(images_BCHW), model(images_BCHW))
    assert list(theirs.pretrained_cfg["mean"]) == [0.5, 0.4, 0.3]
    assert theirs.pretrained_cfg["label_names"] == ["ant", "bee", "wasp"]
    card = (tmp_path / "out" / "README.md").read_text()
    assert "library_name: timm" in card
    assert "ant, bee, wasp" in card


@pytest.mark.slow
def test_an_export_of_our_own_predicts_alone(trained, tmp_path):
    """Nothing but the one file is needed, not even the run's folder."""
    file, _ = trained
    assert command("task=export", f"checkpoint={file}", "hydra.run.dir=out", cwd=tmp_path).returncode == 0
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    from PIL import Image

    Image.new("RGB", (50, 40), "red").save(pictures / "red.png")
    alone = tmp_path / "alone" / "bees.safetensors"
    alone.parent.mkdir()
    (tmp_path / "out" / "model.safetensors").rename(alone)
    answer = command("task=predict", f"checkpoint={alone}", f"input={pictures}", "hydra.run.dir=seen", cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    with open(tmp_path / "seen" / "predictions.csv", newline="") as rows:
        assert next(csv.DictReader(rows))["class_1"] in {"ant", "bee", "wasp"}


@pytest.mark.slow
def test_a_published_detector_predicts_with_cocos_names_and_its_own_ways(tmp_path):
    """The file's name says that it pads symmetrically, and the run's folder records it."""
    file = saved(effdet_detector("efficientdet_d0", (128, 128)), tmp_path / "efficientdet_d0-f3276ba8.safetensors")
    from PIL import Image

    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (50, 40), "red").save(tmp_path / "pictures" / "red.png")
    answer = command(
        *("task=predict", f"checkpoint={file}", "phi=0", "model.image_size=128", "input=pictures"),
        "hydra.run.dir=seen",
        cwd=tmp_path,
    )
    assert answer.returncode == 0, answer.stderr
    spec = yaml.safe_load((tmp_path / "seen" / "spec.yaml").read_text())
    assert spec["model"]["backbone"]["style"]["padding"] == "symmetric"
    assert spec["model"]["backbone"]["style"]["norm_eps"] == 1e-5
    assert spec["data"]["classes"][0] == "person"


@pytest.mark.slow
def test_a_wrong_file_is_answered_with_two_and_leaves_nothing(tmp_path):
    (tmp_path / "page.pth").write_text("<html>Sign in</html>")
    answer = command("task=train", *CLASSIFIER, "init=page.pth", cwd=tmp_path)
    assert answer.returncode == 2
    assert "page.pth: is no torch file" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert not (tmp_path / "outputs").exists() or not any((tmp_path / "outputs").glob("*efficientnet*"))


def test_another_network_is_refused_before_torch_and_before_a_sweeps_first_job(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with torch.device("meta"):
        state = effdet_lab.build_model(effdet_lab.compose("model=efficientnet", "phi=0")).state_dict()
    save_file({name: torch.zeros(tensor.shape) for name, tensor in state.items()}, tmp_path / "b0.safetensors")
    settings = ["model=efficientnet", "init=b0.safetensors"]
    assert single([*settings, "phi=0"]).spec.init == "b0.safetensors"
    with pytest.raises(MachineError, match=r"init=b0.safetensors: this is an EfficientNet-B0; .* use phi=0"):
        single([*settings, "phi=2"])
    with pytest.raises(ConfigError, match=r"job 1 \(phi=1\): init=b0.safetensors: this is an EfficientNet-B0"):
        sweep([*settings, "phi=0,1"])


def test_a_runs_folder_of_another_network_is_refused_too(tmp_path, monkeypatch):
    from effdet_lab.run.folder import write_spec

    write_spec(tmp_path / "run", tiny_classifier())
    with pytest.raises(MachineError, match=r"init=.*run: this is an EfficientNet of stages .* EfficientNet-B0"):
        single(["model=efficientnet", "phi=0", f"init={tmp_path / 'run'}"])


def test_a_push_needs_a_login_and_is_refused_before_any_work(trained, monkeypatch):
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(MachineError, match=r"export.hub=me/bees: nobody is logged in .* hf auth login"):
        single(["task=export", f"checkpoint={trained[0]}", "export.hub=me/bees"])


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["task=verify"], "task=verify needs weights"),
        (["task=export"], "task=export needs weights"),
        (["task=export", "checkpoint=x", "export.grammar=timm"], "effdet names detectors. Use export.grammar=effdet"),
        (["model=efficientnet", "task=export", "checkpoint=x", "export.grammar=effdet"], "Use export.grammar=timm"),
        (["task=export", "checkpoint=x", "export.hub=bees"], "export.hub=bees: must be OWNER/NAME"),
        (["init_classes=by_names"], "must be fit | by_name | new"),
    ],
)
def test_wrong_settings_around_weights(overrides, sentence):
    with pytest.raises(ConfigError) as refusal:
        effdet_lab.compose(*overrides)
    assert sentence in str(refusal.value)


def test_a_run_leaves_its_best_weights_for_others(tmp_path):
    """One epoch, in this process: the file beside the checkpoints holds the averaged weights of the best one."""
    from effdet_lab.run.app import prepare, run
    from effdet_lab.run.folder import write_spec

    spec = prepare(tiny_classifier("model.image_size=32", "trainer=smoke", "logger.images=0", "data.workers=0"))
    write_spec(tmp_path / "run", spec)
    run(spec, tmp_path / "run")
    tensors = load_file(tmp_path / "run" / "model.safetensors")
    content = torch.load(tmp_path / "run" / "checkpoints" / "best.ckpt", weights_only=True)
    for name, tensor in tensors.items():
        assert torch.equal(tensor, content["state_dict"][f"model.{name}"]), name
    assert effdet_lab.load(tmp_path / "run" / "model.safetensors").spec.data.classes == tuple("0123456789")
