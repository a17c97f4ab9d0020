"""From a budget to the network that uses it best: phi, or each free axis, is found.

Parameters and multiply-adds are arithmetic, so that thousands of networks can be asked. Memory and latency cost
seconds a network and are asked by halving.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from effdet_lab.arithmetic import count_model
from effdet_lab.errors import ConfigError
from effdet_lab.scaling import Axis
from effdet_lab.sizes import as_bytes
from effdet_lab.spec import BudgetSpec, ExperimentSpec, ModelSpec

STEP = 0.005  # of phi; the networks between two such steps differ in nothing that a paper would print
COARSE = 0.1  # of phi, for a first look over the whole span
DEAR_STEP, DEAR_STRIDE = 0.02, 0.125  # of phi and of an exponent, where each network costs seconds
FIRST_STRIDE = 1.0  # of an exponent, in the search over several axes; it is halved until STEP
# What the search over axes gives for balance: one unit of variance of the exponents is worth so much of the budget.
BALANCE = 0.005
RUNNERS_UP = 3
WASTE = 0.95  # of a budget; where less is used, another question would get a better answer
NEVER = -math.inf
EXPONENTS = "scaling.exponents."
RESOLUTION = f"{EXPONENTS}resolution"

Point = Mapping[str, float]  # a setting, phi or an exponent, and its number


@dataclass(frozen=True)
class Limit:
    """One cost that is limited."""

    name: str  # of the setting
    most: float
    of: Callable[[ExperimentSpec], float]
    said: Callable[[float], str]
    is_dear: bool = False


@dataclass(frozen=True)
class Offer:
    """One network, and what it costs."""

    point: Point
    spec: ExperimentSpec
    costs: Mapping[str, float]
    limits: tuple[Limit, ...]

    @property
    def usage(self) -> dict[str, float]:
        """The share of each limit that it uses."""
        return {limit.name: self.costs[limit.name] / limit.most for limit in self.limits if limit.name in self.costs}

    @property
    def fullness(self) -> float:
        """The share of the limit that binds."""
        return max(self.usage.values())

    @property
    def fits(self) -> bool:
        """Whether no limit is exceeded."""
        return self.fullness <= 1

    @property
    def network(self) -> tuple[int, ...]:
        """What tells it from others."""
        return (*self.spec.model.input.image_size, *count_model(self.spec.model, 1))

    @property
    def overrides(self) -> tuple[str, ...]:
        """What to type for it."""
        return tuple(f"{setting}={number:g}" for setting, number in self.point.items())


@dataclass(frozen=True)
class Answer:
    """The best offer, others worth knowing, and why the best cannot grow."""

    winner: Offer
    runners_up: tuple[Offer, ...]
    reasons: tuple[str, ...]


def limits_of(
    budget: BudgetSpec,
    base: ExperimentSpec,
    latency_ms: Callable[[ExperimentSpec], float],
    memory: Callable[[ExperimentSpec], float],
) -> tuple[Limit, ...]:
    """What is limited, growth against `base`; how to measure what arithmetic does not know is told."""
    known = (
        Limit("budget.macs", budget.macs, _multiply_adds, _giga),
        Limit("budget.growth", budget.growth * _multiply_adds(base), _multiply_adds, _giga),
        Limit("budget.params", budget.params, _parameters, _mega),
        Limit("budget.latency_ms", budget.latency_ms, latency_ms, lambda value: f"{value:.3g} ms", is_dear=True),
        Limit("budget.memory", budget.memory, memory, as_bytes, is_dear=True),
    )
    return tuple(limit for limit in known if limit.most)


def solve(
    settled: Callable[[Point], ExperimentSpec],
    limits: Sequence[Limit],
    span: tuple[float, float],
    free: Sequence[Axis] = (),
) -> Answer:
    """The network of most cost that all limits allow; with free axes the one that uses every limit most.

    Among networks that use the limits alike the one whose axes grow together is taken: the paper's finding.
    `settled` gives the experiment at a phi, or at exponents; `span` is what phi, and each of them, may be.
    Raises: ConfigError where even the smallest network costs too much.
    """
    market = _Market(settled, tuple(limits))
    names = tuple(f"{EXPONENTS}{axis}" for axis in free) or ("phi",)
    along = _line(market, names, span)
    winner = _slide(market, along, span) if len(names) > 1 else along
    runners_up, reasons = _runners_up(market, winner), _reasons(market, winner, span)
    if winner.fullness < WASTE and "phi" in winner.point and not market.dear:
        share = f"{1 - winner.fullness:.0%}".replace("%", " %")
        reasons = (*reasons, f"{share} of the budget is left; larger pictures use it, as the first of the next does.")
        runners_up = (_with_larger_pictures(market, winner, span), *runners_up[:-1])
    return Answer(winner, runners_up, reasons)


class _Market:
    """Every network that was asked for, each asked once."""

    def __init__(self, settled: Callable[[Point], ExperimentSpec], limits: tuple[Limit, ...]) -> None:
        self.limits = limits
        self.cheap = tuple(limit for limit in limits if not limit.is_dear)
        self.dear = tuple(limit for limit in limits if limit.is_dear)
        self.settled = settled
        self.offers: dict[tuple[tuple[str, float], ...], Offer] = {}
        self.asked: dict[tuple[str, ModelSpec], float] = {}

    def ask(self, point: Point, dearly: bool = True) -> Offer:
        """What a network costs; what is dear is not asked where something cheap forbids it already."""
        key = tuple(sorted((setting, round(number, 4)) for setting, number in point.items()))
        known = self.offers.get(key)
        if known is not None and (not dearly or not self.dear or len(known.costs) == len(self.limits)):
            return known
        spec = self.settled(dict(key))
        costs = {limit.name: limit.of(spec) for limit in self.cheap}
        offer = Offer(dict(key), spec, costs, self.limits)
        if dearly and self.dear and all(share <= 1 for share in offer.usage.values()):
            costs |= {limit.name: self._measured(limit, spec) for limit in self.dear}
        self.offers[key] = offer
        return offer

    def _measured(self, limit: Limit, spec: ExperimentSpec) -> float:
        """Of each network once, whichever phi gave it."""
        key = (limit.name, spec.model)
        if key not in self.asked:
            self.asked[key] = limit.of(spec)
        return self.asked[key]


def _line(market: _Market, names: Sequence[str], span: tuple[float, float]) -> Offer:
    """The best network along one number, which all the names share."""
    low, high = span

    def at(number: float, dearly: bool = False) -> Offer:
        return market.ask(dict.fromkeys(names, min(max(number, low), high)), dearly)

    best, top = None, high
    if market.cheap:
        coarse = [at(low + index * COARSE) for index in range(round((high - low) / COARSE) + 1)]
        fitting = [index for index, offer in enumerate(coarse) if offer.fits]
        if fitting:
            edge = low + fitting[-1] * COARSE
            steps = round(COARSE / STEP)
            fine = [at(edge + index * STEP) for index in range(-steps, steps + 1)]
            best = max((offer for offer in [*coarse, *fine] if offer.fits), key=_fullness_then_roundness)
            top = next(iter(best.point.values()))
    if market.dear and (best is not None or not market.cheap):
        best = _halved(at, low, top)
    if best is None:
        raise ConfigError(_too_little(at(low, dearly=True)))
    return best


def _fullness_then_roundness(offer: Offer) -> tuple[float, float, float]:
    """Of phi that give the same network the one nearest to a whole number, and to 0, is the easiest to remember."""
    number = next(iter(offer.point.values()))
    return offer.fullness, -abs(number - round(number)), -abs(number)


def _halved(at: Callable[[float, bool], Offer], low: float, high: float) -> Offer | None:
    """The last network that fits, where every larger one costs more."""
    largest = at(high, True)
    if largest.fits:
        return largest
    best = at(low, True)
    if not best.fits:
        return None
    while high - low > DEAR_STEP:
        middle = round((low + high) / 2 / STEP) * STEP
        offer = at(middle, True)
        if offer.fits:
            low, best = middle, offer
        else:
            high = middle
    return best


def _slide(market: _Market, start: Offer, span: tuple[float, float]) -> Offer:
    """Pattern search: one axis up or down, or one up and another down, in steps that are halved."""
    best, stride = start, FIRST_STRIDE
    smallest = DEAR_STRIDE if market.dear else STEP
    while stride >= smallest:
        better = max((market.ask(point) for point in _neighbours(best.point, stride, span)), key=worth, default=best)
        if worth(better) > worth(best):
            best = better
        else:
            stride /= 2
    return best


def _with_larger_pictures(market: _Market, offer: Offer, span: tuple[float, float]) -> Offer:
    """The same network on the largest pictures that the limits allow."""
    best, exponent = offer, offer.point["phi"]
    while exponent + STEP <= span[1]:
        exponent += STEP
        larger = market.ask({**offer.point, RESOLUTION: exponent})
        if not larger.fits:
            break
        best = larger
    return best


def _neighbours(point: Point, stride: float, span: tuple[float, float]) -> Iterator[Point]:
    low, high = span
    moves = [{name: sign} for name in point for sign in (stride, -stride)]
    moves += [{up: stride, down: -stride} for up in point for down in point if up != down]
    for move in moves:
        moved = {name: number + move.get(name, 0.0) for name, number in point.items()}
        if all(low <= number <= high for number in moved.values()):
            yield moved


def worth(offer: Offer) -> float:
    """How full every limit is, less what the exponents lack of balance."""
    if not offer.fits or len(offer.usage) < len(offer.limits):
        return NEVER
    numbers = list(offer.point.values())
    mean = math.fsum(numbers) / len(numbers)
    variance = math.fsum((number - mean) ** 2 for number in numbers) / len(numbers)
    return math.fsum(map(math.log, offer.usage.values())) - BALANCE * variance


def _runners_up(market: _Market, winner: Offer) -> tuple[Offer, ...]:
    """The next best networks that fit, each another one than those before."""
    order = sorted(
        (offer for offer in market.offers.values() if offer.fits and len(offer.usage) == len(offer.limits)),
        key=worth if len(winner.point) > 1 else lambda offer: offer.fullness,
        reverse=True,
    )
    chosen = {winner.network: winner}
    for offer in order:
        if len(chosen) <= RUNNERS_UP:
            chosen.setdefault(offer.network, offer)
    return tuple(chosen.values())[1:]


def _reasons(market: _Market, winner: Offer, span: tuple[float, float]) -> tuple[str, ...]:
    """For each number that was free: the next larger network along it, and which limit it would exceed."""
    return tuple(_reason(market, winner, name, span) for name in winner.point)


def _reason(market: _Market, winner: Offer, name: str, span: tuple[float, float]) -> str:
    step = DEAR_STEP if market.dear else STEP
    number = winner.point[name]
    while number + step <= span[1] + 1e-9:
        number += step
        offer = market.ask({**winner.point, name: number})
        if not offer.fits:
            limit = max(
                (limit for limit in offer.limits if limit.name in offer.usage), key=lambda one: offer.usage[one.name]
            )
            excess = f"{offer.usage[limit.name] - 1:.1%}".replace("%", " %")
            return (
                f"{name} cannot grow: at {number:.4g} it would cost {limit.said(offer.costs[limit.name])}, "
                f"{excess} above {limit.name}={limit.said(limit.most)}."
            )
    return f"{name} cannot grow: {span[1]:g} is the highest that is known. scaling=formula may go further."


def _too_little(smallest: Offer) -> list[str]:
    return [
        f"{limit.name}={limit.said(limit.most)}: even {', '.join(smallest.overrides)} costs "
        f"{limit.said(smallest.costs[limit.name])}. Nearest: {limit.said(smallest.costs[limit.name])}."
        for limit in smallest.limits
        if smallest.usage.get(limit.name, 0) > 1
    ]


def _multiply_adds(spec: ExperimentSpec) -> float:
    return count_model(spec.model, spec.data.num_classes or 1).multiply_adds


def _parameters(spec: ExperimentSpec) -> float:
    return count_model(spec.model, spec.data.num_classes or 1).parameters


def _giga(value: float) -> str:
    return f"{value / 1e9:.4g}G"


def _mega(value: float) -> str:
    return f"{value / 1e6:.4g}M"
