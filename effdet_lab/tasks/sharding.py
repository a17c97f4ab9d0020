"""Weights, gradients and optimiser states scattered over the processes: fully sharded data parallel training.

Source: torch.distributed.fsdp.fully_shard (FSDP2).
"""

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from effdet_lab.models.bifpn import Cell
from effdet_lab.models.efficientnet import MBConv
from effdet_lab.models.heads import Head

UNITS = (MBConv, Cell, Head)  # whose weights are gathered together, and let go before the next ones come


def shard(model: nn.Module, mesh: DeviceMesh) -> None:
    """In place; batch norms share their statistics where the devices can."""
    if mesh.device_type != "cpu":
        nn.SyncBatchNorm.convert_sync_batchnorm(model)
    model.to(memory_format=torch.contiguous_format)  # channels-last weights cannot be scattered
    for module in model.modules():
        if isinstance(module, UNITS):
            fully_shard(module, mesh=mesh)
    fully_shard(model, mesh=mesh)


def local(tensor: Tensor) -> Tensor:
    """The part that this process holds; all of it where nothing is sharded."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def all_finite(tensors: list[Tensor]) -> bool:
    """Whether every number is one; of sharded tensors, those of this process."""
    norms = torch._foreach_norm([local(tensor) for tensor in tensors])
    return bool(torch.stack(norms).isfinite().all())
