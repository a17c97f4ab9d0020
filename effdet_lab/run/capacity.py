"""How much memory a device has, and which batches fit into it."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

from effdet_lab.run.pricing import Network, memory_of, pictures_of_device
from effdet_lab.sizes import as_bytes
from effdet_lab.spec import ExperimentSpec

MEMINFO = Path("/proc/meminfo")
GROUP_LIMIT, GROUP_USED = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")


@dataclass(frozen=True)
class Capacity:
    """The memory of one device."""

    size: int  # bytes
    what: str


def capacity(spec: ExperimentSpec) -> Capacity | None:
    """What `plan.memory` names, else what is here; None for GPUs that are elsewhere."""
    if spec.plan.memory:
        return Capacity(spec.plan.memory, "the device of plan.memory")
    if spec.trainer.gpus:
        return _gpu(spec.trainer.gpus)
    free = available_memory()
    processes = spec.trainer.processes
    if processes == 1:
        return Capacity(free, "this machine")
    return Capacity(free // processes, f"each of {processes} processes here")


def available_memory() -> int:
    """Bytes that programs can still get here: the system's, or what is left of the container's limit."""
    try:
        lines = dict(line.split(":") for line in MEMINFO.read_text().splitlines())
        free = int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(free, int(GROUP_LIMIT.read_text()) - int(GROUP_USED.read_text()))
    except (OSError, ValueError):  # no such limit, or the word max
        return free


def _gpu(wanted: int) -> Capacity | None:
    import torch

    if not torch.cuda.is_available():
        return None
    devices = [torch.cuda.get_device_properties(number) for number in range(min(wanted, torch.cuda.device_count()))]
    smallest = min(devices, key=lambda device: device.total_memory)
    return Capacity(smallest.total_memory, smallest.name)


def misfit(spec: ExperimentSpec, network: Network, room: Capacity) -> str:
    """Why a step does not fit, and which batch would; empty where it does."""
    needed = memory_of(spec, network, pictures_of_device(spec)).peak
    if needed <= room.size:
        return ""
    problem = (
        f"data.batch_size={spec.data.batch_size}: a step needs {as_bytes(needed)} a device, and {room.what} has "
        f"{as_bytes(room.size)}."
    )
    other = smaller_batch(spec, network, room.size)
    if other is None:
        least = memory_of(spec, network, 1).peak
        return f"{problem} One picture alone needs {as_bytes(least)}. Use a smaller phi or model.image_size."
    would = memory_of(other, network, pictures_of_device(other)).peak
    return (
        f"{problem} data.batch_size={other.data.batch_size} trainer.accumulate={other.trainer.accumulate} "
        f"would need {as_bytes(would)}."
    )


def smaller_batch(spec: ExperimentSpec, network: Network, size: int) -> ExperimentSpec | None:
    """The largest batch that fits and whose accumulated steps see as many pictures as before; None: not one picture.

    Its learning rate is the same, for it is settled for the pictures of a step.
    """
    seen = spec.data.batch_size * spec.trainer.accumulate
    for batch in range(spec.data.batch_size - 1, 0, -1):
        if batch % spec.trainer.world_size or seen % batch:
            continue
        other = replace(
            spec,
            data=replace(spec.data, batch_size=batch),
            trainer=replace(spec.trainer, accumulate=seen // batch),
        )
        if memory_of(other, network, pictures_of_device(other)).peak <= size:
            return other
    return None
