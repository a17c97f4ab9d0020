import io

import pytest
import timm
import torch
from rich.console import Console
from safetensors.torch import save_file
from tiny import tiny_classifier, tiny_detector

import effdet_lab
from effdet_lab.errors import DataError
from effdet_lab.models.build import build_model
from effdet_lab.weights import published
from effdet_lab.weights.load import load_trained, load_weights

LITE0 = "weights_efficientnet_lite0/tf_efficientnet_lite0_dogs120.safetensors"
HEAD = {"conv_head", "bn2", "classifier"}


def filled(model, value: float):
    """A model whose every number is known."""
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.fill_(value)
    return model


def test_real_lite0_weights_fill_a_classifier_whole(real_data):
    spec = effdet_lab.compose("model=efficientnet", "backbone=efficientnet_lite", "phi=0", "data=digits")
    spec = tiny_classes(spec, 120)
    report = load_weights(build_model(spec), real_data / LITE0)
    assert (len(report.matched), report.reinitialised, report.dropped) == (247, (), ())
    assert "247 tensors loaded, 0 start anew, 0 of the file left over" in str(report)


def test_real_lite0_weights_fill_a_detectors_backbone(real_data):
    spec = effdet_lab.compose("model=efficientdet", "backbone=efficientnet_lite", "phi=0", "data=digit_scenes")
    model = build_model(spec)
    head = model.class_net.predict.conv_pw.weight.clone()
    report = load_weights(model, real_data / LITE0)
    assert {entry.name.split(".")[0] for entry in report.dropped} == HEAD
    assert {entry.name.split(".")[0] for entry in report.reinitialised} == {"fpn", "class_net", "box_net"}
    assert report.parts()["backbone"] == (len(report.matched), 0, 0)
    torch.testing.assert_close(model.class_net.predict.conv_pw.weight, head)


def test_the_outputs_are_timms_with_the_same_file(real_data):
    spec = tiny_classes(
        effdet_lab.compose("model=efficientnet", "backbone=efficientnet_lite", "phi=0", "data=digits"), 120
    )
    model = build_model(spec).eval()
    load_weights(model, real_data / LITE0)
    theirs = timm.create_model("tf_efficientnet_lite0", num_classes=120).eval()
    timm.models.load_checkpoint(theirs, str(real_data / LITE0), strict=False)
    images_BCHW = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(model(images_BCHW), theirs(images_BCHW), atol=1e-4, rtol=1e-4)


def test_another_number_of_classes_starts_the_head_anew_and_silent(tmp_path):
    ten, three = (build_model(tiny_classes(tiny_classifier(), count)) for count in (10, 3))
    save_file(filled(ten, 0.5).state_dict(), tmp_path / "ten.safetensors")
    report = load_weights(three, tmp_path / "ten.safetensors")
    assert [(entry.name, entry.shape[0], entry.found[0]) for entry in report.reinitialised] == [
        ("classifier.weight", 3, 10),
        ("classifier.bias", 3, 10),
    ]
    assert not three.classifier.weight.any()
    assert (three.conv_stem.weight == 0.5).all()
    assert "classifier.bias is 3 in the model and 10 in the file" in str(report)


def test_a_detectors_file_fills_a_classifiers_backbone(tmp_path):
    detector = filled(build_model(tiny_detector("backbone.phi=-6")), 0.5)
    classifier = build_model(tiny_classifier())
    torch.save({"state_dict": detector.state_dict()}, tmp_path / "detector.pth")
    report = load_weights(classifier, tmp_path / "detector.pth")
    assert (classifier.blocks[0][0].conv_dw.weight == 0.5).all()
    assert {entry.name.split(".")[0] for entry in report.reinitialised} == HEAD
    assert {entry.name.split(".")[0] for entry in report.dropped} == {"fpn", "class_net", "box_net"}


def test_a_run_folder_gives_its_best_averaged_weights(tmp_path):
    model = build_model(tiny_classifier())
    (tmp_path / "checkpoints").mkdir()
    for name, value in (("best", 0.5), ("last", 0.25)):
        states = (
            {f"model.{key}": tensor.clone() for key, tensor in filled(model, number).state_dict().items()}
            for number in (value, 9.0)
        )
        content = dict(zip(("state_dict", "current_model_state"), states, strict=True))
        torch.save(content, tmp_path / "checkpoints" / f"{name}.ckpt")
    load_trained(model, tmp_path)
    assert (model.conv_stem.weight == 0.5).all()
    (tmp_path / "checkpoints" / "best.ckpt").unlink()
    load_trained(model, tmp_path)
    assert (model.conv_stem.weight == 0.25).all()
    (tmp_path / "checkpoints" / "last.ckpt").unlink()
    with pytest.raises(DataError, match=r"none of checkpoints/best.ckpt, checkpoints/last.ckpt"):
        load_weights(model, tmp_path)


@pytest.mark.parametrize(
    ("architecture", "looks"),
    [
        ("resnet18", "a ResNet"),
        ("tf_efficientnet_lite4", "an EfficientNet-Lite4; you asked for an EfficientNet of stages"),
        ("regnetx_002", "whose tensors begin with"),
    ],
)
def test_weights_of_another_network_are_refused_by_their_looks(tmp_path, architecture, looks):
    save_file(timm.create_model(architecture, num_classes=2).state_dict(), tmp_path / "other.safetensors")
    model = build_model(tiny_classifier())
    before = model.conv_stem.weight.clone()
    with pytest.raises(DataError, match=looks):
        load_weights(model, tmp_path / "other.safetensors")
    torch.testing.assert_close(model.conv_stem.weight, before)


def test_a_trained_model_is_loaded_whole_or_not_at_all(tmp_path):
    model = build_model(tiny_classifier())
    content = dict(model.state_dict())
    del content["classifier.bias"]
    save_file(content, tmp_path / "most.safetensors")
    with pytest.raises(DataError, match=r"1 of the model's \d+ tensors .*classifier.bias first"):
        load_trained(model, tmp_path / "most.safetensors")


def test_published_weights_come_from_timms_cache(tmp_path, monkeypatch):
    asked = []

    def download(repository, file, revision, local_files_only):
        asked.append((repository, file, local_files_only))
        return str(tmp_path / file)

    theirs = timm.create_model("resnet18", num_classes=10)
    save_file(theirs.state_dict(), tmp_path / "model.safetensors")
    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    model = build_model(tiny_classifier("backbone=resnet18", "phi=0"))
    report = load_weights(model, "timm:resnet18.a1_in1k")
    assert asked == [("timm/resnet18.a1_in1k", "model.safetensors", True)]
    assert not report.reinitialised


def test_without_network_a_published_name_offers_two_ways_out(tmp_path, monkeypatch):
    monkeypatch.setattr(published, "_network", lambda: False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(DataError, match=r"of timm/tf_efficientnet_b0.ns_jft_in1k .*init=FILE.*init=null"):
        load_weights(build_model(tiny_classifier()), "timm:tf_efficientnet_b0")


@pytest.mark.parametrize("name", ["tf_eficientnet_b0", "tf_efficientnet_b0.nothing"])
def test_an_unknown_published_name_gets_the_nearest(name):
    with pytest.raises(DataError, match="Did you mean tf_efficientnet"):
        load_weights(torch.nn.Linear(1, 1), f"timm:{name}")


def test_a_report_is_a_table_of_parts(tmp_path):
    model = build_model(tiny_classifier())
    save_file(model.state_dict(), tmp_path / "all.safetensors")
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(load_weights(model, tmp_path / "all.safetensors"))
    text = console.export_text()
    assert "start anew" in text
    assert "conv_stem" in text


def tiny_classes(spec, count: int):
    from effdet_lab.spec import with_classes

    return with_classes(spec, tuple(map(str, range(count))), tuple(range(count)))
