import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from effdet_lab.report.statistics import compare_repeats, deviation, eta_squared, levels_of, mean, pareto_front

finite = st.floats(-1e6, 1e6)


def test_the_front_of_a_hand_drawn_cloud():
    #          dearest but best   front    beaten by 1   front     same cost, worse
    points = [(9.0, 0.9), (2.0, 0.5), (3.0, 0.4), (1.0, 0.3), (1.0, 0.2), (9.0, 0.9)]
    assert pareto_front(points) == [3, 1, 0]  # by rising cost; the twin of point 0 is left out


@given(st.lists(st.tuples(finite, finite), max_size=30))
@settings(max_examples=50, deadline=None)
def test_nobody_beats_the_front_and_whoever_is_off_it_is_beaten(points):
    front = pareto_front(points)
    beats = lambda a, b: a[0] <= b[0] and a[1] >= b[1]  # noqa: E731
    chosen = [points[index] for index in front]
    assert not any(beats(a, b) for a in points for b in chosen if a != b)
    assert all(any(beats(a, b) for a in chosen) for b in points)
    assert chosen == sorted(set(chosen))


def test_eta_squared_by_hand():
    # Means 2 and 6 around 4: between 2 * 4 + 2 * 4 = 16; within 4 * 1 = 4; 16 / 20.
    assert eta_squared(["a", "a", "b", "b"], [1, 3, 5, 7]) == pytest.approx(0.8)
    # Unequal groups: means 1 (n = 1) and 3 (n = 3) around 2.5: between 2.25 + 0.75 = 3; within 0 + 8.
    assert eta_squared(["a", "b", "b", "b"], [1, 1, 3, 5]) == pytest.approx(3 / 11)


def test_a_setting_that_changes_nothing_explains_nothing():
    assert eta_squared(["a", "b", "a", "b"], [1, 1, 3, 3]) == 0.0


@pytest.mark.parametrize(
    ("levels", "values"),
    [(["a", "b", "c"], [1, 2, 3]), (["a", "a"], [1, 2]), (["a", "a", "b"], [2, 2, 2]), ([], [])],
    ids=["a value each", "one level", "no variance", "nothing"],
)
def test_eta_squared_is_not_told_where_it_means_nothing(levels, values):
    assert eta_squared(levels, values) is None


def test_the_deviation_is_the_samples():
    assert mean([1, 2, 6]) == 3
    assert deviation([1, 2, 6]) == pytest.approx(math.sqrt((4 + 1 + 9) / 2))
    assert deviation([5.0]) is None


def test_repeats_are_compared_with_their_own_kind():
    """Each seed gains the same, however far the seeds lie apart: the interval is that gain, and no doubt remains."""
    first = {seed: 0.1 * seed + 0.02 for seed in range(4)}
    second = {seed: 0.1 * seed for seed in range(5)}
    found = compare_repeats(first, second)
    assert found.pairs == 4
    assert (found.difference, found.low, found.high) == pytest.approx((0.02, 0.02, 0.02))
    assert found.is_clear


def test_a_gain_of_some_seeds_and_a_loss_of_others_is_no_clear_difference():
    found = compare_repeats({0: 0.5, 1: 0.6, 2: 0.7}, {0: 0.6, 1: 0.5, 2: 0.68})
    assert found.low < 0 < found.high
    assert not found.is_clear
    assert compare_repeats({0: 0.5, 1: 0.6, 2: 0.7}, {0: 0.6, 1: 0.5, 2: 0.68}) == found  # drawn from a fixed seed


def test_one_shared_repeat_tells_nothing():
    assert compare_repeats({0: 1.0, 1: 1.0}, {1: 0.5, 2: 0.5}) is None


def test_numbers_that_hardly_come_twice_are_grouped_into_thirds():
    numbers = [0.9, 0.1, 0.5, 0.2, 0.6, 0.8]
    assert levels_of([str(number) for number in numbers], numbers) == [2, 0, 1, 0, 1, 2]
    tied = [1.0, 2.0, 2.0, 3.0, 4.0, 5.0, 6.0]  # a bound itself belongs to the upper third
    assert levels_of([f"{number}" for number in tied], tied) == [0, 1, 1, 1, 2, 2, 2]
    assert eta_squared(levels_of([str(number) for number in numbers], numbers), [3, 1, 2, 1, 2, 3]) == 1.0


@pytest.mark.parametrize(
    ("texts", "numbers"),
    [
        (["1", "1", "1", "2", "2", "2"], [1, 1, 1, 2, 2, 2]),  # they come often enough
        (["1", "2", "3"], [1, 2, 3]),  # too few
        (["a", "b", "c", "d", "e", "6"], [None, None, None, None, None, 6]),  # words
    ],
)
def test_other_values_are_levels_of_their_own(texts, numbers):
    assert levels_of(texts, numbers) == texts
