"""Files that leave: whole, with all that belongs to them, and readable elsewhere."""

import json

import pytest
import torch
from references import OUTPUTS, effdet_detector, farthest_output, randomise
from safetensors import safe_open
from safetensors.torch import load_file
from tiny import tiny_classifier, tiny_detector

import effdet_lab
from effdet_lab.spec import with_classes
from effdet_lab.weights.header import header_of, read_shapes, read_spec_of
from effdet_lab.weights.load import load_trained
from effdet_lab.weights.save import named_for, save_weights


@pytest.mark.parametrize("build", [tiny_classifier, tiny_detector])
def test_ours_come_back_bit_by_bit_with_their_experiment(build, tmp_path):
    spec = build()
    model = randomise(effdet_lab.build_model(spec)).eval()
    save_weights(tmp_path / "model.safetensors", model.state_dict(), header_of(spec))
    again = effdet_lab.load(tmp_path / "model.safetensors")
    assert again.spec == spec
    assert not again.training
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name


def test_the_header_tells_others_what_the_network_reads(tmp_path):
    spec = with_classes(tiny_classifier("model.mean=[0.1,0.2,0.3]"), ("ant", "bee"), (0, 1))
    save_weights(tmp_path / "model.safetensors", effdet_lab.build_model(spec).state_dict(), header_of(spec))
    with safe_open(tmp_path / "model.safetensors", framework="np") as file:
        header = file.metadata()
    assert header["format"] == "pt"
    assert json.loads(header["classes"]) == ["ant", "bee"]
    assert json.loads(header["pixels"])["mean"] == [0.1, 0.2, 0.3]
    assert read_spec_of(tmp_path / "model.safetensors") == spec
    assert read_shapes(tmp_path / "model.safetensors")["classifier.weight"] == (2, 720)


def test_a_file_without_our_header_tells_no_experiment(tmp_path):
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, tmp_path / "plain.safetensors")
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors", {"spec": '{"kind": "ExperimentSpec"}'})
    (tmp_path / "text.safetensors").write_text("nothing")
    for name in ("plain", "other", "text", "absent"):
        assert read_spec_of(tmp_path / f"{name}.safetensors") is None
    with pytest.raises(effdet_lab.DataError, match="does not tell its experiment"):
        effdet_lab.load(tmp_path / "plain.safetensors")


def test_a_full_disk_leaves_the_old_file_and_no_half_one(tmp_path, monkeypatch):
    save_weights(tmp_path / "model.safetensors", {"a": torch.zeros(3)}, {})

    def half(tensors, path, metadata):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("effdet_lab.weights.save.save_file", half)
    with pytest.raises(OSError, match="No space"):
        save_weights(tmp_path / "model.safetensors", {"a": torch.ones(3)}, {})
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]
    assert load_file(tmp_path / "model.safetensors")["a"].tolist() == [0, 0, 0]


def test_our_detector_answers_the_same_in_effdet(tmp_path):
    """Ours, under effdet's names, in effdet's network, loaded strictly."""
    spec = effdet_lab.compose("model=efficientdet", "phi=0", "model.image_size=128")
    spec = with_classes(spec, tuple("abc"), (1, 2, 3))
    ours = randomise(effdet_lab.build_model(spec)).eval()
    save_weights(tmp_path / "model.safetensors", named_for(ours, "effdet"), header_of(spec))
    theirs = effdet_detector("tf_efficientdet_d0", (128, 128), num_classes=3)
    theirs.load_state_dict(load_file(tmp_path / "model.safetensors"), strict=True)
    assert farthest_output(ours, theirs, torch.randn(2, 3, 128, 128)) <= OUTPUTS


def test_another_backbones_detector_goes_to_effdet_and_comes_back(tmp_path):
    spec = tiny_detector("backbone=resnet18")
    ours = randomise(effdet_lab.build_model(spec)).eval()
    tensors = named_for(ours, "effdet")
    assert "backbone.layer1.0.conv1.weight" in tensors
    save_weights(tmp_path / "model.safetensors", tensors, {})
    again = effdet_lab.build_model(spec)
    load_trained(again, tmp_path / "model.safetensors")
    assert all(torch.equal(again.state_dict()[name], tensor) for name, tensor in ours.state_dict().items())
