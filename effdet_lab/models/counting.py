"""Parameters and multiply-adds, part by part, without computing anything."""

from collections.abc import Mapping
from copy import deepcopy
from functools import partial
from itertools import accumulate, chain
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, flop_registry

# The papers' "FLOPs" are multiply-adds (EfficientNet's table 2, EfficientDet's table 2); others count both operations.
FLOPS_OF_MULTIPLY_ADD = 2


class Count(NamedTuple):
    """What the papers print of a network."""

    parameters: int  # trainable ones
    multiply_adds: int  # of convolutions and matrix products, for one picture

    @property
    def flops(self) -> int:
        """Additions and multiplications, each counted."""
        return FLOPS_OF_MULTIPLY_ADD * self.multiply_adds


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
        name.removeprefix(prefix): sum(flops.values()) // FLOPS_OF_MULTIPLY_ADD
        for name, flops in counter.get_flop_counts().items()
        if name.startswith(prefix)
    }
    return _by_part(model, multiply_adds, counter.get_total_flops() // FLOPS_OF_MULTIPLY_ADD)


class Tally:
    """Counts along with whoever sees the model's operations one by one, in a fraction of `count`'s time.

    An operation belongs to the module without children that was entered last.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self._flops: dict[str, int] = {}
        self._at = ""
        leaves = [(name, module) for name, module in model.named_modules() if not any(module.children())]
        self._hooks = [module.register_forward_pre_hook(partial(self._enter, name)) for name, module in leaves]

    def __call__(self, operation: Any, args: tuple, kwargs: dict, result: Any) -> None:
        """One operation has been done."""
        formula = flop_registry.get(operation._overloadpacket)
        if formula is not None:
            self._flops[self._at] = self._flops.get(self._at, 0) + formula(*args, **kwargs, out_val=result)

    def counts(self, pictures: int) -> dict[str, Count]:
        """What `count` tells, after one forward pass of so many pictures."""
        for hook in self._hooks:
            hook.remove()
        multiply_adds = {name: flops // (FLOPS_OF_MULTIPLY_ADD * pictures) for name, flops in self._flops.items()}
        return _by_part(self.model, multiply_adds, sum(multiply_adds.values()))

    def _enter(self, name: str, module: nn.Module, args: tuple) -> None:
        self._at = name


def _by_part(model: nn.Module, multiply_adds: Mapping[str, int], total: int) -> dict[str, Count]:
    children = dict(model.named_children())
    parts = getattr(model, "parts", {name: (name,) for name in children})
    counts = {}
    for part, names in parts.items():
        modules = [children[name] for name in names if name in children]
        counts[part] = Count(sum(map(_parameters, modules)), sum(_within(name, multiply_adds) for name in names))
    counts = {part: of_part for part, of_part in counts.items() if any(of_part)}
    return {**counts, "total": Count(_parameters(model), total)}


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
