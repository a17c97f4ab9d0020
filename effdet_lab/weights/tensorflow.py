"""TensorFlow's variables as torch tensors, still under TensorFlow's names.

H W kernel size, I O channels in and out
"""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from effdet_lab.errors import DataError, MachineError

INDEX = ".index"  # a checkpoint is PREFIX.index and PREFIX.data-*
AVERAGE = "/ExponentialMovingAverage"
SLOTS = re.compile(r"(^|/)(global_step|beta\d_power|Momentum|RMSProp(_\d)?|Adam(_\d)?|_CHECKPOINTABLE_OBJECT_GRAPH)$")
FUSION_WEIGHT = re.compile(r"(.*/WSM)(?:_(\d))?$")
# HWIO, except that a depthwise kernel is HWI1.
AXES = {"kernel": (3, 2, 0, 1), "pointwise_kernel": (3, 2, 0, 1), "depthwise_kernel": (2, 3, 0, 1)}


def read_checkpoint(prefix: Path) -> dict[str, Tensor]:
    """The variables of a tensor bundle; where it holds averages, those.

    Raises: MachineError without TensorFlow; DataError if the files are damaged or not all there.
    """
    try:
        from tensorflow.errors import OpError
        from tensorflow.train import load_checkpoint
    except ImportError:
        raise MachineError(
            f"{prefix}: TensorFlow's checkpoints are read by TensorFlow, which is not installed. "
            "Install it with pip install 'effdet-lab[tensorflow]'."
        ) from None
    try:
        reader = load_checkpoint(str(prefix))
        return torch_layout({name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()})
    except (OpError, ValueError, IndexError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{prefix}: is no TensorFlow checkpoint, or not all of it ({reason}). Copy it again.") from None


def torch_layout(arrays: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """Averages in the place of what they average, without the optimiser's slots; a node's fusion weights as one vector.

    Shapes: kernels HWIO -> OIHW, depthwise ones HWI1 -> I1HW, dense ones IO -> OI.
    """
    averages = {name.removesuffix(AVERAGE): array for name, array in arrays.items() if name.endswith(AVERAGE)}
    arrays = {name: array for name, array in {**arrays, **averages}.items() if not name.endswith(AVERAGE)}
    tensors: dict[str, Tensor] = {}
    fusion: dict[str, dict[int, float]] = {}
    for name, array in arrays.items():
        match = FUSION_WEIGHT.match(name)
        if match:
            fusion.setdefault(match[1], {})[int(match[2] or 0)] = float(array)
        elif not SLOTS.search(name) and np.issubdtype(np.asarray(array).dtype, np.number):
            tensors[name] = _as_torch(name, np.asarray(array))
    for name, weights in fusion.items():
        tensors[name] = torch.tensor([weights[number] for number in sorted(weights)])
    return tensors


def _as_torch(name: str, array: np.ndarray) -> Tensor:
    kind = name.rpartition("/")[2]
    if kind in AXES and array.ndim == 4:
        array = array.transpose(AXES[kind])
    elif kind == "kernel" and array.ndim == 2:
        array = array.T
    return torch.from_numpy(np.ascontiguousarray(array))
