"""Twenty and more files that cannot start a network: each gets a sentence, none a traceback, and no code is run."""

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tiny import tiny_classifier

import effdet_lab
from effdet_lab.errors import Refusal
from effdet_lab.models.build import build_model
from effdet_lab.weights.load import load_trained, load_weights


class Trojan:
    """Opening it would leave a file behind."""

    def __reduce__(self):
        return os.system, ("touch opened",)


def state():
    return build_model(tiny_classifier()).state_dict()


def other_classes():
    from effdet_lab.spec import with_classes

    return build_model(with_classes(tiny_classifier(), ("a", "b", "c"), (0, 1, 2))).state_dict()


def other_network(architecture: str):
    import timm

    return timm.create_model(architecture, num_classes=10).state_dict()


def detector():
    return effdet_lab.build_model(effdet_lab.compose("model=efficientdet", "phi=0")).state_dict()


def truncated(path: Path, whole: Path) -> None:
    content = whole.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def bad_header(path: Path) -> None:
    path.write_bytes((2**40).to_bytes(8, "little") + b"{}")


def zip_without_tensors(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "no tensors here")


def not_finite(value: float) -> dict:
    tensors = state()
    tensors["conv_stem.weight"][0, 0, 0, 0] = value
    return tensors


def objects(path: Path) -> None:
    np.savez(path, weights=np.array([Trojan()], dtype=object))


WRONG = {
    "absent.safetensors": (lambda path: None, "no such file"),
    "empty.safetensors": (Path.touch, "is empty"),
    "empty.pth": (Path.touch, "is empty"),
    "empty.npz": (Path.touch, "is empty"),
    "truncated.safetensors": (lambda path: _cut(path, save_file), "not all of it"),
    "truncated.pth": (lambda path: _cut(path, lambda tensors, file: torch.save(tensors, file)), "not all of it"),
    "truncated.npz": (lambda path: _cut(path, lambda tensors, file: _savez(tensors, file)), "not all of it"),
    "text.safetensors": (lambda path: path.write_text("404: Not Found\n"), "no safetensors file"),
    "text.pth": (lambda path: path.write_text("404: Not Found\n"), "no torch file"),
    "text.npz": (lambda path: path.write_text("404: Not Found\n"), "no archive of plain arrays"),
    "page.pt": (lambda path: path.write_text("<!DOCTYPE html><html>Sign in</html>"), "no torch file"),
    "header.safetensors": (bad_header, "no safetensors file"),
    "archive.pth": (zip_without_tensors, "no torch file"),
    "notes.docx": (lambda path: path.write_text("weights"), "not a kind of file"),
    "trojan.pth": (lambda path: torch.save({"state_dict": state(), "hook": Trojan()}, path), "could run foreign code"),
    "trojan_inside.pt": (lambda path: torch.save(Trojan(), path), "could run foreign code"),
    "trojan_old.pth": (
        lambda path: torch.save(Trojan(), path, _use_new_zipfile_serialization=False),
        "could run foreign code",
    ),
    "module.pth": (lambda path: torch.save(build_model(tiny_classifier()), path), "could run foreign code"),
    "trojan.npz": (objects, "no archive of plain arrays"),
    "nothing.pth": (lambda path: torch.save({}, path), "holds no tensors"),
    "numbers.pth": (lambda path: torch.save({"epoch": 3, "loss": 0.5}, path), "holds no tensors"),
    "nan.safetensors": (lambda path: save_file(not_finite(float("nan")), path), "hold nan or infinity"),
    "infinity.pth": (lambda path: torch.save(not_finite(float("inf")), path), "hold nan or infinity"),
    "resnet.safetensors": (lambda path: save_file(other_network("resnet18"), path), "This is a ResNet"),
    "regnet.pth": (lambda path: torch.save(other_network("regnetx_002"), path), "whose tensors begin with stem.conv"),
    "larger.safetensors": (
        lambda path: save_file(other_network("tf_efficientnet_b0"), path),
        "this is an EfficientNet-B0; you asked for an EfficientNet of stages",
    ),
    "detector.safetensors": (lambda path: save_file(detector(), path), "this is an EfficientDet-D0"),
}


def _cut(path: Path, save) -> None:
    whole = path.with_name(f"whole{path.suffix}")
    save(state(), whole)
    truncated(path, whole)


def _savez(tensors, path):
    np.savez(path, **{name: tensor.numpy() for name, tensor in tensors.items()})


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("load", [load_weights, load_trained])
def test_a_wrong_file_gets_its_sentence(name, load, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make, sentence = WRONG[name]
    make(tmp_path / name)
    model = build_model(tiny_classifier())
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    with pytest.raises(Refusal) as refusal:
        load(model, tmp_path / name)
    assert sentence.lower() in str(refusal.value).lower()
    assert name in str(refusal.value)
    assert not (tmp_path / "opened").exists()
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())


def test_other_class_counts_are_refused_where_the_whole_model_is_wanted(tmp_path):
    save_file(other_classes(), tmp_path / "three.safetensors")
    model = build_model(tiny_classifier())
    with pytest.raises(Refusal, match="has 3 classes, and 10 were asked for"):
        load_trained(model, tmp_path / "three.safetensors")
    report = load_weights(model, tmp_path / "three.safetensors")
    assert [entry.name for entry in report.reinitialised] == ["classifier.weight", "classifier.bias"]
