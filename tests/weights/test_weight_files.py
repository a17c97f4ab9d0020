import argparse
import os

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from effdet_lab.errors import DataError
from effdet_lab.weights.files import read_file

TENSORS = {"conv.weight": torch.arange(4.0), "conv.bias": torch.zeros(2)}


class Trojan:
    """Opening it would run a command."""

    def __reduce__(self):
        return os.system, ("touch opened",)


@pytest.mark.parametrize(
    "content",
    [
        TENSORS,
        {"state_dict": TENSORS},
        {"model_state": TENSORS, "epoch": 3},
        {"model": {f"module.{name}": tensor for name, tensor in TENSORS.items()}},
        {"state_dict": {f"model.{name}": tensor for name, tensor in TENSORS.items()}, "hyper_parameters": {"a": 1}},
        {"state_dict": {f"module.model.{name}": tensor for name, tensor in TENSORS.items()}},
        {"ema": {"state_dict": TENSORS}},
    ],
)
def test_wrappings_of_trainers_come_off(tmp_path, content):
    torch.save(content, tmp_path / "weights.pth")
    read = read_file(tmp_path / "weights.pth").tensors
    assert set(read) == set(TENSORS)
    torch.testing.assert_close(read["conv.weight"], TENSORS["conv.weight"])


def test_averaged_weights_come_before_others(tmp_path):
    average = {name: tensor + 1 for name, tensor in TENSORS.items()}
    torch.save({"state_dict": TENSORS, "state_dict_ema": average}, tmp_path / "weights.pth.tar")
    torch.testing.assert_close(read_file(tmp_path / "weights.pth.tar").tensors, average)


def test_a_pickle_with_code_is_not_opened(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, content in {"trojan": Trojan(), "settings": argparse.Namespace(lr=1), "module": nn.Linear(1, 1)}.items():
        torch.save({"state_dict": TENSORS, "extra": content}, f"{name}.pth")
        with pytest.raises(DataError, match=r"foreign code.*safetensors.torch.save_file"):
            read_file(tmp_path / f"{name}.pth")
    assert not (tmp_path / "opened").exists()


def damaged_files(folder):
    torch.save(TENSORS, folder / "whole.pth")
    save_file(TENSORS, folder / "whole.safetensors")
    for suffix in ("pth", "safetensors"):
        whole = (folder / f"whole.{suffix}").read_bytes()
        (folder / f"truncated.{suffix}").write_bytes(whole[: len(whole) // 2])
        (folder / f"text.{suffix}").write_text("404: Not Found\n")
        (folder / f"empty.{suffix}").touch()
    torch.save({}, folder / "nothing.pth")
    torch.save([1, 2], folder / "list.pth")
    save_file({**TENSORS, "a.weight": torch.tensor([1.0, float("nan")])}, folder / "nan.safetensors")
    (folder / "notes.txt").write_text("weights")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("truncated.pth", "not all of it"),
        ("truncated.safetensors", "not all of it"),
        ("text.pth", "no torch file"),
        ("text.safetensors", "no safetensors file"),
        ("empty.pth", "is empty"),
        ("empty.safetensors", "is empty"),
        ("nothing.pth", "holds no tensors"),
        ("list.pth", "holds no tensors"),
        ("nan.safetensors", "1 of 3 tensors hold nan or infinity, a.weight first"),
        ("notes.txt", "not a kind of file"),
        ("absent.pth", "no such file"),
    ],
)
def test_files_that_are_no_weights_are_refused_with_a_sentence(tmp_path, name, sentence):
    damaged_files(tmp_path)
    with pytest.raises(DataError, match=sentence) as refusal:
        read_file(tmp_path / name)
    assert name in str(refusal.value)
