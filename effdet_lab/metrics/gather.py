"""One gather over the processes, and every picture counted once however many of them saw it."""

from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor

Answer = TypeVar("Answer")


def rank_and_world() -> tuple[int, int]:
    """This process's number and how many there are."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def joined(parts: list[Tensor], dtype: torch.dtype, *row: int) -> NDArray:
    """One array of a metric's tensors, batch after batch; a process that saw no batch has an empty one."""
    return torch.cat([torch.empty((0, *row), dtype=dtype), *(part.cpu().to(dtype) for part in parts)]).numpy()


def gather_columns(columns: tuple[NDArray, ...]) -> tuple[NDArray, ...]:
    """Every process's arrays joined along their first axis, in the order of the ranks; one collective call."""
    _, world = rank_and_world()
    if world == 1:
        return columns
    shards: list[tuple[NDArray, ...] | None] = [None] * world
    dist.all_gather_object(shards, columns)
    return tuple(np.concatenate(parts) for parts in zip(*shards, strict=True))


def first_visits(image_ids_V: NDArray[np.int64]) -> NDArray[np.int64]:
    """The row of each picture's first visit, pictures in the order of their ids.

    Distributed samplers pad their shards with pictures another process has; counting them twice moves the metrics.
    """
    return np.unique(image_ids_V, return_index=True)[1]


def on_first_rank(work: Callable[[], Answer]) -> Answer:
    """Let the first process work and tell all of them the answer, or the error, so that none waits in vain."""
    rank, world = rank_and_world()
    if world == 1:
        return work()
    message: list[Answer | Exception | None] = [None]
    if rank == 0:
        try:
            message[0] = work()
        except Exception as error:
            message[0] = error
    dist.broadcast_object_list(message, src=0)
    if isinstance(message[0], Exception):
        raise message[0]
    return message[0]  # type: ignore[return-value]
