"""EfficientNet-Lite from a TF-Lite file, float or quantised, under timm's names.

O channels out, I channels in, H W kernel size
"""

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from effdet_lab.errors import DataError, MachineError
from effdet_lab.weights.grammars.blocks import Piece, block_names

MAGIC = b"TFL3"
NORM_EPS = 1e-3
PIXEL_MAX = 255
# What every EfficientNet-Lite reads. Source: tensorflow/tpu efficientnet/lite: (pixel - 127) / 128.
MEAN_PIXEL, STD_PIXEL = 127, 128
DAMAGE = (struct.error, IndexError, ValueError, TypeError, AttributeError, OverflowError)


class Layer(NamedTuple):
    """A layer with weights, in torch's layout."""

    kind: str  # conv, depthwise or dense
    weight: np.ndarray
    bias: np.ndarray


def read_tflite(path: Path) -> dict[str, Tensor]:
    """Weights for inputs (pixel - 127) / 128. Norms come folded into the convolutions and are given back as shifts.

    Raises: MachineError without the reader; DataError if the file is damaged or holds another network.
    """
    try:
        import tflite
    except ImportError:
        raise MachineError(
            f"{path}: TF-Lite files are read by tflite, which is not installed. "
            "Install it with pip install 'effdet-lab[tflite]'."
        ) from None
    content = path.read_bytes()
    if content[4:8] != MAGIC:
        raise DataError(f"{path}: is no TF-Lite file. Copy or download it again.")
    try:
        graph = Graph(tflite, tflite.Model.GetRootAs(content, 0))
        layers = graph.layers()
        factor, shift = graph.affine_of_pixels()
    except DAMAGE as error:
        raise DataError(f"{path}: is no TF-Lite file, or not all of it ({error}). Copy it again.") from None
    tensors = _named(layers)
    if tensors is None:
        raise DataError(
            f"{path}: its {len(layers)} layers are not those of an EfficientNet-Lite, the only one read so."
        )
    if not np.isclose(factor * MEAN_PIXEL + shift, 0, atol=factor):
        raise DataError(f"{path}: reads {factor:g} * pixel + {shift:g}, and an EfficientNet-Lite is centred at 127.")
    tensors["conv_stem.weight"] *= factor * STD_PIXEL
    return tensors


class Graph:
    """The first subgraph of a TF-Lite model, as far as its weights need it."""

    def __init__(self, tflite, model) -> None:
        self.model = model
        self.graph = model.Subgraphs(0)
        codes = {number: name for name, number in vars(tflite.BuiltinOperator).items() if isinstance(number, int)}
        types = tflite.TensorType
        self.dtypes = {
            types.FLOAT32: np.float32,
            types.FLOAT16: np.float16,
            types.INT32: np.int32,
            types.INT64: np.int64,
            types.UINT8: np.uint8,
            types.INT8: np.int8,
        }
        self.operators = [self.graph.Operators(index) for index in range(self.graph.OperatorsLength())]
        kinds = [model.OperatorCodes(operator.OpcodeIndex()) for operator in self.operators]
        # Since version 3a the code has outgrown the old field, which then holds a placeholder.
        self.names = [codes[max(kind.BuiltinCode(), kind.DeprecatedBuiltinCode())] for kind in kinds]
        self.makers = {operator.Outputs(0): index for index, operator in enumerate(self.operators)}

    def layers(self) -> list[Layer]:
        """In the order in which they are computed."""
        kinds = {"CONV_2D": "conv", "DEPTHWISE_CONV_2D": "depthwise", "FULLY_CONNECTED": "dense"}
        axes = {"conv": (0, 3, 1, 2), "depthwise": (3, 0, 1, 2), "dense": (0, 1)}
        found = []
        for name, operator in zip(self.names, self.operators, strict=True):
            if name in kinds:
                kind = kinds[name]
                weight, bias = self.constant(operator.Inputs(1)), self.constant(operator.Inputs(2))
                found.append(Layer(kind, weight.transpose(axes[kind]), bias))
        return found

    def affine_of_pixels(self) -> tuple[float, float]:
        """The first convolution reads factor * pixel + shift; pixels are 0..255."""
        tensor = self.graph.Tensors(self.graph.Inputs(0))
        scale, zero, _ = self._quantisation(tensor)
        first = next(index for index, name in enumerate(self.names) if name == "CONV_2D")
        steps = [index for index in range(first) if self.names[index] in ("MUL", "ADD", "SUB", "DIV")]
        if self.dtypes[tensor.Type()] is np.float32:
            # Files that bring their own arithmetic read fractions; the others read what they were trained on.
            factor, shift = (1 / PIXEL_MAX, 0.0) if steps else (1 / STD_PIXEL, -MEAN_PIXEL / STD_PIXEL)
        else:
            lowest = 128 if self.dtypes[tensor.Type()] is np.int8 else 0
            factor, shift = float(scale[0]), -float(scale[0]) * (float(zero[0]) + lowest)
        for index in steps:
            number = float(self.constant(self.operators[index].Inputs(1)).reshape(()))
            match self.names[index]:
                case "MUL":
                    factor, shift = factor * number, shift * number
                case "DIV":
                    factor, shift = factor / number, shift / number
                case "ADD":
                    shift += number
                case "SUB":
                    shift -= number
        return factor, shift

    def constant(self, number: int) -> np.ndarray:
        """The tensor's real values: (stored - zero point) * scale."""
        tensor = self.graph.Tensors(number)
        buffer = self.model.Buffers(tensor.Buffer())
        if not buffer.DataLength():  # weights of half precision are widened by an operator
            return self.constant(self.operators[self.makers[number]].Inputs(0))
        shape = tensor.ShapeAsNumpy() if tensor.ShapeLength() else ()
        stored = buffer.DataAsNumpy().view(self.dtypes[tensor.Type()]).reshape(shape)
        scale, zero, axis = self._quantisation(tensor)
        if not len(scale):
            return stored.astype(np.float32)
        along = [1] * stored.ndim
        if len(scale) > 1:
            along[axis] = len(scale)
        real = (stored.astype(np.float64) - zero.reshape(along)) * scale.astype(np.float64).reshape(along)
        return real.astype(np.float32)

    @staticmethod
    def _quantisation(tensor) -> tuple[np.ndarray, np.ndarray, int]:
        quantisation = tensor.Quantization()
        if quantisation is None or not quantisation.ScaleLength():
            return np.empty(0), np.empty(0), 0
        return quantisation.ScaleAsNumpy(), quantisation.ZeroPointAsNumpy(), quantisation.QuantizedDimension()


def _named(layers: Sequence[Layer]) -> dict[str, Tensor] | None:
    """Stem, blocks of (expand,) depthwise and project, head, classifier; None where they come in another order."""
    kinds = "".join({"conv": "c", "depthwise": "d", "dense": "f"}[layer.kind] for layer in layers)
    pieces, number, position = [], 0, 1
    while position < len(layers) and kinds[position:] not in ("c", "cf"):
        parts = ("depthwise", "project") if kinds[position] == "d" else ("expand", "depthwise", "project")
        if kinds[position : position + len(parts)] not in ("dc", "cdc"):
            return None
        pieces += [Piece(str(position + offset), number, part, "weight") for offset, part in enumerate(parts)]
        number, position = number + 1, position + len(parts)
    if not pieces or kinds[0] != "c" or position == len(layers):
        return None
    convs = {0: "conv_stem", position: "conv_head"}
    shapes = {piece.key: layers[int(piece.key)].weight.shape for piece in pieces}
    convs |= {int(key): name.removesuffix(".weight") for key, name in block_names(pieces, shapes).items()}
    tensors: dict[str, Tensor] = {}
    for index, name in convs.items():
        tensors[f"{name}.weight"] = torch.from_numpy(np.ascontiguousarray(layers[index].weight))
        tensors |= _shift(_norm_after(name), layers[index].bias)
    if kinds[-1] == "f":
        tensors["classifier.weight"] = torch.from_numpy(np.ascontiguousarray(layers[-1].weight))
        tensors["classifier.bias"] = torch.from_numpy(layers[-1].bias)
    return tensors


def _norm_after(conv: str) -> str:
    """timm's name of the norm that follows a convolution of a network without gates."""
    prefix, _, name = conv.rpartition(".")
    if not prefix:
        return {"conv_stem": "bn1", "conv_head": "bn2"}[conv]
    first_block = prefix.startswith("blocks.0.")
    order = ("conv_dw", "conv_pw") if first_block else ("conv_pw", "conv_dw", "conv_pwl")
    return f"{prefix}.bn{order.index(name) + 1}"


def _shift(norm: str, bias: np.ndarray) -> dict[str, Tensor]:
    """A batch norm that only adds."""
    ones = torch.ones(len(bias))
    return {
        f"{norm}.weight": ones,
        f"{norm}.bias": torch.from_numpy(bias),
        f"{norm}.running_mean": torch.zeros(len(bias)),
        f"{norm}.running_var": ones - NORM_EPS,
    }
