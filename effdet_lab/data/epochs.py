"""How long a training is: pictures become batches, steps and epochs. No torch here."""

import dataclasses
import logging
import math

from effdet_lab.spec import ExperimentSpec

log = logging.getLogger("effdet_lab")


def batch_size(spec: ExperimentSpec) -> int:
    """Pictures that one process has in a batch."""
    return max(1, spec.data.batch_size // spec.trainer.world_size)


def steps_per_epoch(spec: ExperimentSpec, pictures: int) -> int:
    """Steps of the optimiser over so many training pictures."""
    share = math.ceil(pictures / spec.trainer.world_size)
    return math.ceil(max(1, share // batch_size(spec)) / spec.trainer.accumulate)


def epochs_of(spec: ExperimentSpec, steps: int) -> int:
    """As many as were asked for, or as `trainer.min_steps` takes with so many steps an epoch."""
    return max(spec.trainer.max_epochs, math.ceil(spec.trainer.min_steps / steps))


def long_enough(spec: ExperimentSpec, pictures: int) -> ExperimentSpec:
    """The same experiment with as many epochs of its training pictures as `trainer.min_steps` takes.

    The evaluations stay as many; an experiment that is long enough stays as it is.
    """
    trainer, steps = spec.trainer, steps_per_epoch(spec, pictures)
    epochs = epochs_of(spec, steps)
    if epochs == trainer.max_epochs:
        return spec
    log.info("%d steps an epoch: trainer.min_steps=%d takes %d epochs.", steps, trainer.min_steps, epochs)
    every = trainer.evaluate_every * epochs // trainer.max_epochs
    return dataclasses.replace(spec, trainer=dataclasses.replace(trainer, max_epochs=epochs, evaluate_every=every))
