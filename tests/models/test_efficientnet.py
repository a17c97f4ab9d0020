import math

import pytest
import torch
from published import build_efficientnet, randomise, relative_difference

from effdet_lab.models.efficientnet import EfficientNet
from effdet_lab.models.layers import DropPath
from effdet_lab.stages import StageSpec


@pytest.mark.parametrize(("name", "image_size"), [("b0", (96, 96)), ("b3", (97, 130)), ("lite0", (96, 131))])
def test_logits_and_maps_equal_timms_with_the_weights_loaded_by_key(name, image_size):
    timm = pytest.importorskip("timm")
    theirs = randomise(timm.create_model(f"tf_efficientnet_{name}")).eval()
    ours = build_efficientnet(name).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    pyramid = timm.create_model(f"tf_efficientnet_{name}", features_only=True).eval()
    pyramid.load_state_dict(theirs.state_dict(), strict=False)
    images_BCHW = torch.randn(2, 3, *image_size)
    with torch.no_grad():
        assert relative_difference(ours(images_BCHW), theirs(images_BCHW)) < 1e-5
        for map_BCHW, their_map_BCHW in zip(ours.features(images_BCHW), pyramid(images_BCHW), strict=True):
            assert relative_difference(map_BCHW, their_map_BCHW) < 1e-5


@pytest.mark.parametrize("name", [*(f"b{phi}" for phi in range(9)), *(f"lite{phi}" for phi in range(5))])
def test_every_network_has_timms_keys_in_timms_order(name):
    timm = pytest.importorskip("timm")
    with torch.device("meta"):
        theirs = timm.create_model(f"tf_efficientnet_{name}").state_dict()
        ours = build_efficientnet(name).state_dict()
    assert [(key, value.shape) for key, value in ours.items()] == [(key, value.shape) for key, value in theirs.items()]


@pytest.mark.parametrize(
    ("name", "channels"),
    # Source: timm's feature_info of tf_efficientnet_b0..b7.
    [
        ("b0", (16, 24, 40, 112, 320)),
        ("b2", (16, 24, 48, 120, 352)),
        ("b3", (24, 32, 48, 136, 384)),
        ("b7", (32, 48, 80, 224, 640)),
    ],
)
def test_maps_are_tapped_before_the_next_stride(name, channels):
    with torch.device("meta"):
        network = build_efficientnet(name, with_head=False)
        maps = network.eval().features(torch.empty(1, 3, 200, 328))
    assert network.channels == channels == tuple(map_BCHW.shape[1] for map_BCHW in maps)
    assert network.strides == (2, 4, 8, 16, 32)
    sizes = [tuple(map_BCHW.shape[2:]) for map_BCHW in maps]
    assert sizes == [(math.ceil(200 / stride), math.ceil(328 / stride)) for stride in network.strides]


def test_drop_path_grows_over_all_blocks_and_acts_on_the_residual_ones():
    with torch.device("meta"):
        network = build_efficientnet("b0", drop_path=0.2)
    blocks = [block for stage in network.blocks for block in stage]
    rates = {index: block.drop_path.rate for index, block in enumerate(blocks) if block.is_residual}
    assert len(blocks) == 16
    # Every stage's first block changes shape: 0, 1, 3, 5, 8, 11 and 15.
    assert sorted(rates) == [2, 4, 6, 7, 9, 10, 12, 13, 14]
    assert rates == pytest.approx({index: 0.2 * index / 16 for index in rates})
    assert len([module for module in network.modules() if isinstance(module, DropPath)]) == 9


def test_a_dropped_block_passes_its_input_on():
    network = build_efficientnet("b0", drop_path=0.2)
    block = network.blocks[1][1].train()
    block.drop_path.rate = 1 - 1e-9
    x_BCHW = torch.randn(2, 24, 8, 8)
    assert torch.equal(block(x_BCHW), x_BCHW)


def test_symmetric_padding_keeps_every_shape_and_changes_the_logits():
    same = build_efficientnet("b0").eval()
    symmetric = build_efficientnet("b0", padding="symmetric").eval()
    symmetric.load_state_dict(same.state_dict())
    images_BCHW = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert not torch.allclose(same(images_BCHW), symmetric(images_BCHW))
        shapes = [[map_BCHW.shape for map_BCHW in net.features(images_BCHW)] for net in (same, symmetric)]
    assert shapes[0] == shapes[1]


def test_a_lite_network_has_neither_gates_nor_unbounded_activations():
    lite = build_efficientnet("lite0")
    names = {type(module).__name__ for module in lite.modules()}
    assert "ReLU6" in names
    assert not names & {"SiLU", "SqueezeExcite"}


def test_the_numbers_that_torch_would_default_otherwise_are_tensorflows():
    norms = [module for module in build_efficientnet("b0").modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert {(module.eps, module.momentum) for module in norms} == {(1e-3, 0.01)}
    assert build_efficientnet("b0", dropout=0.5).dropout.p == 0.5


def test_blocks_without_expansion_take_residuals_too():
    """B1's second block: stage 1 has two from there on."""
    with torch.device("meta"):
        first_stage = build_efficientnet("b1").blocks[0]
    assert [block.is_residual for block in first_stage] == [False, True]


def test_other_strides_give_other_maps():
    stage = StageSpec(kernel_size=3, stride=2, expand_ratio=2, in_channels=8, out_channels=8, repeats=1, se_ratio=0.0)
    network = EfficientNet(stages=[stage, stage], stem_channels=8, head_channels=16, num_classes=3)
    assert network.strides == (4, 8)
    assert network(torch.randn(2, 3, 33, 40)).shape == (2, 3)
