"""What a training costs in memory and arithmetic, from one step on the meta device, where nothing is computed."""

import math
from dataclasses import dataclass, field, fields
from functools import lru_cache

import torch

from effdet_lab.models.build import build_model
from effdet_lab.models.counting import Count, Tally
from effdet_lab.models.memory import MemoryTrace
from effdet_lab.run.rehearsal import given_tensors, loss_of, normalised, prepared, random_batch
from effdet_lab.spec import ExperimentSpec, ModelSpec, with_classes

TRACED = 4  # pictures; what does not grow with them, such as a gradient that a layer hands on, weighs a fourth
FLOAT, HALF = 4, 2  # bytes
# What an optimiser keeps of each trained parameter besides its momentum, which is one number where there is any.
SECOND_MOMENTS = {"sgd": 0, "adamw": 1, "rmsproptf": 1}
# On the CPU freed blocks stay in glibc's heap (run/memory.py), and the next ones do not quite fit the holes. Source:
# the mean of six networks in 14 runs of ten steps or more, between 1.22 and 1.53; benchmarks/memory.py measures three.
HEAP = 1.34


@dataclass(frozen=True)
class Memory:
    """Of a training step on one device, in bytes. The parts add up to the peak."""

    weights: int  # parameters and running statistics, with half precision's copies
    gradients: int
    optimiser: int  # momentum and second moments
    average: int  # the running average of the weights
    activations: int  # kept for the backward pass, of all pictures of the device
    passing: int  # what comes and goes besides them at the worst moment
    heap: int  # holes that the processor's allocator cannot fill

    @property
    def peak(self) -> int:
        """All of them."""
        return sum(getattr(self, field.name) for field in fields(self))


@dataclass(frozen=True)
class Network:
    """What a network costs whatever trains it."""

    counts: dict[str, Count]
    parameters: int  # all, in numbers
    trained: int
    buffers: int  # bytes
    activations: int  # bytes that a picture keeps for the backward pass
    worst: int  # bytes of a picture at the worst moment


def training_memory(spec: ExperimentSpec) -> Memory:
    """What one device needs for a step. On GPUs the driver's own part is not in it."""
    return memory_of(spec, network_of(spec), pictures_of_device(spec))


def pictures_of_device(spec: ExperimentSpec) -> int:
    """The share of a batch."""
    return math.ceil(spec.data.batch_size / spec.trainer.world_size)


def memory_of(spec: ExperimentSpec, network: Network, pictures: int) -> Memory:
    """What a step of so many pictures needs."""
    optim, trainer = spec.optim, spec.trainer
    processes = trainer.world_size
    shards = processes if trainer.strategy == "fsdp" else 1
    trained, all_of_it = FLOAT * network.trained, FLOAT * network.parameters + network.buffers
    weights = all_of_it // shards
    if shards > 1:
        weights += all_of_it  # gathered for its turn, at worst all of it
    if trainer.precision != "32":
        weights += HALF * network.parameters
    # Several processes exchange gradients by way of buckets that hold them once more.
    copies = 2 if processes > 1 and shards == 1 else 1
    moments = SECOND_MOMENTS[optim.name] + (optim.momentum > 0 or optim.name == "adamw")
    activations, passing = pictures * network.activations, pictures * (network.worst - network.activations)
    return Memory(
        weights=weights,
        gradients=copies * trained // shards,
        optimiser=moments * trained // shards,
        average=all_of_it // shards if optim.ema_decay else 0,
        activations=activations,
        passing=passing,
        heap=0 if trainer.gpus else round((HEAP - 1) * (activations + passing)),
    )


def network_of(spec: ExperimentSpec) -> Network:
    """What its network costs; the same network is asked once."""
    if not spec.data.num_classes:  # the data tells later; one class is enough to count what does not depend on them
        spec = with_classes(spec, ("class",), (1,))
    trainer = spec.trainer
    return _traced(
        _Shaping(
            *(spec.model, spec.data.num_classes, spec.optim.freeze),
            *(trainer.channels_last, trainer.precision == "32", spec),
        )
    )


@dataclass(frozen=True)
class _Shaping:
    """What of an experiment shapes a step; experiments that differ in the rest are one."""

    model: ModelSpec
    num_classes: int
    freeze: tuple[str, ...]
    channels_last: bool
    is_full: bool
    spec: ExperimentSpec = field(compare=False, repr=False)


@lru_cache(maxsize=64)
def _traced(shaping: _Shaping) -> Network:
    """One step forth and back. Mixed precision is traced as half precision: its losses widen by themselves."""
    spec = shaping.spec
    dtype = torch.float32 if shaping.is_full else torch.bfloat16
    with torch.device("meta"):
        model = prepared(spec, build_model(spec))
        batch = random_batch(spec, TRACED, spec.model.input.image_size)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    buffers = sum(buffer.nbytes for buffer in model.buffers())
    model = model.to(dtype)
    tally = Tally(model)
    with MemoryTrace(given_tensors(model, batch)) as trace:
        for parameter in trained:
            parameter.register_post_accumulate_grad_hook(lambda parameter: trace.forget(parameter.grad))
        images_BCHW = normalised(spec, batch.images_BCHW, dtype)
        trace.witness = tally
        answer = model(images_BCHW)
        trace.witness = None
        loss = loss_of(spec, answer, batch, trace.only_what_remains())
        del images_BCHW, answer
        kept = trace.live
        loss.backward()
    pictures = batch.images_BCHW.nbytes
    return Network(
        counts=tally.counts(TRACED),
        parameters=parameters,
        trained=sum(parameter.numel() for parameter in trained),
        buffers=buffers,
        activations=(kept + pictures) // TRACED,
        worst=(trace.peak + pictures) // TRACED,
    )
