"""Parameters and multiply-adds, part by part, without computing anything."""

from collections.abc import Mapping
from copy import deepcopy
from itertools import accumulate, chain
from typing import NamedTuple

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


class Count(NamedTuple):
    """What the papers print of a network."""

    parameters: int  # trainable ones
    multiply_adds: int  # of convolutions and matrix products, for one picture


def count(model: nn.Module, image_size: int | tuple[int, int]) -> dict[str, Count]:
    """The count of each top-level part, then the "total"; `image_size` is a side, or height and width.

    A model may group its modules by `parts`: name -> names of modules. Parts without a count are left out.
    """
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    model = meta_copy(model).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.empty(1, 3, height, width, device="meta"))
    # The counter names modules from the model's class down, and sees two operations in a multiply-add.
    prefix = f"{type(model).__name__}."
    multiply_adds = {
        name.removeprefix(prefix): sum(flops.values()) // 2
        for name, flops in counter.get_flop_counts().items()
        if name.startswith(prefix)
    }
    children = dict(model.named_children())
    parts = getattr(model, "parts", {name: (name,) for name in children})
    counts = {}
    for part, names in parts.items():
        modules = [children[name] for name in names if name in children]
        counts[part] = Count(sum(map(_parameters, modules)), sum(_within(name, multiply_adds) for name in names))
    counts = {part: of_part for part, of_part in counts.items() if any(of_part)}
    return {**counts, "total": Count(_parameters(model), counter.get_total_flops() // 2)}


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def _within(part: str, multiply_adds: Mapping[str, int]) -> int:
    """The part's own count, or its outermost modules' where it is used by another door than its forward."""
    inside = [name for name in multiply_adds if name == part or name.startswith(f"{part}.")]
    return sum(multiply_adds[name] for name in inside if not any(outer in multiply_adds for outer in _ancestors(name)))


def _ancestors(name: str) -> list[str]:
    """
    >>> _ancestors("backbone.blocks.0")
    ['backbone', 'backbone.blocks']
    """
    return list(accumulate(name.split(".")[:-1], "{}.{}".format))


def meta_copy(model: nn.Module) -> nn.Module:
    """The model without its numbers: a copy that takes no memory, wherever the model lives."""
    tensors = {id(tensor): tensor for tensor in chain(model.parameters(), model.buffers())}
    without_numbers = {
        key: nn.Parameter(tensor.to("meta"), tensor.requires_grad)
        if isinstance(tensor, nn.Parameter)
        else tensor.to("meta")
        for key, tensor in tensors.items()
    }
    return deepcopy(model, without_numbers)
