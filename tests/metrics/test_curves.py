import contextlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from effdet_lab.metrics.curves import (
    class_errors,
    confusion,
    confusion_of_classes,
    picture_errors,
    precision_recall,
)
from effdet_lab.metrics.evaluators import evaluate
from effdet_lab.metrics.ground_truth import DetectionArrays, GroundTruth
from effdet_lab.metrics.topk import BestClasses

# Three squares of 10 pixels: picture 7 has an ant and a bee, picture 9 an ant and a crowd of bees, picture 8 nothing.
TRUTH = GroundTruth(
    image_ids_I=np.array([9, 7, 8]),
    box_image_ids_N=np.array([7, 7, 9, 9]),
    boxes_N4=np.array([[0, 0, 10, 10], [20, 0, 30, 10], [0, 0, 10, 10], [50, 50, 90, 90]], dtype=np.float64),
    labels_N=np.array([0, 1, 0, 1]),
    crowd_N=np.array([False, False, False, True]),
    areas_N=np.array([100.0, 100.0, 100.0, 1600.0]),
    class_names=("ant", "bee", "cicada"),
    category_ids=(1, 2, 3),
)


def detections(*rows):
    """(image id, x1, y1, x2, y2, score, label)"""
    table = np.array(rows, dtype=np.float64).reshape(-1, 7)
    return DetectionArrays(table[:, 0].astype(int), table[:, 1:5], table[:, 5], table[:, 6].astype(int))


FOUND = detections(
    (7, 0, 0, 10, 8, 0.9, 0),  # IoU 0.8 with the ant: a hit
    (7, 20, 0, 30, 10, 0.8, 0),  # an ant where the bee is
    (9, 0, 0, 4, 10, 0.7, 0),  # IoU 0.4: found nothing
    (9, 60, 60, 70, 70, 0.6, 1),  # among the crowd: does not count
    (8, 0, 0, 5, 5, 0.5, 2),  # on the empty picture
    (9, 0, 0, 10, 10, 0.1, 0),  # a hit that is not believed
)


def test_precision_at_each_recall_by_hand():
    recalls_R, precisions_KR = precision_recall(TRUTH, FOUND)
    # Ants by score: hit, miss, miss, hit; two to find: precision 1 up to recall 1/2, then 2 of 4.
    assert precisions_KR[0].tolist() == [1.0] * 51 + [0.5] * 50
    assert precisions_KR[1].tolist() == [0.0] * 101  # the bee was never called one
    assert np.isnan(precisions_KR[2]).all()
    assert (recalls_R[0], recalls_R[50], recalls_R[-1]) == (0.0, 0.5, 1.0)


def test_confusion_by_hand():
    assert confusion(TRUTH, FOUND).tolist() == [
        [1, 0, 0, 1],  # one ant found, one missed
        [1, 0, 0, 0],  # the bee was taken for an ant
        [0, 0, 0, 0],
        [1, 0, 1, 0],  # an ant and a cicada where nothing is
    ]


def test_a_box_goes_to_its_own_class_even_if_another_fits_better():
    found = detections((7, 0, 0, 10, 10, 0.9, 1), (7, 0, 0, 10, 8, 0.5, 0))
    matrix = confusion(TRUTH.only(np.array([7])), found)
    assert matrix[0].tolist() == [1, 0, 0, 0]
    assert matrix[3].tolist() == [0, 1, 0, 0]


def test_picture_errors_by_hand():
    # Picture 9: one ant to find, one detection beside it: F1 0. Picture 7: 1 hit, 2 found, 2 to find: F1 1/2.
    assert picture_errors(TRUTH, FOUND).tolist() == [1.0, 0.5, 1.0]
    nothing = detections()
    assert picture_errors(TRUTH, nothing).tolist() == [1.0, 1.0, 0.0]


def test_classes_by_hand():
    best = BestClasses(
        image_ids_I=np.arange(4),
        labels_I=np.array([0, 1, 2, -1]),
        classes_IC=np.array([[0, 1], [2, 1], [0, 1], [0, 1]]),
        probabilities_IC=np.array([[0.75, 0.25], [0.5, 0.25], [0.5, 0.5], [0.5, 0.5]], dtype=np.float32),
    )
    assert confusion_of_classes(best, 3).tolist() == [[1, 0, 0], [0, 0, 1], [1, 0, 0]]
    np.testing.assert_array_equal(class_errors(best), [0.25, 0.75, 1.0, np.nan])


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_rows_of_the_confusion_matrix_sum_to_the_truths(scene, seed):
    truth, found = scene(seed)
    matrix = confusion(truth, found)
    expected_K = np.bincount(truth.labels_N[~truth.crowd_N], minlength=len(truth.class_names))
    np.testing.assert_array_equal(matrix[:-1].sum(axis=1), expected_K)
    believed_K = np.bincount(found.labels_D[found.scores_D >= 0.3], minlength=len(truth.class_names))
    assert (matrix[:, :-1].sum(axis=0) <= believed_K).all()
    assert matrix[-1, -1] == 0


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_the_diagonal_decides_how_wrong_the_pictures_are(scene, seed):
    truth, found = scene(seed)
    for image_id, error in zip(truth.image_ids_I, picture_errors(truth, found), strict=True):
        mine = DetectionArrays(*(column[found.image_ids_D == image_id] for column in found))
        matrix = confusion(truth.only(np.array([image_id])), mine)
        in_question = matrix[:-1].sum() + matrix[:, :-1].sum()
        expected = 1 - 2 * np.trace(matrix) / in_question if in_question else 0.0
        assert error == pytest.approx(expected)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_curves_are_those_of_pycocotools(scene, seed):
    truth, found = scene(seed)
    _, precisions_KR = precision_recall(truth, found)
    expected_KR = reference_curves(truth, found)
    np.testing.assert_allclose(np.nan_to_num(precisions_KR, nan=-1.0), expected_KR, atol=1e-12)


def test_the_mean_of_the_curves_is_map_50(scene):
    truth, found = scene(3)
    _, precisions_KR = precision_recall(truth, found)
    mean = np.nanmean(precisions_KR[~np.isnan(precisions_KR).all(axis=1)])
    assert mean == pytest.approx(evaluate(truth, *found)["map_50"], abs=1e-9)


def reference_curves(truth, found):
    """Precision at IoU 0.5 by class and recall, -1 where there is nothing to find."""
    pytest.importorskip("pycocotools")
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    from effdet_lab.metrics.ground_truth import xywh

    place = {image_id: number for number, image_id in enumerate(np.sort(truth.image_ids_I).tolist(), start=1)}
    columns = (truth.box_image_ids_N, truth.labels_N, truth.crowd_N, truth.areas_N)
    boxes = [
        {"image_id": place[image], "category_id": label + 1, "iscrowd": int(crowd), "area": area, "bbox": box}
        for image, label, crowd, area, box in zip(
            *(column.tolist() for column in columns), xywh(truth.boxes_N4).tolist(), strict=True
        )
    ]
    seen = [
        {"image_id": place[image], "category_id": label + 1, "score": score, "bbox": box, "area": box[2] * box[3]}
        for image, label, score, box in zip(
            found.image_ids_D.tolist(),
            found.labels_D.tolist(),
            found.scores_D.tolist(),
            xywh(found.boxes_D4).tolist(),
            strict=True,
        )
    ]
    apis = []
    with contextlib.redirect_stdout(io.StringIO()):
        for rows in (boxes, seen):
            api = COCO()
            api.dataset = {
                "images": [{"id": number} for number in place.values()],
                "categories": [{"id": label + 1, "name": name} for label, name in enumerate(truth.class_names)],
                "annotations": [{"id": number, "iscrowd": 0, **row} for number, row in enumerate(rows, start=1)],
            }
            api.createIndex()
            apis.append(api)
        run = COCOeval(*apis, iouType="bbox")
        run.evaluate()
        run.accumulate()
    return run.eval["precision"][0, :, :, 0, -1].T
