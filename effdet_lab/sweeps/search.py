"""Candidates from a search: Optuna proposes, its storage remembers, and the ledger says which job was which trial."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from effdet_lab.arithmetic import count_model
from effdet_lab.errors import MachineError
from effdet_lab.run.folder import read_spec
from effdet_lab.run.jobs import spec_of, written
from effdet_lab.run.record import COSTS
from effdet_lab.sweep_spec import Dimension, SearchSpec
from effdet_lab.sweeps.candidates import Candidate
from effdet_lab.sweeps.grid import count_of, points_of
from effdet_lab.sweeps.ledger import OVER, Entry, Ledger, read_ledger
from effdet_lab.sweeps.table import REWARD, typed

try:
    import optuna
    from optuna.distributions import (
        BaseDistribution,
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )
    from optuna.trial import TrialState
except ImportError:
    raise MachineError("search: Optuna is not installed. Install it with pip install 'effdet-lab[search]'.") from None

FILE = "study.log"
NAME = "effdet_lab"
FIRST = "first_trial"  # the study's trials before it came from earlier sweeps


class Search:
    """Trials of one study. Its trial numbers are the jobs', after those of earlier sweeps."""

    def __init__(self, search: SearchSpec, ledger: Ledger, base: Sequence[str], metric: str) -> None:
        self.search, self.ledger, self.base = search, ledger, base
        self.metric = search.metric or metric
        self.judges = search.prune != "none"
        self.distributions = {dimension.setting: distribution(dimension) for dimension in search.space}
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.grid = points_of(search) if search.name == "grid" else []
        self.study = _study(search, ledger.folder)
        if FIRST not in self.study.user_attrs:
            for earlier in search.warm_start:
                self._learn_from(read_ledger(Path(earlier)))
            self.study.set_user_attr(FIRST, len(self.study.get_trials(deepcopy=False)))
        self.first = self.study.user_attrs[FIRST]
        for entry in ledger.entries:  # a kill may have come between a job's end and the study's hearing of it
            if entry.state in OVER and not self._trial(entry.number).state.is_finished():
                self.tell(replace(entry, metrics={**entry.metrics, **self.score(entry)}))

    def ask(self, number: int) -> Candidate | None:
        """A new trial, or one that was drawn and whose job a kill forgot."""
        if number >= count_of(self.search):
            return None
        known = self.study.get_trials(deepcopy=False)
        if self.first + number < len(known):
            parameters = known[self.first + number].params
        else:
            # A sampler that starts from the same seed again would propose the same again.
            self.study.sampler = _sampler(self.search, self.search.seed + len(known))
            if self.grid:
                self.study.enqueue_trial(self.grid[number])
            parameters = self.study.ask(self.distributions).params
        spec = spec_of(self.base, parameters)
        return Candidate(spec, spec.overrides)

    def watch(self, entry: Entry, epoch: int, metrics: Mapping[str, float]) -> bool:
        """Whether the trial has fallen behind."""
        if self.search.prune == "none" or self.metric not in metrics:
            return False
        trial = optuna.trial.Trial(self.study, self._trial(entry.number)._trial_id)
        trial.report(metrics[self.metric] * self._weight(entry), epoch)
        return trial.should_prune()

    def score(self, entry: Entry) -> Mapping[str, float]:
        """The reward, where it is another number than the metric."""
        if not self.search.target or self.metric not in entry.metrics:
            return {}
        return {REWARD: entry.metrics[self.metric] * self._weight(entry)}

    def tell(self, entry: Entry) -> None:
        """What the trial achieved; one that was ended early counts with what it had."""
        number = self.first + entry.number
        values = self._values(entry)
        if entry.state == "stopped":
            self.study.tell(number, state=TrialState.PRUNED)
        elif entry.state == "done" and values is not None:
            self.study.tell(number, values)
        else:
            self.study.tell(number, state=TrialState.FAIL)

    def _trial(self, number: int) -> Any:
        return self.study.get_trials(deepcopy=False)[self.first + number]

    def _values(self, entry: Entry, folder: Path | None = None) -> list[float] | None:
        """The metric, and what it is weighed against."""
        if self.metric not in entry.metrics:
            return None
        values = [entry.metrics.get(REWARD, entry.metrics[self.metric])]
        if self.search.against:
            try:
                costs = json.loads(((folder or self.ledger.job_folder(entry.number)) / COSTS).read_text())
                values.append(float(costs[self.search.against]))
            except (OSError, ValueError, KeyError):
                return None
        return values

    def _weight(self, entry: Entry) -> float:
        """What more multiply-adds than the target cost, and fewer give.

        Source: Tan et al., MnasNet (CVPR 2019), equation 3; Tan & Le 2019, section 4.
        """
        if not self.search.target:
            return 1.0
        spec = read_spec(self.ledger.job_folder(entry.number))
        multiply_adds = count_model(spec.model, spec.data.num_classes or 1).multiply_adds
        return (multiply_adds / self.search.target) ** self.search.exponent

    def _learn_from(self, earlier: Ledger) -> None:
        """Its finished jobs as trials, where they say every setting of this space."""
        for entry in earlier.entries:
            said = typed(entry)
            values = self._values(entry, earlier.job_folder(entry.number))
            if entry.state != "done" or values is None or not set(self.distributions) <= set(said):
                continue
            parameters = {name: _read(said[name], self.distributions[name]) for name in self.distributions}
            if all(
                self.distributions[name]._contains(_internal(self.distributions[name], value))
                for name, value in parameters.items()
            ):
                self.study.add_trial(
                    optuna.create_trial(params=parameters, distributions=self.distributions, values=values)
                )


def distribution(dimension: Dimension) -> "BaseDistribution":
    """Optuna's word for a dimension."""
    if dimension.choices:
        return CategoricalDistribution(dimension.choices)
    if dimension.is_whole:
        return IntDistribution(int(dimension.low), int(dimension.high), step=int(dimension.step))
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log, step=dimension.step or None)


def _study(search: SearchSpec, folder: Path) -> "optuna.Study":
    if search.storage:
        storage, name = search.storage, f"{NAME}/{folder.absolute()}"
    else:
        backend = optuna.storages.journal.JournalFileBackend(str(folder / FILE))
        storage, name = optuna.storages.JournalStorage(backend), NAME
    return optuna.create_study(
        study_name=name,
        storage=storage,
        load_if_exists=True,
        directions=["maximize", *(["minimize"] if search.against else [])],
        sampler=_sampler(search, search.seed),
        pruner=_pruner(search),
    )


def _sampler(search: SearchSpec, seed: int) -> "optuna.samplers.BaseSampler":
    match search.name:
        case "random" | "grid":
            return optuna.samplers.RandomSampler(seed=seed)
        case "cmaes":
            return optuna.samplers.CmaEsSampler(seed=seed)
        case "nsga2":
            return optuna.samplers.NSGAIISampler(seed=seed)
        case _:
            return optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True)


def _pruner(search: SearchSpec) -> "optuna.pruners.BasePruner":
    match search.prune:
        case "asha":
            return optuna.pruners.SuccessiveHalvingPruner(min_resource=search.min_epochs, reduction_factor=3)
        case "hyperband":
            return optuna.pruners.HyperbandPruner(min_resource=search.min_epochs, reduction_factor=3)
        case "median":
            return optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=search.min_epochs)
        case _:
            return optuna.pruners.NopPruner()


def _read(text: str, distribution: "BaseDistribution") -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return next((choice for choice in distribution.choices if written(choice) == text), text)
    return int(float(text)) if isinstance(distribution, IntDistribution) else float(text)


def _internal(distribution: "BaseDistribution", value: Any) -> float:
    try:
        return distribution.to_internal_repr(value)
    except ValueError:
        return float("nan")
