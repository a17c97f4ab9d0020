import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from published import DETECTORS, build_efficientdet, randomise, relative_difference

from effdet_lab.topology import feature_sizes


def build_effdet(name: str, image_size: tuple[int, int]):
    """The reference, with the random weights its authors would start from."""
    effdet = pytest.importorskip("effdet")
    config = effdet.get_efficientdet_config(f"tf_efficientdet_{name}")
    config.image_size = image_size
    config.backbone_args = {"drop_path_rate": 0.0}
    return effdet.EfficientDet(config, pretrained_backbone=False)


def flatten(outputs: list[torch.Tensor], num_outputs: int) -> torch.Tensor:
    return torch.cat([out.permute(0, 2, 3, 1).reshape(len(out), -1, num_outputs) for out in outputs], dim=1)


@pytest.mark.parametrize(
    ("name", "image_size"),
    [
        ("d0", (128, 128)),
        ("d0", (200, 328)),
        pytest.param("d3", (320, 320), marks=pytest.mark.slow),
        ("lite0", (97, 130)),
        pytest.param("d6", (128, 128), marks=pytest.mark.slow),
        pytest.param("d7x", (256, 130), marks=pytest.mark.slow),
    ],
)
def test_detections_equal_effdets_with_the_weights_loaded_by_key(name, image_size):
    theirs = randomise(build_effdet(name, image_size)).eval()
    ours = build_efficientdet(name).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    images_BCHW = torch.randn(2, 3, *image_size)
    with torch.no_grad():
        raw = ours(images_BCHW)
        their_classes, their_boxes = theirs(images_BCHW)
    assert relative_difference(raw.class_logits_BAK, flatten(their_classes, 90)) < 1e-5
    assert relative_difference(raw.box_deltas_BA4, flatten(their_boxes, 4)) < 1e-5


@pytest.mark.parametrize("name", DETECTORS)
def test_every_detector_has_effdets_keys(name):
    with torch.device("meta"):
        theirs = build_effdet(name, (256, 256)).state_dict()
        ours = build_efficientdet(name).state_dict()
    assert {key: value.shape for key, value in ours.items()} == {key: value.shape for key, value in theirs.items()}


def test_one_training_step_of_d0_moves_every_weight_like_effdets():
    theirs = randomise(build_effdet("d0", (96, 96))).double().train()
    ours = build_efficientdet("d0").double().train()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    images_BCHW = torch.randn(2, 3, 96, 96, dtype=torch.float64)
    raw = ours(images_BCHW)
    (raw.class_logits_BAK.square().mean() + raw.box_deltas_BA4.square().mean()).backward()
    their_classes, their_boxes = theirs(images_BCHW)
    (flatten(their_classes, 90).square().mean() + flatten(their_boxes, 4).square().mean()).backward()
    their_gradients = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    largest = max(gradient.abs().max() for gradient in their_gradients.values())
    for name, parameter in ours.named_parameters():
        scale = their_gradients[name].abs().max().clamp(min=1e-9 * largest)
        assert (parameter.grad - their_gradients[name]).abs().max() <= 1e-4 * scale, name
    # timm leaves its own momentum to the backbone's norms.
    statistics = {name: value for name, value in theirs.named_buffers() if not name.startswith("backbone")}
    for name, value in ours.named_buffers():
        if name in statistics:
            torch.testing.assert_close(value, statistics[name])


@pytest.mark.parametrize(("height", "width"), [(320, 320), (200, 328), (65, 1)])
def test_any_picture_gets_nine_anchors_a_cell(height, width):
    with torch.device("meta"):
        raw = build_efficientdet("lite0", num_classes=3).eval()(torch.empty(1, 3, height, width))
    anchors = 9 * sum(math.prod(size) for size in feature_sizes(height, width, 3, 7))
    assert raw.class_logits_BAK.shape == (1, anchors, 3)
    assert raw.box_deltas_BA4.shape == (1, anchors, 4)


def test_the_published_sizes_have_the_published_anchors():
    """Source: anchors of effdet 0.4.1, nine a cell."""
    sizes = {512: 49_104, 640: 76_725, 768: 110_484, 896: 150_381, 1024: 196_416, 1280: 306_900, 1536: 441_936}
    found = {size: 9 * sum(math.prod(extents) for extents in feature_sizes(size, size, 3, 7)) for size in sizes}
    assert found == sizes
    assert 9 * sum(math.prod(extents) for extents in feature_sizes(1536, 1536, 3, 8)) == 442_260


@given(height=st.integers(1, 2000), width=st.integers(1, 2000))
def test_levels_halve_upwards(height, width):
    levels = feature_sizes(height, width, 0, 8)
    assert levels[0] == (height, width)
    for (height, width), halved in pairwise(levels):
        assert halved == ((height - 1) // 2 + 1, (width - 1) // 2 + 1)


def test_a_new_detector_finds_one_percent_of_everything():
    model = build_efficientdet("d0").eval()
    with torch.no_grad():
        scores = model(torch.randn(1, 3, 64, 64)).class_logits_BAK.sigmoid()
    assert 0.003 < scores.median().item() < 0.03


@pytest.mark.slow
def test_a_detector_can_be_exported_and_speaks_the_same():
    model = build_efficientdet("lite0", num_classes=3).eval()
    images_BCHW = torch.randn(1, 3, 96, 130)
    exported = torch.export.export(model, (images_BCHW,)).module()
    with torch.no_grad():
        expected, found = model(images_BCHW), exported(images_BCHW)
    torch.testing.assert_close(found[0], expected[0])
    torch.testing.assert_close(found[1], expected[1])
