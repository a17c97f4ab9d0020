"""A scaling law of one's own runs, and what it foretells of a network that costs more.

error = a * cost^-b + c, where error is 1 - accuracy or 1 - mAP, and cost the multiply-adds of one picture.
Axes: R resamples, B exponents tried, N costs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from effdet_lab.report.wording import count, decimal

FEWEST_COSTS = 3  # as many as the law has unknowns
EXPONENTS = (1e-3, 4.0)  # b: from hardly a slope to a step
GRID, ZOOMS = 64, 6  # exponents tried at once, and how often between the neighbours of the best
PERCENT = (5.0, 95.0)  # 90 % lie between
FAR = 2.0  # times the largest cost seen: one step of phi
NO_NOISE = 1e-9  # repeats this close are the same run
ASSUMED_NOISE = 0.1  # of the range of the errors, where the runs themselves tell no noise


@dataclass(frozen=True)
class Observation:
    """What the repeats of one network reached."""

    cost: float  # multiply-adds
    values: tuple[float, ...]  # fractions; others, as the -1 of an mAP without boxes, measure nothing


@dataclass(frozen=True)
class Prediction:
    """The metric at one cost, with intervals of 90 %.

    They cover what chance does to the runs seen and, where four costs or more were seen, how far networks lie off the
    curve. They do not cover a law that holds no longer, or a recipe that suits the larger network less.
    """

    cost: float
    value: float
    low: float  # of the curve
    high: float
    run_low: float  # of one new run of one new network
    run_high: float
    is_extrapolated: bool
    factor: float  # the cost over the largest one seen
    noise_is_assumed: bool


@dataclass(frozen=True)
class Law:
    """The law that fits best, and what it might have been; a is 0 where the error does not fall."""

    a: float
    b: float
    c: float
    span: tuple[float, float]  # the lowest and the highest cost seen
    noise: float  # standard deviation of one run around the curve
    noise_is_assumed: bool  # three costs without differing repeats tell none
    laws_R3: np.ndarray = field(repr=False, compare=False)  # a, b, c of each resample
    runs_R: np.ndarray = field(repr=False, compare=False)  # how far the error of a run lies off the curve, in each

    def error(self, cost: float) -> float:
        """1 - metric, on the curve."""
        return float(_errors(np.array([[self.a, self.b, self.c]]), np.array([cost]))[0, 0])

    def predict(self, cost: float) -> Prediction:
        """The metric at this cost, inside the costs seen or beyond them."""
        assert cost > 0
        curve_R = 1 - _errors(self.laws_R3, np.array([cost]))[:, 0]
        value = min(max(1 - self.error(cost), 0.0), 1.0)
        return Prediction(
            cost,
            value,
            *_interval(curve_R, value),
            *_interval(curve_R - self.runs_R, value),
            is_extrapolated=not self.span[0] <= cost <= self.span[1],
            factor=cost / self.span[1],
            noise_is_assumed=self.noise_is_assumed,
        )

    def band(self, costs: Sequence[float]) -> list[Prediction]:
        """One prediction per cost, for a chart."""
        return [self.predict(cost) for cost in costs]


def fit(observations: Sequence[Observation], resamples: int = 500, seed: int = 0) -> Law | None:
    """The law nearest to the means by least squares, weighted by the number of repeats; None below three costs.

    A parametric bootstrap: means are drawn anew around the law, and the law fitted to them again. Two spreads are
    estimated, that of repeats around their own mean and that of the means around the law, each with its own few
    degrees of freedom; the means are drawn with the larger. In trials of random laws with 3 to 8 costs and up to three
    times as much scatter between networks as between repeats, the intervals held 85 % to 98 % of the truth at
    one to eight times the largest cost; drawing the repeats themselves instead held 74 % of it.

    Source: Efron & Tibshirani, An Introduction to the Bootstrap (1993), section 6.5.
    """
    errors = _by_cost(observations)
    if len(errors) < FEWEST_COSTS:
        return None
    costs_N = np.array(list(errors))
    scale = costs_N[0]  # of the costs: the fit is the same in any unit
    means_N = np.array([np.mean(repeats) for repeats in errors.values()])
    repeats_N = np.array([len(repeats) for repeats in errors.values()], dtype=float)
    laws_13 = _nearest(costs_N / scale, means_N[None], repeats_N)
    fitted_N = _errors(laws_13, costs_N / scale)[0]

    random = np.random.default_rng(seed)
    inside = [error - mean for repeats, mean in zip(errors.values(), means_N, strict=True) for error in repeats]
    within, within_R = _variance(np.array(inside), len(inside) - len(costs_N), resamples, random)
    off_law_N = (means_N - fitted_N) * np.sqrt(repeats_N)
    around, around_R = _variance(off_law_N, len(costs_N) - FEWEST_COSTS, resamples, random)
    # What networks add to the noise of their runs: how far each lies off the law, for good.
    networks, networks_R = max(around - within, 0.0) / repeats_N.mean(), np.zeros(resamples)
    if networks:
        networks_R = np.maximum(around_R - within_R, 0) / repeats_N.mean()
    is_assumed = within < NO_NOISE**2 and len(costs_N) == FEWEST_COSTS
    if is_assumed:
        within = (ASSUMED_NOISE * np.ptp(means_N)) ** 2
        within_R = np.full(resamples, within)

    spread_RN = np.sqrt(within_R[:, None] / repeats_N + networks_R[:, None])
    means_RN = np.maximum(fitted_N + spread_RN * random.standard_normal(spread_RN.shape), 0)
    laws_R3 = _nearest(costs_N / scale, means_RN, repeats_N)
    runs_R = np.sqrt(within_R + networks_R) * random.standard_normal(resamples)
    for laws in (laws_13, laws_R3):
        laws[:, 0] *= scale ** laws[:, 1]
    a, b, c = laws_13[0].tolist()
    span = (float(costs_N[0]), float(costs_N[-1]))
    return Law(a, b, c, span, float(np.sqrt(within + networks)), is_assumed, laws_R3, runs_R)


def sentence(prediction: Prediction) -> str:
    """The prediction in words, and how far to trust it."""
    words = [
        f"{decimal(prediction.value)} at {count(prediction.cost)} multiply-adds; with 90 % confidence the curve lies "
        f"between {decimal(prediction.low)} and {decimal(prediction.high)}, and one new run between "
        f"{decimal(prediction.run_low)} and {decimal(prediction.run_high)}."
    ]
    if prediction.factor > FAR:
        words.append(
            f"This is {prediction.factor:.1f} times the largest cost seen, too far to rely on: the intervals suppose "
            "that the law still holds there."
        )
    elif prediction.factor > 1:
        words.append(f"This is {prediction.factor:.2g} times the largest cost seen.")
    elif prediction.is_extrapolated:
        words.append("This is below the smallest cost seen.")
    if prediction.noise_is_assumed:
        words.append("The runs do not tell their own noise, so it is assumed: repeat them, or add a fourth cost.")
    return " ".join(words)


def _by_cost(observations: Sequence[Observation]) -> dict[float, list[float]]:
    """Errors by rising cost."""
    errors: dict[float, list[float]] = {}
    for observation in sorted(observations, key=lambda observation: observation.cost):
        assert observation.cost > 0
        if measured := [1 - value for value in observation.values if 0 <= value <= 1]:
            errors.setdefault(float(observation.cost), []).extend(measured)
    return errors


def _variance(
    deviations: np.ndarray, freedom: int, resamples: int, random: np.random.Generator
) -> tuple[float, np.ndarray]:
    """The variance, and what it might have been; 0 where nothing tells it."""
    if freedom < 1:
        return 0.0, np.zeros(resamples)
    squares = float(np.sum(deviations**2))
    return squares / freedom, squares / random.chisquare(freedom, resamples)


def _interval(values_R: np.ndarray, value: float) -> tuple[float, float]:
    """90 % of the values; the estimate itself is always inside, and no metric is beyond 0 and 1."""
    low, high = np.clip(np.percentile(values_R, PERCENT), 0, 1).tolist()
    return min(low, value), max(high, value)


def _errors(laws_R3: np.ndarray, costs_N: np.ndarray) -> np.ndarray:
    a_R1, b_R1, c_R1 = laws_R3.T[:, :, None]
    return a_R1 * costs_N**-b_R1 + c_R1


def _nearest(costs_N: np.ndarray, errors_RN: np.ndarray, weights_N: np.ndarray) -> np.ndarray:
    """a, b, c of each row, R3: a and c in closed form for every b of a grid, and finer grids around the best.

    Source: Golub & Pereyra, The differentiation of pseudo-inverses and nonlinear least squares problems whose
    variables separate (1973): only b has to be searched for.
    """
    share_N = weights_N / weights_N.sum()
    errors_R1N = errors_RN[:, None]
    mean_R1 = errors_R1N @ share_N
    rows_R = np.arange(len(errors_RN))
    low_R, high_R = (np.full(len(errors_RN), np.log(end)) for end in EXPONENTS)
    laws_RB3 = np.empty((len(errors_RN), GRID, 3))
    best_R = rows_R
    for _ in range(ZOOMS):
        logs_RB = np.linspace(low_R, high_R, GRID, axis=1)
        power_RBN = costs_N ** -np.exp(logs_RB)[..., None]
        power_RB = power_RBN @ share_N
        centred_RBN = power_RBN - power_RB[..., None]
        a_RB = np.maximum((centred_RBN * errors_R1N) @ share_N / (centred_RBN**2 @ share_N), 0)
        c_RB = mean_R1 - a_RB * power_RB
        # A floor below zero is none: the best law without one.
        a_RB = np.where(c_RB < 0, (power_RBN * errors_R1N) @ share_N / (power_RBN**2 @ share_N), a_RB)
        c_RB = np.maximum(c_RB, 0)
        loss_RB = (a_RB[..., None] * power_RBN + c_RB[..., None] - errors_R1N) ** 2 @ share_N
        laws_RB3 = np.stack([a_RB, np.exp(logs_RB), c_RB], axis=-1)
        best_R = loss_RB.argmin(axis=1)
        low_R = logs_RB[rows_R, np.maximum(best_R - 1, 0)]
        high_R = logs_RB[rows_R, np.minimum(best_R + 1, GRID - 1)]
    return laws_RB3[rows_R, best_R]
