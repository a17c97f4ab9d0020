"""A budget becomes the network that uses it best."""

import subprocess
import sys
from dataclasses import replace

import pytest

from effdet_lab import ConfigError
from effdet_lab.arithmetic import count_model
from effdet_lab.run.afford import afford, without_budget
from effdet_lab.run.budget import Limit, solve, worth
from effdet_lab.run.jobs import single, sweep
from effdet_lab.settings.compose import compose, compose_config, settings_of
from effdet_lab.settings.settle import settle


def answered(*overrides: str):
    return afford(overrides, compose_config(overrides))


@pytest.mark.parametrize("model", ["efficientnet", "efficientdet"])
def test_a_billion_multiply_adds_are_used_to_two_percent(model):
    answer = answered(f"model={model}", "budget.macs=1G")
    spec = compose(f"model={model}", *answer.winner.overrides)
    counted = count_model(spec.model, spec.data.num_classes).multiply_adds
    assert counted == answer.winner.costs["budget.macs"]
    assert 0.98e9 <= counted <= 1e9


def test_where_no_phi_uses_the_budget_larger_pictures_are_offered_too():
    answer = answered("model=efficientnet", "budget.macs=550M")
    assert answer.winner.fullness < 0.75  # any phi above 0 adds a block to every stage
    larger = answer.runners_up[0]
    assert "scaling.exponents.resolution" in larger.point
    assert 0.9 < larger.fullness <= 1
    assert "larger pictures" in answer.reasons[-1]


def test_no_network_of_the_family_uses_the_budget_better():
    answer = answered("model=efficientnet", "budget.params=10M")
    settings = settings_of(compose_config(["model=efficientnet"]))
    for step in range(-600, 801):
        parameters = count_model(settle({**settings, "phi": step / 100}).model, 10).parameters
        assert parameters > 10e6 or parameters <= answer.winner.costs["budget.params"]


def test_of_phi_that_give_the_same_network_the_roundest_is_named():
    small = ("model=efficientnet", "scaling=resolution", "scaling.base.resolution=0.1429", "budget.growth=1")
    assert answered(*small).winner.point == {"phi": 0}  # 32 pixels are the smallest, at any phi below


def test_the_limit_that_binds_decides_and_the_reason_names_it():
    answer = answered("model=efficientnet", "budget.macs=10G", "budget.params=6M")
    assert answer.winner.usage["budget.macs"] < 0.2
    assert answer.winner.usage["budget.params"] > 0.6
    assert "budget.params=6M" in answer.reasons[0]
    assert all(offer.fits for offer in answer.runners_up)


def test_free_axes_fill_two_limits_at_once():
    both = ("model=efficientnet", "scaling=formula", "budget.macs=2G", "budget.params=5M")
    bound = answered(*both)
    free = answered(*both, "budget.free=[depth,width,resolution]")
    assert min(bound.winner.usage.values()) < 0.6
    assert min(free.winner.usage.values()) > 0.97
    assert len(free.reasons) == 3


def test_one_limit_is_filled_along_the_line_on_which_all_axes_grow_together():
    answer = answered("model=efficientnet", "scaling=formula", "budget.macs=1G", "budget.free=[depth,width,resolution]")
    numbers = answer.winner.point.values()
    assert max(numbers) - min(numbers) < 1


def test_of_two_networks_that_cost_the_same_the_balanced_one_is_taken():
    answer = answered("model=efficientnet", "scaling=formula", "budget.macs=1G", "budget.free=[depth,width]")
    axes = ("scaling.exponents.depth", "scaling.exponents.width")
    even, uneven = (replace(answer.winner, point=dict(zip(axes, at, strict=True))) for at in ((1, 1), (3, -1)))
    assert even.usage == uneven.usage
    assert worth(even) > worth(uneven)


def test_what_is_found_is_typed_in_the_budget_s_place():
    overrides = ("model=efficientdet", "budget.macs=1G", "seed=3")
    answer = answered(*overrides)
    assert without_budget(overrides, answer) == ["model=efficientdet", "seed=3", *answer.winner.overrides]
    spec = single(overrides).spec
    assert spec.phi == answer.winner.point["phi"]
    assert not any(text.startswith("budget") for text in spec.overrides)


def test_a_sweep_over_budgets_has_a_phi_for_each():
    jobs = sweep(("model=efficientnet", "budget.macs=50M,100M")).jobs
    phis = [job.spec.phi for job in jobs]
    assert phis[0] < phis[1]


def test_a_dear_limit_is_asked_of_few_networks_and_met():
    asked, settings = [], settings_of(compose_config(["model=efficientnet"]))

    def settled(point):
        return settle({**settings, **point})

    def milliseconds(spec):
        asked.append(spec.phi)
        return 10 * 1.92**spec.phi

    limits = (
        Limit("budget.params", 50e6, lambda spec: count_model(spec.model, 10).parameters, str),
        Limit("budget.latency_ms", 20.0, milliseconds, str, is_dear=True),
    )
    winner = solve(settled, limits, (-6.0, 8.0)).winner
    assert winner.fits
    assert winner.costs["budget.latency_ms"] > 19.5
    assert len(asked) < 25


REFUSED = [
    (("model=efficientnet", "budget.macs=1M"), "even phi=-6 costs"),
    (("model=efficientnet", "budget.macs=1G", "phi=2"), "phi=2: the budget finds phi."),
    (("model=efficientnet", "budget.macs=much"), "budget.macs=much: must be a number as 2G"),
    (("model=efficientnet", "budget.memory=8Gb8"), "budget.memory=8Gb8: must be a size"),
    (("model=efficientnet", "backbone=convnext_tiny", "budget.macs=1G"), "backbone=timm has one size."),
    (("model=efficientnet", "budget.macs=1G", "budget.free=[heads]"), "budget.free=heads: a classifier has none."),
    (("model=efficientnet", "budget.free=[depth]"), "budget.free: there is nothing to spend."),
    (
        ("model=efficientnet", "budget.macs=1G", "budget.free=[depth]", "scaling.exponents.depth=1"),
        "scaling.exponents.depth=1: budget.free finds it.",
    ),
]


@pytest.mark.parametrize(("overrides", "sentence"), REFUSED, ids=lambda value: str(value)[:60])
def test_a_budget_that_cannot_be_spent_is_refused(overrides, sentence):
    with pytest.raises(ConfigError) as refusal:
        answered(*overrides)
    assert sentence in str(refusal.value)


def test_a_budget_of_multiply_adds_needs_no_torch():
    code = (
        "import sys; from effdet_lab.run.jobs import single; single(['model=efficientnet', 'budget.macs=1G']);"
        "assert not {'torch', 'timm'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
