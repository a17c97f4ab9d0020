"""Names whose code is not installed, and the ways in which names come wrapped, joined and without their biases."""

import numpy as np
import pytest
import torch
from foreign_names import tensorflow_names, zylo_names
from references import build_efficientdet, build_efficientnet, effdet_detector, randomise, saved, timm_classifier
from safetensors.torch import save_file

from effdet_lab.weights.grammars import recognise
from effdet_lab.weights.load import load_weights
from effdet_lab.weights.tensorflow import torch_layout

SUFFIX = "/ExponentialMovingAverage"


def same_numbers(ours, theirs):
    tensors = ours.state_dict()
    for name, tensor in theirs.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(tensors[name], tensor), name


def slow_but(name, *names):
    return [name, *(pytest.param(other, marks=pytest.mark.slow) for other in names)]


@pytest.mark.parametrize("member", slow_but("d0", "d3", "d6", "d7x"))
def test_zylos_names_are_ours(member, tmp_path):
    theirs = randomise(build_efficientdet(member))
    tensors = zylo_names(theirs, max_level=8 if member == "d7x" else 7)
    assert member != "d0" or len(tensors) == 784  # source: its own count of entries
    save_file(tensors, tmp_path / f"efficientdet-{member}.safetensors")
    ours = build_efficientdet(member)
    report = load_weights(ours, tmp_path / f"efficientdet-{member}.safetensors")
    assert report.grammar == "zylo"
    assert not report.reinitialised
    # From D6 on its fusion weights are there and unused.
    unused = {"d6": 64, "d7x": 80}.get(member, 0)
    assert len(report.dropped) == unused
    assert all("_w" in entry.name for entry in report.dropped)
    assert "use bifpn" not in str(report)
    same_numbers(ours, theirs)


@pytest.mark.parametrize("member", slow_but("b0", "b1", "lite2"))
@pytest.mark.parametrize("averaged", [False, True])
def test_tensorflows_classifiers_are_ours(member, averaged, tmp_path):
    theirs = randomise(build_efficientnet(member))
    arrays = {name: tensor.numpy() for name, tensor in tensorflow_names(theirs, member).items()}
    if averaged:
        wrong = {name: array + 1 for name, array in arrays.items()}
        slots = {f"{name}/RMSProp_1": array for name, array in arrays.items()}
        arrays = {f"{name}{SUFFIX}": array for name, array in arrays.items()} | wrong | slots
        arrays["global_step"] = np.array(7)
    np.savez(tmp_path / "model.npz", **arrays)
    ours = build_efficientnet(member)
    report = load_weights(ours, tmp_path / "model.npz")
    assert (report.reinitialised, report.dropped) == ((), ())
    assert "same padding, batch-norm constant 0.001" in report.conventions
    same_numbers(ours, theirs)


@pytest.mark.parametrize("member", slow_but("d0", "d6", "d7x", "lite0"))
def test_tensorflows_detectors_are_ours(member, tmp_path):
    theirs = randomise(build_efficientdet(member))
    backbone = {"d6": "b6", "d7x": "b7"}.get(member, member.replace("d", "b"))
    arrays = tensorflow_names(theirs, backbone, max_level=8 if member == "d7x" else 7)
    np.savez(tmp_path / "model.npz", **{name: tensor.numpy() for name, tensor in arrays.items()})
    ours = build_efficientdet(member)
    report = load_weights(ours, tmp_path / "model.npz")
    assert report.grammar == "tensorflow"
    assert (report.reinitialised, report.dropped) == ((), ())
    same_numbers(ours, theirs)


def test_a_nodes_fusion_weights_become_one_vector_in_their_order():
    names = {"WSM_1": 2.0, "WSM": 1.0, "WSM_2": 3.0}
    arrays = {f"fpn_cells/cell_0/fnode4/{name}": np.float32(value) for name, value in names.items()}
    assert torch_layout(arrays)["fpn_cells/cell_0/fnode4/WSM"].tolist() == [1.0, 2.0, 3.0]


def test_kernels_turn_from_tensorflows_layout_to_torchs():
    """A depthwise and a dense layer computed by hand in TensorFlow's layout."""
    depthwise = np.arange(2 * 3 * 2, dtype=np.float32).reshape(2, 3, 2, 1)  # height, width, channels, 1
    dense = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], dtype=np.float32)  # in, out
    tensors = torch_layout({"a/depthwise_kernel": depthwise, "head/dense/kernel": dense})
    x_BCHW = torch.arange(12.0).view(1, 2, 2, 3)
    by_hand = [(x_BCHW[0, channel].numpy() * depthwise[:, :, channel, 0]).sum() for channel in range(2)]
    found = torch.nn.functional.conv2d(x_BCHW, tensors["a/depthwise_kernel"], groups=2)
    assert found.flatten().tolist() == by_hand
    assert (tensors["head/dense/kernel"] @ torch.ones(3)).tolist() == [9.0, 12.0]


def test_heads_that_count_their_norms_by_level_first(tmp_path):
    theirs = effdet_detector("tf_efficientdet_d0", (128, 128), head_bn_level_first=True)
    assert "class_net.bn_rep.4.2.weight" in theirs.state_dict()
    ours = build_efficientdet("d0")
    report = load_weights(ours, saved(theirs, tmp_path / "level_first.safetensors"))
    assert (report.reinitialised, report.dropped) == ((), ())
    level, repeat = 4, 2
    assert torch.equal(ours.class_net.bn_rep[repeat][level].bn.weight, theirs.class_net.bn_rep[level][repeat].weight)


@pytest.mark.parametrize("redundant", [True, False])
def test_a_bias_before_a_norm_may_come_and_go(redundant, tmp_path):
    """Evaluation does not change: an absent one is zero, a surplus one moves into the norm."""
    theirs = effdet_detector("tf_efficientdet_d0", (128, 128), redundant_bias=redundant)
    ours = build_efficientdet("d0", redundant_bias=not redundant)
    report = load_weights(ours, saved(theirs, tmp_path / "tf_efficientdet_d0.safetensors"))
    assert (report.reinitialised, report.dropped) == ((), ())
    assert ("means took them up" if redundant else "zeros say the same") in str(report)
    from references import OUTPUTS, farthest_output

    assert farthest_output(ours, theirs, torch.randn(1, 3, 128, 128)) <= OUTPUTS


@pytest.mark.parametrize("architecture", ["tf_efficientnetv2_b0", "resnet18", "convnext_atto", "mobilenetv2_035"])
def test_timms_networks_fill_timms_pyramids(architecture, tmp_path):
    """A classifier's names are not always those of the same network's pyramid: convnext's are joined."""
    from effdet_lab.models.comparators import TimmBackbone, timm_classifier

    theirs = timm_classifier(architecture, 10)
    backbone = TimmBackbone(architecture)
    detector = torch.nn.Module()
    detector.backbone = backbone
    report = load_weights(detector, saved(theirs, tmp_path / f"{architecture}.safetensors"))
    assert not report.reinitialised
    classifier = timm_classifier(architecture, 10)
    assert not load_weights(classifier, tmp_path / f"{architecture}.safetensors").reinitialised


def test_grammars_are_told_apart():
    """Not one of them claims another's names."""
    models = pytest.importorskip("torchvision.models")
    with torch.device("meta"):
        shapes = {
            "timm": build_efficientnet("b0").state_dict(),
            "effdet": build_efficientdet("d0").state_dict(),
            "torchvision": models.efficientnet_b0().state_dict(),
            None: models.efficientnet_v2_s().state_dict(),
        }
    for name, state in shapes.items():
        grammar = recognise({key: tuple(tensor.shape) for key, tensor in state.items()})
        assert (grammar.name if grammar else None) == name


def test_wrapped_names_and_averages_are_unwrapped(tmp_path):
    """As effdet's trainer saves them: a bench around the network, under DDP, plain and averaged."""
    theirs = timm_classifier("tf_efficientnet_b0")
    plain = {f"module.model.{name}": tensor for name, tensor in theirs.state_dict().items()}
    average = {name: tensor + 1 for name, tensor in plain.items()} | {"module.anchors.boxes": torch.zeros(4)}
    torch.save({"state_dict": plain, "state_dict_ema": average, "epoch": 3}, tmp_path / "checkpoint.pth.tar")
    ours = build_efficientnet("b0")
    report = load_weights(ours, tmp_path / "checkpoint.pth.tar")
    assert not report.reinitialised
    assert torch.equal(ours.conv_stem.weight, theirs.conv_stem.weight + 1)
