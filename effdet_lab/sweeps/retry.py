"""What a second attempt at a job does otherwise than the first."""

import dataclasses
from typing import NamedTuple

from effdet_lab.run.outcome import Outcome
from effdet_lab.spec import ExperimentSpec


class Again(NamedTuple):
    """The experiment of the next attempt, and what changed."""

    spec: ExperimentSpec
    change: str


def again(spec: ExperimentSpec, outcome: Outcome) -> Again | None:
    """None where another attempt would end like this one.

    Too little memory: half of the batch at a time, twice as many batches a step, so that a step still sees as many
    pictures and the learning rate stays right. A lost process: the same, from the last checkpoint.
    """
    match outcome.kind:
        case "lost":
            return Again(spec, "from the last checkpoint")
        case "out_of_memory":
            half, rest = divmod(spec.data.batch_size, 2)
            world = spec.trainer.world_size
            if rest or half < world or half % world:
                return None
            accumulate = spec.trainer.accumulate * 2
            data = dataclasses.replace(spec.data, batch_size=half)
            trainer = dataclasses.replace(spec.trainer, accumulate=accumulate)
            change = f"data.batch_size={half} trainer.accumulate={accumulate}"
            return Again(dataclasses.replace(spec, data=data, trainer=trainer), change)
        case _:
            return None
