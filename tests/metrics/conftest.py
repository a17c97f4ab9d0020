"""Random ground truth and detections, hard on purpose."""

from collections.abc import Callable

import numpy as np
import pytest

from effdet_lab.metrics.ground_truth import DetectionArrays, GroundTruth

Scene = tuple[GroundTruth, DetectionArrays]


@pytest.fixture(scope="session")
def scene() -> Callable[..., Scene]:
    return random_scene


def random_scene(seed: int, num_images: int = 12) -> Scene:
    """Crowds, tied scores, IoUs on a threshold, outlines smaller than boxes, pictures and classes without boxes."""
    rng = np.random.default_rng(seed)
    image_ids_I = rng.choice(10_000_000, num_images, replace=False)
    category_ids = (3, 8, 44, 90, 91)
    num_boxes = int(rng.integers(1, 4 * num_images))
    with_boxes = image_ids_I[: max(1, num_images * 2 // 3)]
    corners_N2 = rng.integers(0, 200, (num_boxes, 2)).astype(np.float64)
    sizes_N2 = rng.choice([4, 20, 32, 64, 96, 150], (num_boxes, 2)).astype(np.float64)
    boxes_N4 = np.concatenate([corners_N2, corners_N2 + sizes_N2], axis=1)
    truth = GroundTruth(
        image_ids_I=image_ids_I,
        box_image_ids_N=rng.choice(with_boxes, num_boxes),
        boxes_N4=boxes_N4,
        labels_N=rng.integers(0, 3, num_boxes),  # labels 3 and 4 are never to be found
        crowd_N=rng.random(num_boxes) < 0.15,
        areas_N=sizes_N2.prod(axis=1) * rng.choice([0.6, 1.0], num_boxes),
        class_names=("ant", "bee", "cicada", "dragonfly", "earwig"),
        category_ids=category_ids,
    )
    num_found = int(rng.integers(0, 12 * num_images))
    source_D = rng.integers(0, num_boxes, num_found)
    found_D4 = boxes_N4[source_D] + rng.choice([-16, -8, 0, 0, 8, 16], (num_found, 4))
    found_D4[:, 2:] = np.maximum(found_D4[:, 2:], found_D4[:, :2])
    elsewhere_D = rng.random(num_found) < 0.2
    detections = DetectionArrays(
        image_ids_D=np.where(elsewhere_D, rng.choice(image_ids_I, num_found), truth.box_image_ids_N[source_D]),
        boxes_D4=found_D4,
        scores_D=rng.integers(1, 10, num_found) / 10,
        labels_D=np.where(rng.random(num_found) < 0.7, truth.labels_N[source_D], rng.integers(0, 5, num_found)),
    )
    return truth, detections
