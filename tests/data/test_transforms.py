"""Boxes move with their pixels, whatever is done to the picture."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from effdet_lab.data.transforms import (
    augment_detection,
    centre_view,
    fill_of,
    fit,
    flip,
    letterbox,
    letterbox_size,
    paste,
    training_view,
    zoom_crop,
)
from effdet_lab.spec import ClassificationAugment, DetectionAugment

extents = st.integers(8, 200)
sizes = st.tuples(extents, extents)
MEAN = (0.485, 0.456, 0.406)
FILL = fill_of(MEAN)
NONE = DetectionAugment(flip=0.0, scale=(1.0, 1.0), colour=0.0)


def blank(size):
    return torch.zeros((3, *size), dtype=torch.uint8)


def marked(size, box):
    """A black picture whose box is white."""
    image = blank(size)
    x1, y1, x2, y2 = box
    image[:, y1:y2, x1:x2] = 255
    return image


def white(image_CHW):
    """The box of the pixels that are more than half white."""
    y, x = torch.nonzero(image_CHW.float().mean(0) > 127, as_tuple=True)
    return torch.tensor([x.min(), y.min(), x.max() + 1, y.max() + 1]).float()


@settings(max_examples=50, deadline=None)
@given(file_size=sizes, image_size=sizes, box=st.tuples(*[st.floats(0, 1)] * 4))
def test_a_letterboxed_box_comes_back_to_file_pixels(file_size, image_size, box):
    height, width = file_size
    (x1, x2), (y1, y2) = sorted((box[0] * width, box[2] * width)), sorted((box[1] * height, box[3] * height))
    boxes_file = torch.tensor([[x1, y1, x2, y2]])
    fitted = fit(blank(file_size), image_size)
    view = letterbox(fitted, boxes_file, torch.zeros(1, dtype=torch.int64), file_size, image_size, FILL)
    assert view.image_CHW.shape == (3, *image_size)
    scale, size = letterbox_size(file_size, image_size)
    assert tuple(fitted.shape[1:]) == size
    if min(x2 - x1, y2 - y1) * scale >= 1.01:
        assert torch.allclose(view.boxes_N4 / view.scale, boxes_file, atol=1e-3)


@pytest.mark.parametrize(
    ("file_size", "image_size", "scale", "size"),
    [
        ((480, 640), (320, 320), 0.5, (240, 320)),
        ((640, 480), (320, 320), 0.5, (320, 240)),
        ((100, 100), (320, 640), 3.2, (320, 320)),
        ((375, 500), (512, 512), 1.024, (384, 512)),
        ((427, 640), (512, 512), 0.8, (341, 512)),  # 341.6, rounded down
    ],
)
def test_letterbox_sizes_are_rounded_down(file_size, image_size, scale, size):
    assert letterbox_size(file_size, image_size) == (pytest.approx(scale), size)


def test_letterbox_sizes_are_those_of_effdet():
    transforms = pytest.importorskip("effdet.data.transforms")
    from PIL import Image

    generator = torch.Generator().manual_seed(0)
    for _ in range(30):
        height, width = torch.randint(20, 400, (2,), generator=generator).tolist()
        reference = transforms.ResizePad(128, fill_color=(1, 2, 3))
        padded, target = reference(Image.new("RGB", (width, height), "white"), {})
        scale, _ = letterbox_size((height, width), (128, 128))
        assert target["img_scale"] == pytest.approx(1 / scale)
        mine = paste(fit(torch.full((3, height, width), 255, dtype=torch.uint8), (128, 128)), (128, 128), (1, 2, 3))
        assert torch.equal(mine, torch.from_numpy(np.array(padded)).permute(2, 0, 1))


def test_the_border_is_the_mean_colour_and_the_picture_lies_top_left():
    view = letterbox(
        blank((10, 20)), torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), (10, 20), (20, 20), fill_of(MEAN)
    )
    assert view.image_CHW[:, :10].max() == 0
    assert view.image_CHW[:, 10:, :].amax(dim=(1, 2)).tolist() == [124, 116, 104]
    normalised = (torch.tensor([124, 116, 104]) / 255 - torch.tensor(MEAN)).abs()
    assert normalised.max() < 1 / 255


@settings(max_examples=30, deadline=None)
@given(size=sizes, seed=st.integers(0, 1000))
def test_flipping_twice_is_nothing(size, seed):
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=generator)
    boxes = torch.randint(0, 99, (5, 4), generator=generator).float()
    twice = flip(*flip(image, boxes))
    assert torch.equal(twice[0], image)
    assert torch.equal(twice[1], boxes)


def test_a_flipped_box_lies_on_its_flipped_pixels():
    image, boxes = flip(marked((30, 50), (5, 10, 20, 25)), torch.tensor([[5.0, 10, 20, 25]]))
    assert torch.equal(boxes[0], white(image))


@settings(max_examples=50, deadline=None)
@given(
    zoom=st.floats(0.3, 2.5),
    share=st.tuples(st.floats(0, 0.999), st.floats(0, 0.999)),
    image_size=st.sampled_from([(64, 64), (48, 96)]),
)
def test_a_zoomed_box_lies_on_its_zoomed_pixels(zoom, share, image_size):
    box = (30, 20, 90, 70)
    image, boxes, keep, _ = zoom_crop(marked((100, 140), box), torch.tensor([box]).float(), image_size, zoom, share)
    assert image.shape[1] <= image_size[0]
    assert image.shape[2] <= image_size[1]
    if keep[0]:
        assert (boxes[0] - white(image)).abs().max() <= 1.0


def test_a_zoom_of_one_is_the_letterbox():
    image = torch.randint(0, 256, (3, 75, 100), dtype=torch.uint8)
    boxes, labels = torch.tensor([[10.0, 20, 50, 60]]), torch.tensor([3])
    view = augment_detection(image, boxes, labels, (64, 64), FILL, NONE)
    letterboxed = letterbox(fit(image, (64, 64)), boxes, labels, (75, 100), (64, 64), FILL)
    assert torch.equal(view.image_CHW, letterboxed.image_CHW)
    assert torch.allclose(view.boxes_N4, letterboxed.boxes_N4)
    assert torch.equal(view.labels_N, labels)


def test_what_a_crop_leaves_of_a_box_decides_whether_it_is_asked_for():
    boxes = torch.tensor([[0, 0, 20, 20], [40, 40, 56, 56], [30, 30, 36, 36], [34, 34, 134, 134]]).float()
    _, clipped, keep, _ = zoom_crop(blank((64, 64)), boxes, (32, 32), 2.0, (0.0, 0.0))  # the upper left quarter
    assert keep.tolist() == [True, False, False, False]
    assert clipped[0].tolist() == [0, 0, 20, 20]


def test_boxes_beyond_the_picture_are_clipped_and_slivers_dropped():
    boxes = torch.tensor([[-10.0, -10, 30, 30], [70, 10, 90, 30], [10, 10, 10.4, 30]])
    view = augment_detection(blank((64, 64)), boxes, torch.tensor([1, 2, 3]), (64, 64), FILL, NONE)
    assert view.boxes_N4.tolist() == [[0, 0, 30, 30]]
    assert view.labels_N.tolist() == [1]


@pytest.mark.parametrize("size", [(1, 300), (300, 1), (1, 1), (2, 3)])
def test_the_smallest_pictures_pass_every_transform(size):
    none = torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)
    wild = DetectionAugment(flip=1.0, scale=(0.1, 2.0), colour=0.5)
    assert augment_detection(blank(size), *none, (64, 32), FILL, wild).image_CHW.shape == (3, 64, 32)
    assert letterbox(fit(blank(size), (64, 32)), *none, size, (64, 32), FILL).image_CHW.shape == (3, 64, 32)
    assert centre_view(blank(size), (32, 48), 0.875, "bicubic").shape == (3, 32, 48)


def test_colours_change_but_not_the_border():
    image = torch.full((3, 32, 64), 100, dtype=torch.uint8)
    view = augment_detection(
        image, torch.zeros(0, 4), torch.zeros(0), (64, 64), FILL, DetectionAugment(0.0, (1.0, 1.0), 0.5)
    )
    assert (view.image_CHW[:, :32] != 100).any()
    assert view.image_CHW[:, 40, 40].tolist() == list(FILL)


@pytest.mark.parametrize(
    ("file_size", "image_size"), [((300, 500), (224, 224)), ((500, 300), (64, 96)), ((8, 8), (32, 32))]
)
def test_a_classifier_sees_the_centre(file_size, image_size):
    height, width = file_size
    image = blank(file_size)
    image[:, height // 2 :, width // 2 :] = 255
    view = centre_view(image, image_size, 0.875, "bilinear")
    assert view.shape == (3, *image_size)
    x1, y1, _, _ = white(view).tolist()
    assert abs(y1 - image_size[0] / 2) <= 1
    assert abs(x1 - image_size[1] / 2) <= 1


@pytest.mark.parametrize("shape", [(256, 400), (400, 256), (256, 256)])
def test_a_classifier_sees_its_fraction_of_the_shorter_side(shape):
    line = torch.arange(256, dtype=torch.uint8)  # a pixel's value is its place along the shorter side
    image = line[:, None].expand(3, *shape) if shape[0] == 256 else line.expand(3, *shape)
    view = centre_view(image, (224, 224), 0.875, "bicubic")
    assert (int(view.min()), int(view.max())) == (16, 239)


@pytest.mark.parametrize("layers", [0, 2])
def test_training_views_have_the_input_size_and_differ(layers):
    augment = ClassificationAugment(0.5, (0.08, 1.0), layers, 9)
    view = training_view(augment, (48, 64), "bicubic", MEAN)
    image = torch.randint(0, 256, (3, 90, 70), dtype=torch.uint8)
    first, second = view(image), view(image)
    assert first.shape == (3, 48, 64)
    assert first.dtype == torch.uint8
    assert not torch.equal(first, second)


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize(("size", "crop_fraction"), [((300, 417), 0.875), ((641, 211), 1.0), ((100, 100), 0.96)])
def test_a_classifier_is_judged_on_the_pixels_that_timm_would_judge_it_on(size, crop_fraction, interpolation):
    timm_data = pytest.importorskip("timm.data")
    image_CHW = torch.randint(0, 256, (3, *size), dtype=torch.uint8)
    theirs = timm_data.create_transform(
        (3, 96, 96), interpolation=interpolation, crop_pct=crop_fraction, mean=(0, 0, 0), std=(1, 1, 1)
    )
    expected_CHW = theirs(Image.fromarray(image_CHW.permute(1, 2, 0).numpy())) * 255
    assert torch.equal(centre_view(image_CHW, (96, 96), crop_fraction, interpolation), expected_CHW.round().byte())
