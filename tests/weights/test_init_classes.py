"""Which rows of the predictor a new set of classes starts from."""

import dataclasses

import pytest
import torch
from safetensors.torch import save_file
from tiny import tiny_classifier, tiny_detector

import effdet_lab
from effdet_lab.classes import COCO_CATEGORIES, layout_of
from effdet_lab.errors import ConfigError, DataError
from effdet_lab.models.heads import CLASS_PRIOR_LOGIT
from effdet_lab.spec import with_classes
from effdet_lab.weights.classes import by_name
from effdet_lab.weights.header import header_of
from effdet_lab.weights.load import load_trained, load_weights
from effdet_lab.weights.save import save_weights

ANCHORS = 9
PREDICT = "class_net.predict.conv_pw"


def numbered_detector(num_classes: int, path):
    """Every row of the predictor says which anchor and class it speaks for."""
    model = effdet_lab.build_model(with_classes(tiny_detector(), tuple(map(str, range(num_classes))), ()))
    with torch.no_grad():
        rows = torch.arange(ANCHORS * num_classes).float()
        model.class_net.predict.conv_pw.weight.copy_(
            rows.view(-1, 1, 1, 1).expand_as(model.class_net.predict.conv_pw.weight)
        )
        model.class_net.predict.conv_pw.bias.copy_(rows)
    save_file(model.state_dict(), path)
    return path


def detector_of(*classes: str):
    return effdet_lab.build_model(with_classes(tiny_detector(), classes, tuple(range(len(classes)))))


@pytest.mark.parametrize("layout", [layout_of(COCO_CATEGORIES)[0], tuple(COCO_CATEGORIES.values())])
def test_rows_of_known_classes_are_copied_for_every_anchor(layout, tmp_path):
    """COCO's 80 classes in 90 outputs and in 80: the row is that of the name, whatever its number."""
    file = numbered_detector(len(layout), tmp_path / "coco.safetensors")
    classes = ("Traffic_Light", "unicorn", "toothbrush")
    model = detector_of(*classes)
    before = model.class_net.predict.conv_pw.weight.clone()
    report = load_weights(model, file, init_classes="by_name", classes=classes)
    bias_AK = model.class_net.predict.conv_pw.bias.view(ANCHORS, 3)
    for label, name in ((0, "traffic light"), (2, "toothbrush")):
        wanted = torch.arange(ANCHORS) * len(layout) + layout.index(name)
        assert bias_AK[:, label].tolist() == wanted.tolist()
    assert torch.allclose(bias_AK[:, 1], torch.tensor(CLASS_PRIOR_LOGIT))
    weight = model.class_net.predict.conv_pw.weight.view(ANCHORS, 3, -1)
    assert torch.equal(weight[:, 1], before.view(ANCHORS, 3, -1)[:, 1])
    assert {entry.name for entry in report.reinitialised} == {f"{PREDICT}.weight", f"{PREDICT}.bias"}
    assert report.copied_classes == ("Traffic_Light", "toothbrush")
    assert "Taken over by name: Traffic_Light, toothbrush." in str(report)


def test_ninety_outputs_become_the_eighty_classes(tmp_path):
    file = numbered_detector(90, tmp_path / "coco.safetensors")
    names = tuple(COCO_CATEGORIES.values())
    model = detector_of(*names)
    load_weights(model, file, init_classes="by_name", classes=names)
    ids = torch.tensor(list(COCO_CATEGORIES))
    expected = torch.arange(ANCHORS).unsqueeze(1) * 90 + ids - 1
    assert torch.equal(model.class_net.predict.conv_pw.bias.view(ANCHORS, 80), expected.float())


def test_another_number_of_classes_starts_only_the_predictor_anew_at_its_prior(tmp_path):
    file = numbered_detector(90, tmp_path / "coco.safetensors")
    model = detector_of("cat", "dog")
    report = load_weights(model, file)
    assert {entry.name for entry in report.reinitialised} == {f"{PREDICT}.weight", f"{PREDICT}.bias"}
    assert torch.allclose(model.class_net.predict.conv_pw.bias, torch.tensor(CLASS_PRIOR_LOGIT))


def test_new_classes_of_the_same_number_can_be_asked_for(tmp_path):
    file = numbered_detector(2, tmp_path / "two.safetensors")
    model = detector_of("cat", "dog")
    load_weights(model, file)
    assert model.class_net.predict.conv_pw.bias[3] == 3
    model = detector_of("cat", "dog")
    report = load_weights(model, file, init_classes="new")
    assert torch.allclose(model.class_net.predict.conv_pw.bias, torch.tensor(CLASS_PRIOR_LOGIT))
    assert len(report.reinitialised) == 2


def test_a_run_of_ours_tells_its_classes(tmp_path):
    spec = with_classes(tiny_classifier(), ("ant", "bee", "wasp"), (0, 1, 2))
    source = effdet_lab.build_model(spec)
    save_weights(tmp_path / "model.safetensors", source.state_dict(), header_of(spec))
    classes = ("wasp", "fly")
    model = effdet_lab.build_model(with_classes(tiny_classifier(), classes, (0, 1)))
    load_weights(model, tmp_path / "model.safetensors", init_classes="by_name", classes=classes)
    assert torch.equal(model.classifier.weight[0], source.classifier.weight[2])
    assert not model.classifier.weight[1].any()


def test_imagenets_classes_answer_to_names_and_synsets():
    from effdet_lab.weights.classes import _imagenet

    names = _imagenet()
    assert len(names) == 1000
    assert by_name(["n02085620", "goldfish", "Carassius auratus", "none"], names) == {0: 151, 1: 1, 2: 1}


def test_classes_nobody_named_cannot_be_matched(tmp_path):
    file = numbered_detector(7, tmp_path / "seven.safetensors")
    with pytest.raises(DataError, match="does not tell what its outputs are"):
        load_weights(detector_of("cat"), file, init_classes="by_name", classes=["cat"])
    with pytest.raises(ConfigError, match="have no names"):
        load_weights(detector_of("cat"), file, init_classes="by_name")
    with pytest.raises(ConfigError, match="init_classes=by_names: must be one of fit, by_name, new"):
        load_weights(detector_of("cat"), file, init_classes="by_names")


def test_trained_weights_of_another_number_of_classes_are_refused(tmp_path):
    file = numbered_detector(90, tmp_path / "coco.safetensors")
    with pytest.raises(DataError, match="has 90 classes, and 2 were asked for"):
        load_trained(detector_of("cat", "dog"), file)


def test_eighty_outputs_are_evaluated_as_eighty_classes(tmp_path):
    from effdet_lab.weights.adopt import as_weights_say

    file = numbered_detector(80, tmp_path / "eighty.safetensors")
    settings = ["model=efficientdet", "phi=-4", "data=coco", "data.root=.", "task=evaluate", f"checkpoint={file}"]
    spec = as_weights_say(effdet_lab.compose(*settings))
    assert spec.data.classes == tuple(COCO_CATEGORIES.values())
    assert spec.data.num_classes == 80
    typed = as_weights_say(effdet_lab.compose(*settings, "data.classes=[cat]"))
    assert typed.data.classes == ("cat",)


def test_a_prediction_needs_no_classes_typed(tmp_path):
    from effdet_lab.weights.adopt import as_weights_say

    file = numbered_detector(90, tmp_path / "coco.safetensors")
    spec = effdet_lab.compose("model=efficientdet", "phi=-4", "task=predict", f"checkpoint={file}", "input=x")
    assert as_weights_say(spec).data.classes[:2] == ("person", "bicycle")
    file = numbered_detector(3, tmp_path / "three.safetensors")
    spec = dataclasses.replace(spec, checkpoint=str(file))
    assert as_weights_say(spec).data.classes == ("0", "1", "2")
    settings = ["model=efficientdet", "phi=-4", "task=predict", f"checkpoint={file}", "input=x"]
    assert as_weights_say(effdet_lab.compose(*settings, "data.classes=[a,b,c]")).data.classes == ("a", "b", "c")
