"""How the jobs of a sweep are found and run, settled: it is not part of any of them."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class ClusterSpec:
    """Where the jobs of a sweep run."""

    name: Literal["local", "joblib", "slurm", "ray"]
    at_once: int  # 0: as the machine has room
    partition: str = ""
    account: str = ""
    hours: float = 24.0
    memory_gb: float = 0.0  # 0: as the cluster gives
    cpus_per_task: int = 0  # 0: one for each data worker, and one
    requeues: int = 0  # how often a job that ran out of its hours goes back into the queue
    dry: bool = False  # submitit's local executor in Slurm's place
    address: str = ""  # of Ray's head; empty: a cluster of this machine

    @property
    def is_elsewhere(self) -> bool:
        """Whether jobs run on other machines than the one that asks for them."""
        return (self.name == "slurm" and not self.dry) or (self.name == "ray" and bool(self.address))


@dataclass(frozen=True)
class Dimension:
    """A setting that a search may choose: one of `choices`, else a number from `low` to `high`."""

    setting: str
    choices: tuple[float | str | bool, ...] = ()
    low: float = 0.0
    high: float = 0.0
    step: float = 0.0  # 0: any number between
    log: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether only whole numbers are meant."""
        return bool(self.step) and all(float(value).is_integer() for value in (self.low, self.high, self.step))

    def ends(self) -> tuple[float | int | str | bool, ...]:
        """Every choice, or the lowest and the highest number."""
        if self.choices:
            return self.choices
        return (int(self.low), int(self.high)) if self.is_whole else (self.low, self.high)


@dataclass(frozen=True)
class SearchSpec:
    """How candidates are found."""

    name: Literal["none", "random", "grid", "tpe", "cmaes", "nsga2"]
    trials: int
    metric: str  # empty: the one that decides which weights are best
    against: Literal["", "parameters", "multiply_adds", "latency_ms"]
    prune: Literal["none", "asha", "hyperband", "median"]
    seed: int
    storage: str  # empty: a file in the sweep's folder
    warm_start: tuple[str, ...]
    space: tuple[Dimension, ...]
    agent: Literal["optuna", "wandb"] = "optuna"
    min_epochs: int = 1  # before a trial may fall behind
    target: int = 0  # multiply-adds; the metric is weighed by (multiply-adds / target) ** exponent. 0: it is not
    exponent: float = -0.07
    tolerance: float = 0.0  # of alpha * beta^2 * gamma^2 around 2; 0: any product


@dataclass(frozen=True)
class SweepSpec:
    """How the jobs of a sweep are found and run, whatever they are."""

    resume: bool
    retries: int
    cluster: ClusterSpec
    search: SearchSpec
