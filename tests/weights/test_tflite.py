"""TF-Lite files of EfficientNet-Lite; fixtures/make_tflite.py made the small ones in TensorFlow."""

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import effdet_lab
from effdet_lab.data.transforms import centre_view
from effdet_lab.errors import DataError, MachineError
from effdet_lab.models.efficientnet import EfficientNet
from effdet_lab.spec import with_classes
from effdet_lab.stages import StageSpec
from effdet_lab.weights.load import load_weights
from effdet_lab.weights.source import read

pytest.importorskip("tflite")
FIXTURES = Path(__file__).parent / "fixtures"
PIXELS = torch.from_numpy((np.arange(32 * 32 * 3) * 37) % 256).view(1, 32, 32, 3).permute(0, 3, 1, 2).float()
# What TensorFlow answers to these pixels.
PROBABILITIES = [0.12037408351898193, 0.5767130255699158, 0.3029128909111023]


def tiny_network() -> EfficientNet:
    rows = [(3, 1, 1, 8, 4, 1), (5, 2, 6, 4, 8, 2), (3, 2, 6, 8, 12, 1)]
    names = ("kernel_size", "stride", "expand_ratio", "in_channels", "out_channels", "repeats")
    stages = [StageSpec(**dict(zip(names, row, strict=True)), se_ratio=0.0) for row in rows]
    return EfficientNet(stages=stages, stem_channels=8, head_channels=16, num_classes=3, activation_name="relu6").eval()


@pytest.mark.parametrize(("kind", "tolerance"), [("float", 1e-6), ("half", 1e-3), ("int8", 2e-2), ("int8_plain", 2e-2)])
def test_every_kind_of_file_answers_like_tensorflow(kind, tolerance):
    model = tiny_network()
    report = load_weights(model, FIXTURES / f"{kind}.tflite")
    assert (report.reinitialised, report.dropped) == ((), ())
    assert "folded into its convolutions" in str(report)
    with torch.no_grad():
        found = model((PIXELS - 127) / 128).softmax(1)
    assert found.flatten().tolist() == pytest.approx(PROBABILITIES, abs=tolerance)


def test_a_division_that_was_folded_into_the_stem_is_taken_out_again(monkeypatch):
    """Some files read pixel - 127 and hold a stem that was divided by 128."""
    plain = read(FIXTURES / "float.tflite").tensors
    monkeypatch.setattr("effdet_lab.weights.tflite.Graph.affine_of_pixels", lambda graph: (1.0, -127.0))
    folded = read(FIXTURES / "float.tflite").tensors
    torch.testing.assert_close(folded["conv_stem.weight"], plain["conv_stem.weight"] * 128)
    monkeypatch.setattr("effdet_lab.weights.tflite.Graph.affine_of_pixels", lambda graph: (1.0, 0.0))
    with pytest.raises(DataError, match=r"reads 1 \* pixel \+ 0, and an EfficientNet-Lite is centred at 127"):
        read(FIXTURES / "float.tflite")


def test_a_truncated_file_and_another_networks_are_refused(tmp_path):
    whole = (FIXTURES / "float.tflite").read_bytes()
    (tmp_path / "half.tflite").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="not all of it"):
        read(tmp_path / "half.tflite")
    (tmp_path / "text.tflite").write_text("404: Not Found\n")
    with pytest.raises(DataError, match="is no TF-Lite file"):
        read(tmp_path / "text.tflite")
    spec = effdet_lab.compose("model=efficientnet", "backbone=efficientnet_lite", "phi=0")
    with pytest.raises(DataError, match="you asked for an EfficientNet-Lite0"):
        load_weights(effdet_lab.build_model(spec), FIXTURES / "float.tflite")


def test_without_its_reader_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "tflite", None)
    with pytest.raises(MachineError, match=r"pip install 'effdet-lab\[tflite\]'"):
        read(FIXTURES / "float.tflite")


def dogs_network(file):
    spec = effdet_lab.compose("model=efficientnet", "backbone=efficientnet_lite", "phi=0")
    model = effdet_lab.build_model(with_classes(spec, tuple(map(str, range(120))), tuple(range(120)))).eval()
    return model, load_weights(model, file)


@pytest.mark.slow
def test_the_real_file_sees_the_same_dogs_as_its_conversion(real_data):
    """And as TF-Lite itself saw them, whose answers lie beside the file."""
    folder = real_data / "weights_efficientnet_lite0"
    direct, report = dogs_network(folder / "model.tflite")
    converted, _ = dogs_network(folder / "tf_efficientnet_lite0_dogs120.safetensors")
    assert report.looks == "an EfficientNet-Lite0"
    assert (report.reinitialised, report.dropped) == ((), ())
    labels = (folder / "labels_with_synset.txt").read_text().split()
    with open(folder / "reference_top5.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 120
    like_converted = like_tflite = 0
    for row in rows:
        with Image.open(real_data / "cls_imagenet_dogs120" / row["image"]) as image:
            pixels_CHW = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
        view_CHW = centre_view(pixels_CHW, (224, 224), 1.0, "bilinear")
        x_BCHW = (view_CHW.float()[None] - 127) / 128
        with torch.no_grad():
            best = int(direct(x_BCHW).argmax())
            like_converted += best == int(converted(x_BCHW).argmax())
        like_tflite += labels[best] == row["tflite_top5"].split(":")[0]
    assert like_converted >= 119
    assert like_tflite >= 119


def test_the_real_file_leaves_nothing_but_the_classifiers_head_as_a_backbone(real_data):
    spec = effdet_lab.compose("model=efficientdet", "backbone=efficientnet_lite", "phi=0", "data=digit_scenes")
    report = load_weights(effdet_lab.build_model(spec), real_data / "weights_efficientnet_lite0" / "model.tflite")
    assert {entry.name.split(".")[0] for entry in report.dropped} == {"conv_head", "bn2", "classifier"}
    assert report.parts()["backbone"][1:] == (0, 0)
