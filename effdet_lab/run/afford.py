"""A command with a budget: what it finds takes the budget's place among the overrides."""

from collections.abc import Sequence

from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from effdet_lab.arithmetic import count_model
from effdet_lab.errors import ConfigError
from effdet_lab.run.budget import Answer, Offer, Point, limits_of, solve
from effdet_lab.run.say import WIDTH
from effdet_lab.settings.compose import budget_of, key_of, settings_of
from effdet_lab.settings.judge import judge
from effdet_lab.settings.rules import span_of
from effdet_lab.settings.settle import settle
from effdet_lab.spec import ExperimentSpec

GROUP = "budget"


def afford(overrides: Sequence[str], config: DictConfig) -> Answer | None:
    """What the budget finds; None where none is given.

    Raises: ConfigError where it finds nothing, or where phi was typed too.
    """
    budget = budget_of(config)
    if not budget.is_given:
        return None
    if not budget.free and any(key_of(text) == "phi" for text in overrides):
        raise ConfigError(f"phi={config.phi:g}: the budget finds phi. Leave one of them out, or name budget.free.")
    settings = settings_of(config)

    def settled(point: Point) -> ExperimentSpec:
        exponents = {name.rpartition(".")[2]: value for name, value in point.items() if name != "phi"}
        scaling = {**settings["scaling"], "exponents": {**settings["scaling"]["exponents"], **exponents}}
        return settle({**settings, "scaling": scaling, "phi": point.get("phi", settings["phi"])})

    return solve(
        settled, limits_of(budget, settled({"phi": 0.0}), _latency_ms, _memory), span_of(judge(settings)), budget.free
    )


def without_budget(overrides: Sequence[str], answer: Answer) -> list[str]:
    """The overrides of the network that was found."""
    kept = [text for text in overrides if key_of(text).partition(".")[0] != GROUP]
    return [*kept, *answer.winner.overrides]


def show_answer(answer: Answer) -> None:
    """The winner, its runners-up, and why it cannot grow."""
    console = Console(width=WIDTH)
    limits = answer.winner.limits
    table = Table(title="What the budget buys")
    for name in ("", "settings", "pixels", "parameters", "multiply-adds"):
        table.add_column(name, justify="left" if name in ("", "settings") else "right")
    for limit in limits:
        table.add_column(f"of {limit.name}", justify="right")
    for place, offer in enumerate([answer.winner, *answer.runners_up]):
        table.add_row("next" if place else "best", *_row(offer))
    console.print(table)
    for reason in answer.reasons:
        console.print(reason, highlight=False, markup=False)


def _row(offer: Offer) -> list[str]:
    spec = offer.spec
    parameters, multiply_adds = count_model(spec.model, spec.data.num_classes or 1)
    height, width = spec.model.input.image_size
    shares = [
        f"{limit.said(offer.costs[limit.name])} ({offer.usage[limit.name]:.1%})".replace("%", " %")
        for limit in offer.limits
    ]
    return [" ".join(offer.overrides), f"{height} x {width}", f"{parameters:,}", f"{multiply_adds:,}", *shares]


def _latency_ms(spec: ExperimentSpec) -> float:
    import torch  # what is measured needs it

    from effdet_lab.models.build import build_model
    from effdet_lab.run.latency import latency_ms

    device = torch.device("cuda" if spec.trainer.gpus else "cpu")
    return latency_ms(build_model(with_some_class(spec)), spec.model.input.image_size, device)


def _memory(spec: ExperimentSpec) -> float:
    from effdet_lab.run.pricing import training_memory

    return training_memory(with_some_class(spec)).peak


def with_some_class(spec: ExperimentSpec) -> ExperimentSpec:
    """Where the data tells its classes later, one is enough to count what does not depend on them."""
    from effdet_lab.spec import with_classes

    return spec if spec.data.num_classes else with_classes(spec, ("class",), (1,))
