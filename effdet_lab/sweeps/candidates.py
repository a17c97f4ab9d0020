"""Who says what the next job of a sweep is: a list that was typed, or a search that learns from the jobs before."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from effdet_lab.spec import ExperimentSpec
from effdet_lab.sweeps.ledger import Entry


class Candidate(NamedTuple):
    """A job to run."""

    spec: ExperimentSpec
    overrides: tuple[str, ...]


class Candidates(Protocol):
    """Asked for the next job whenever there is room, and told of everything that happens to those it gave."""

    judges: bool  # whether `watch` may want a job to stop, so that the job waits for its word

    def ask(self, number: int) -> Candidate | None:
        """The job that will have this number; None: there is none, or none yet."""
        ...

    def watch(self, entry: Entry, epoch: int, metrics: Mapping[str, float]) -> bool:
        """What a running job measured; True: it should stop."""
        ...

    def score(self, entry: Entry) -> Mapping[str, float]:
        """Further metrics of a job that has ended, which only the candidates know."""
        ...

    def tell(self, entry: Entry) -> None:
        """How a job ended."""
        ...


class Listed:
    """Jobs that are known from the start, in their order."""

    judges = False

    def __init__(self, candidates: Sequence[Candidate] = ()) -> None:
        self.candidates = list(candidates)

    def ask(self, number: int) -> Candidate | None:
        return self.candidates[number] if number < len(self.candidates) else None

    def watch(self, entry: Entry, epoch: int, metrics: Mapping[str, float]) -> bool:
        return False

    def score(self, entry: Entry) -> Mapping[str, float]:
        return {}

    def tell(self, entry: Entry) -> None:
        pass
