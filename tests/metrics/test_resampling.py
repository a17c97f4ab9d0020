import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from effdet_lab.metrics import resampling
from effdet_lab.metrics.evaluators import evaluate
from effdet_lab.metrics.ground_truth import DetectionArrays, GroundTruth
from effdet_lab.metrics.resampling import interval, resampled_accuracy, resampled_precision, resamples


def by_pycocotools(truth, found):
    """map and map_50; NaN where there is nothing to find."""
    pytest.importorskip("pycocotools")
    metrics = evaluate(truth, *found, backend="pycocotools")
    return [np.nan if metrics[name] == -1 else metrics[name] for name in ("map", "map_50")]


def by_resampling(truth, found, times_I):
    one = resampled_precision(truth, [found], np.asarray(times_I)[None])
    return [one.map_SR.item(), one.map_50_SR.item()]


def once(truth):
    return np.ones(len(truth.image_ids_I), dtype=np.int64)


def duplicated(truth, found, times_I):
    """Every picture as often as it was drawn, with an id of its own; copies have neighbouring ids."""
    times_of = dict(zip(truth.image_ids_I.tolist(), times_I.tolist(), strict=True))

    def copies(image_ids):
        times = np.array([times_of[number] for number in image_ids.tolist()], dtype=np.int64)
        rows = np.repeat(np.arange(len(image_ids)), times)
        number = np.concatenate([np.arange(count) for count in times]) if len(times) else times
        return rows, image_ids[rows] * 100 + number

    boxes, box_ids = copies(truth.box_image_ids_N)
    seen, found_ids = copies(found.image_ids_D)
    return GroundTruth(
        image_ids_I=copies(truth.image_ids_I)[1],
        box_image_ids_N=box_ids,
        boxes_N4=truth.boxes_N4[boxes],
        labels_N=truth.labels_N[boxes],
        crowd_N=truth.crowd_N[boxes],
        areas_N=truth.areas_N[boxes],
        class_names=truth.class_names,
        category_ids=truth.category_ids,
    ), DetectionArrays(found_ids, found.boxes_D4[seen], found.scores_D[seen], found.labels_D[seen])


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_every_picture_once_is_what_pycocotools_says(scene, seed):
    truth, found = scene(seed)
    np.testing.assert_allclose(by_resampling(truth, found, once(truth)), by_pycocotools(truth, found), atol=1e-12)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_a_resample_is_what_pycocotools_says_of_pictures_that_are_really_there_so_often(scene, seed):
    truth, found = scene(seed)
    rng = np.random.default_rng(seed)
    # Copies of one picture would share its scores; within a picture no two may, for then their order is anybody's.
    distinct = found._replace(scores_D=found.scores_D + rng.permutation(len(found.scores_D)) * 1e-6)
    times_I = rng.choice([0, 0, 1, 1, 2, 3], len(truth.image_ids_I))
    times_I[0] += 1
    expected = by_pycocotools(*duplicated(truth, distinct, times_I))
    np.testing.assert_allclose(by_resampling(truth, distinct, times_I), expected, atol=1e-12)


def test_of_a_class_a_hundred_detections_count_in_a_picture():
    truth = GroundTruth(
        image_ids_I=np.array([4]),
        box_image_ids_N=np.array([4, 4]),
        boxes_N4=np.array([[0.0, 0, 10, 10], [50, 50, 60, 60]]),
        labels_N=np.array([0, 0]),
        crowd_N=np.zeros(2, dtype=bool),
        areas_N=np.array([100.0, 100.0]),
        class_names=("ant",),
        category_ids=(1,),
    )
    boxes_D4 = np.tile([200.0, 200, 210, 210], (120, 1))
    boxes_D4[[99, 100]] = truth.boxes_N4  # the last that counts, and the first that does not
    found = DetectionArrays(np.full(120, 4), boxes_D4, np.linspace(1, 0.1, 120), np.zeros(120, dtype=np.int64))
    expected = 51 / 101 / 100  # one of two found, at precision 1/100
    assert by_resampling(truth, found, [1]) == pytest.approx([expected, expected])
    assert by_pycocotools(truth, found) == pytest.approx([expected, expected])


def test_nothing_found_is_zero_and_nothing_to_find_is_not_a_number(scene):
    truth, found = scene(3)
    nothing = DetectionArrays(*(column[:0] for column in found))
    assert by_resampling(truth, nothing, once(truth)) == [0.0, 0.0]
    without_boxes = np.isin(truth.image_ids_I, truth.box_image_ids_N, invert=True).astype(int)
    assert np.isnan(by_resampling(truth, found, without_boxes)).all()
    assert np.isnan(interval(np.array([np.nan, np.nan]))).all()
    assert interval(np.array([np.nan, 2.0])) == (2.0, 2.0)


def test_small_steps_through_memory_change_nothing(scene, monkeypatch):
    truth, found = scene(11)
    times_SI = resamples(len(truth.image_ids_I), 20)
    whole = resampled_precision(truth, [found], times_SI)
    accuracies = resampled_accuracy(np.ones((12, 2), dtype=bool), times_SI)
    monkeypatch.setattr(resampling, "BLOCK", 30)
    np.testing.assert_array_equal(resampled_precision(truth, [found], times_SI), whole)
    np.testing.assert_array_equal(resampled_accuracy(np.ones((12, 2), dtype=bool), times_SI), accuracies)


def test_a_resample_draws_as_many_pictures_as_there_are_and_always_the_same():
    times_SI = resamples(30, 50)
    assert times_SI.shape == (50, 30)
    assert (times_SI.sum(axis=1) == 30).all()
    np.testing.assert_array_equal(times_SI, resamples(30, 50))
    assert (times_SI != resamples(30, 50, seed=1)).any()


def test_a_run_against_itself_differs_by_nothing(scene):
    truth, found = scene(5)
    maps = resampled_precision(truth, [found, found], resamples(len(truth.image_ids_I), 50)).map_SR
    assert interval(maps[:, 0] - maps[:, 1]) == (0.0, 0.0)
    assert not interval(maps[:, 0] - maps[:, 1]).excludes_zero


def test_runs_are_judged_on_the_same_pictures():
    # Half of the pictures are hard for both; the second run gets eight more of a hundred and loses none.
    right_IR = np.zeros((100, 2), dtype=bool)
    right_IR[:50, 0], right_IR[:58, 1] = True, True
    paired_SR = resampled_accuracy(right_IR, resamples(100))
    found = interval(paired_SR[:, 1] - paired_SR[:, 0])
    assert found.excludes_zero
    assert found.low > 0
    alone = interval(paired_SR[:, 1] - resampled_accuracy(right_IR, resamples(100, seed=1))[:, 0])
    assert not alone.excludes_zero


def test_an_accuracy_by_hand():
    right_IR = np.array([[True, False], [True, True], [False, True]])
    times_SI = np.array([[1, 1, 1], [2, 0, 1], [0, 0, 3]])
    np.testing.assert_allclose(resampled_accuracy(right_IR, times_SI), [[2 / 3, 2 / 3], [2 / 3, 1 / 3], [0, 1]])


def test_the_interval_of_an_accuracy_is_the_one_that_theory_gives():
    rng = np.random.default_rng(2)
    right_IR = rng.random((500, 2)) < [0.7, 0.6]
    values_SR = resampled_accuracy(right_IR, resamples(500, 4000))
    differences_I = right_IR[:, 0] * 1.0 - right_IR[:, 1]
    error = differences_I.std() / np.sqrt(500)  # of a mean of independent differences
    expected = differences_I.mean() + 1.96 * error * np.array([-1, 1])
    np.testing.assert_allclose(interval(values_SR[:, 0] - values_SR[:, 1]), expected, atol=0.15 * error)
