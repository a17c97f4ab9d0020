"""The comparison itself: it must see what differs, and only that."""

import sys
from pathlib import Path

import pytest
import torch
from tiny import tiny_classifier

sys.path.append(str(Path(__file__).parents[1] / "weights"))
from references import effdet_detector, saved, timm_classifier, torchvision_classifier

import effdet_lab
from effdet_lab.errors import DataError, MachineError
from effdet_lab.parity.compare import agreement, difference
from effdet_lab.parity.references import reference_for
from effdet_lab.parity.verify import verify
from effdet_lab.records import Detections
from effdet_lab.weights.adopt import as_weights_say
from effdet_lab.weights.load import load_trained
from effdet_lab.weights.source import read


def prepared(file, *overrides):
    spec = as_weights_say(effdet_lab.compose(*overrides, "task=verify", f"checkpoint={file}"))
    model = effdet_lab.build_model(spec)
    found = read(file)
    load_trained(model, found)
    return spec, model.eval(), reference_for(spec, found, model)


@pytest.mark.parametrize(
    ("build", "name", "reference"),
    [
        (timm_classifier, "tf_efficientnet_b0", "timm tf_efficientnet_b0"),
        (timm_classifier, "efficientnet_b0", "timm efficientnet_b0"),
        (torchvision_classifier, "b0", "torchvision efficientnet_b0"),
    ],
)
def test_a_classifier_is_followed_stage_by_stage(build, name, reference, tmp_path):
    file = saved(build(name), tmp_path / f"{name}.safetensors")
    parity = verify(*prepared(file, "model=efficientnet", "phi=0"), torch.randn(1, 3, 64, 64))
    assert parity.reference == reference
    assert [row.stage for row in parity.stages] == ["stem", *(f"stage {number}" for number in range(1, 8)), "head"]
    assert parity.agrees
    assert all(row.agrees for row in parity.stages)


def test_a_detector_is_followed_to_its_detections(tmp_path):
    theirs = effdet_detector("efficientdet_d0", (128, 128))
    file = saved(theirs, tmp_path / "efficientdet_d0.safetensors")
    spec, model, reference = prepared(file, "model=efficientdet", "phi=0", "model.image_size=128")
    parity = verify(spec, model, reference, torch.randn(2, 3, 128, 128))
    assert parity.reference == "effdet efficientdet_d0"
    assert [row.stage for row in parity.outputs] == ["class logits", "box deltas"]
    assert parity.agrees
    assert parity.detections.ours == parity.detections.theirs == 200


def test_a_wrong_constant_is_found_where_it_enters(tmp_path):
    """The same weights under another padding: alike up to the first stride, and not from there."""
    file = saved(timm_classifier("tf_efficientnet_b0"), tmp_path / "tf_efficientnet_b0.safetensors")
    spec, model, reference = prepared(file, "model=efficientnet", "phi=0")
    model.blocks[3][0].conv_dw.padding_rule = "symmetric"
    parity = verify(spec, model, reference, torch.randn(1, 3, 64, 64))
    assert [row.agrees for row in parity.stages] == [True] * 4 + [False] * 5
    assert not parity.agrees


def test_a_network_nobody_else_builds_has_no_reference(tmp_path):
    model = effdet_lab.build_model(tiny_classifier())
    file = saved(model, tmp_path / "own.safetensors")
    with pytest.raises(DataError, match="only the published EfficientNets and EfficientDets have a reference"):
        prepared(file, "model=efficientnet", "phi=-6")


def test_without_the_reference_the_extra_is_named(tmp_path, monkeypatch):
    file = saved(effdet_detector("tf_efficientdet_d0", (128, 128)), tmp_path / "d0.safetensors")
    monkeypatch.setitem(sys.modules, "effdet", None)
    with pytest.raises(MachineError, match=r"pip install 'effdet-lab\[verify\]'"):
        prepared(file, "model=efficientdet", "phi=0", "model.image_size=128")


def test_differences_are_relative_to_the_reference():
    row = difference("logits", torch.tensor([1.0, 4.0]), torch.tensor([1.0, -8.0]))
    assert (row.largest, row.relative, row.agrees) == (12.0, 1.5, False)


def seen(boxes, scores, labels, images=None):
    count = len(scores)
    return Detections(
        torch.tensor(images or [0] * count), torch.tensor(boxes).float(), torch.tensor(scores), torch.tensor(labels)
    )


def test_a_box_without_area_is_still_the_same_box():
    line = seen([[0.0, 5.0, 0.0, 9.0]], [0.9], [1])
    assert agreement(line, line).agrees
    assert not agreement(line, seen([[0.0, 5.0, 0.0, 9.5]], [0.9], [1])).agrees


BOX, OTHER = [0.0, 0.0, 10.0, 10.0], [50.0, 50.0, 60.0, 70.0]


@pytest.mark.parametrize(
    ("theirs", "agrees"),
    [
        (seen([OTHER, BOX], [0.5, 0.9], [2, 1]), True),
        (seen([BOX, OTHER], [0.9, 0.5002], [1, 2]), False),
        (seen([BOX, OTHER], [0.9, 0.5], [1, 1]), False),
        (seen([BOX, [50.0, 50.0, 60.0, 70.1]], [0.9, 0.5], [1, 2]), False),
        (seen([BOX], [0.9], [1]), False),
        (seen([BOX, OTHER], [0.9, 0.5], [1, 2], [0, 1]), False),
    ],
)
def test_detections_agree_in_place_score_and_class_of_the_same_picture(theirs, agrees):
    ours = seen([BOX, OTHER], [0.9, 0.5], [1, 2])
    assert agreement(ours, theirs).agrees == agrees
    assert agreement(theirs, ours).agrees == agrees
