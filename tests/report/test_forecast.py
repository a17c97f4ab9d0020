import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from effdet_lab.report.forecast import Observation, fit, sentence
from effdet_lab.report.published import published

LOWEST = 0.4e9  # multiply-adds
DOUBLING = tuple(LOWEST * 2**step for step in range(5))  # as the steps of phi do


def errors_by(a: float, b: float, c: float):
    """A law whose a is the error above the floor at the lowest cost."""
    return lambda cost: a * (cost / LOWEST) ** -b + c


def observed(error, costs, repeats=1, noise=0.0, network_noise=0.0, random=None):
    random = random or np.random.default_rng(0)
    found = []
    for cost in costs:
        mean = error(cost) + random.normal(0, network_noise)
        found.append(Observation(cost, tuple((1 - mean - random.normal(0, noise, repeats)).tolist())))
    return found


@given(a=st.floats(0.1, 0.5), b=st.floats(0.1, 1.5), c=st.floats(0, 0.4), repeats=st.integers(1, 3))
@settings(max_examples=30, deadline=None)
def test_a_law_without_noise_is_found_again(a, b, c, repeats):
    error = errors_by(a, b, c)
    law = fit(observed(error, DOUBLING, repeats), resamples=10)
    assert (law.b, law.c) == pytest.approx((b, c), rel=1e-4, abs=1e-5)
    assert law.a == pytest.approx(a * LOWEST**b, rel=1e-2)
    for cost in (*DOUBLING, 8 * DOUBLING[-1]):
        assert law.error(cost) == pytest.approx(error(cost), abs=1e-6)
    assert law.span == (DOUBLING[0], DOUBLING[-1])
    assert law.noise == pytest.approx(0, abs=1e-6)


def test_no_law_within_the_bounds_is_nearer():
    """Against scipy from many starts, on errors of any shape: some would want a floor below zero, or a rising curve."""
    optimize = pytest.importorskip("scipy.optimize")
    random = np.random.default_rng(3)
    costs = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
    without_floor = 0
    for shape in range(12):
        errors = random.uniform(0.1, 0.9, 5) if shape < 6 else 0.6 - 0.1 * np.arange(5) + random.normal(0, 0.02, 5)
        law = fit([Observation(cost, (1 - error,)) for cost, error in zip(costs, errors, strict=True)], resamples=2)
        without_floor += law.c == 0 and law.a > 0

        def off(unknowns, errors=errors):
            a, b, c = unknowns
            return a * costs**-b + c - errors

        starts = [(a, b, c) for a in (0.1, 0.8) for b in (0.05, 0.5, 2.0) for c in (0.01, 0.4)]
        bounds = ([0, 1e-3, 0], [np.inf, 4, np.inf])
        nearest = min(2 * optimize.least_squares(off, start, bounds=bounds).cost for start in starts)
        assert np.sum(off((law.a, law.b, law.c)) ** 2) <= nearest + 1e-7
    assert without_floor >= 5


values = st.lists(st.lists(st.floats(0, 1), min_size=1, max_size=3), min_size=3, max_size=7)


@given(values=values, spacing=st.floats(1.2, 5))
@settings(max_examples=50, deadline=None)
def test_whatever_was_measured_no_curve_rises_with_cost_or_leaves_what_a_metric_can_be(values, spacing):
    law = fit([Observation(LOWEST * spacing**step, tuple(found)) for step, found in enumerate(values)], resamples=20)
    costs = np.geomspace(LOWEST / 4, LOWEST * 1e6, 30)
    assert law.a >= 0
    assert law.b > 0
    assert law.c >= 0
    assert np.all(np.diff([law.error(cost) for cost in costs]) <= 1e-12)
    band = law.band(costs)
    for narrow, wide in (("low", "high"), ("run_low", "run_high")):
        for prediction in band:
            assert 0 <= getattr(prediction, narrow) <= prediction.value <= getattr(prediction, wide) <= 1


@given(unit=st.floats(1e-12, 1e12))
@settings(max_examples=20, deadline=None)
def test_the_unit_of_the_cost_does_not_matter(unit):
    found = observed(errors_by(0.3, 0.4, 0.2), DOUBLING, 3, 0.01)
    law = fit(found, resamples=50)
    other = fit([Observation(point.cost * unit, point.values) for point in found], resamples=50)
    here, there = law.predict(3 * DOUBLING[-1]), other.predict(3 * DOUBLING[-1] * unit)
    for name in ("value", "low", "high", "run_low", "run_high", "factor"):
        assert getattr(there, name) == pytest.approx(getattr(here, name), abs=1e-6)


def test_the_order_of_the_runs_and_how_they_are_grouped_do_not_matter():
    found = observed(errors_by(0.3, 0.4, 0.2), DOUBLING, 3, 0.01)
    one_by_one = [Observation(point.cost, (value,)) for point in reversed(found) for value in reversed(point.values)]
    here, there = fit(found).predict(1e10), fit(one_by_one).predict(1e10)
    assert (there.value, there.run_low) == pytest.approx((here.value, here.run_low), abs=1e-9)
    assert fit(found).predict(1e10) == here  # drawn from a fixed seed
    assert fit(found, seed=1).predict(1e10).low != here.low


def test_a_network_that_was_run_more_often_counts_more():
    """Two points at the same height but for the last, which many repeats pull the curve to."""
    few = [Observation(1.0, (0.5,)), Observation(2.0, (0.6,)), Observation(4.0, (0.65,)), Observation(8.0, (0.6,))]
    many = [*few[:-1], Observation(8.0, (0.6,) * 20)]
    assert abs(fit(many).error(8.0) - 0.4) < 0.3 * abs(fit(few).error(8.0) - 0.4)


def test_fewer_than_three_costs_are_no_law():
    twice = observed(errors_by(0.3, 0.4, 0.2), DOUBLING[:2], 3, 0.01)
    assert fit([]) is None
    assert fit([*twice, *twice]) is None
    assert fit([*twice, Observation(DOUBLING[2], ())]) is None
    assert fit([*twice, Observation(DOUBLING[2], (-1.0, float("nan")))]) is None  # nothing was measured there
    assert fit([*twice, Observation(DOUBLING[2], (0.6, -1.0))]) is not None


def test_an_error_that_does_not_fall_is_foretold_as_it_is():
    law = fit([Observation(cost, (value,)) for cost, value in zip(DOUBLING, (0.7, 0.6, 0.6, 0.5, 0.5), strict=True)])
    assert law.a == 0
    assert law.predict(1e12).value == pytest.approx(0.58)


def test_three_costs_leave_the_floor_open():
    """The intervals say so: narrow where runs were seen, wide beyond, with any floor from none to the last error."""
    error = errors_by(0.3, 0.3, 0.15)
    law = fit(observed(error, DOUBLING[:3], 3, 0.004))
    near, far = law.predict(DOUBLING[1]), law.predict(DOUBLING[2] * 8)
    assert far.high - far.low > 5 * (near.high - near.low)
    floors = law.laws_R3[:, 2]
    assert floors.min() == 0
    assert floors.max() > 0.8 * error(DOUBLING[2])


def test_three_single_runs_do_not_tell_their_noise_and_the_words_say_so():
    error = errors_by(0.3, 0.3, 0.15)
    law = fit(observed(error, DOUBLING[:3]))
    prediction = law.predict(DOUBLING[2])
    assert law.noise_is_assumed
    assert law.noise == pytest.approx(0.1 * (error(DOUBLING[0]) - error(DOUBLING[2])))
    assert prediction.run_high - prediction.run_low > law.noise
    assert "assumed" in sentence(prediction)
    same_seed = fit(observed(error, DOUBLING[:3], repeats=3))  # repeats that are the same run
    assert same_seed.noise_is_assumed
    assert not fit(observed(error, DOUBLING[:4])).noise_is_assumed
    assert not fit(observed(error, DOUBLING[:3], 2, 0.01)).noise_is_assumed


def test_networks_that_lie_off_the_curve_widen_it_though_their_repeats_agree():
    error = errors_by(0.3, 0.3, 0.15)
    calm = fit(observed(error, DOUBLING, 3, 0.001))
    restless = fit(observed(error, DOUBLING, 3, 0.001, network_noise=0.01))
    assert calm.noise == pytest.approx(0.001, rel=0.6)
    assert restless.noise > 3 * calm.noise
    wide, narrow = restless.predict(DOUBLING[-1]), calm.predict(DOUBLING[-1])
    assert wide.high - wide.low > 3 * (narrow.high - narrow.low)


@pytest.mark.parametrize(
    ("costs", "repeats", "noise", "network_noise"),
    [(5, 3, 0.006, 0.0), (5, 3, 0.004, 0.004), (5, 1, 0.006, 0.0), (3, 3, 0.006, 0.0)],
    ids=["as the law says", "networks off the law", "single runs", "three costs"],
)
def test_nine_of_ten_new_runs_at_twice_the_cost_are_where_they_were_foretold(costs, repeats, noise, network_noise):
    """60 families of random laws: the truth is inside the interval in 80 % to 99 %, for a run and for the curve."""
    random = np.random.default_rng(7)
    costs = DOUBLING[:costs]
    new_cost = 2 * costs[-1]
    runs, curves = [], []
    for _ in range(60):
        error = errors_by(random.uniform(0.15, 0.4), random.uniform(0.15, 0.6), random.uniform(0, 0.25))
        law = fit(observed(error, costs, repeats, noise, network_noise, random), resamples=200)
        foretold = law.predict(new_cost)
        new_run = 1 - error(new_cost) - random.normal(0, network_noise) - random.normal(0, noise)
        runs.append(foretold.run_low <= new_run <= foretold.run_high)
        curves.append(foretold.low <= 1 - error(new_cost) <= foretold.high)
    assert 0.8 <= np.mean(runs) < 1
    assert 0.8 <= np.mean(curves) < 1


@pytest.mark.parametrize(
    ("table", "metric", "seen", "foretold"),
    [("efficientnet", "val/top1", 5, [5, 6, 7]), ("efficientdet", "val/map", 5, [5, 6, 7])],
)
def test_the_small_published_networks_foretell_the_large_ones(table, metric, seen, foretold):
    """B0..B4 tell B5..B7, and D0..D4 tell D5..D7, up to nine times the largest cost seen."""
    points = [point for point in published(table) if point.metric == metric]
    law = fit([Observation(point.multiply_adds, (point.value,)) for point in points[:seen]])
    for point in (points[index] for index in foretold):
        prediction = law.predict(point.multiply_adds)
        assert prediction.run_low <= point.value <= prediction.run_high
        assert prediction.run_high - prediction.run_low < 0.02


def test_the_words_tell_how_far_beyond_the_runs_a_prediction_is():
    law = fit(observed(errors_by(0.3, 0.4, 0.2), DOUBLING, 3, 0.01))
    inside, near, far, below = (
        law.predict(cost) for cost in (DOUBLING[1], 1.5 * DOUBLING[-1], 4 * DOUBLING[-1], DOUBLING[0] / 2)
    )
    assert [one.is_extrapolated for one in (inside, near, far, below)] == [False, True, True, True]
    assert (near.factor, far.factor) == (1.5, 4)
    assert f"{inside.value:.4f} at 800 M multiply-adds" in sentence(inside)
    assert f"one new run between {inside.run_low:.4f} and {inside.run_high:.4f}" in sentence(inside)
    assert sentence(inside).endswith(".")
    assert "times" not in sentence(inside)
    assert sentence(near).endswith("This is 1.5 times the largest cost seen.")
    assert "This is 4.0 times the largest cost seen, too far to rely on" in sentence(far)
    assert sentence(below).endswith("This is below the smallest cost seen.")
