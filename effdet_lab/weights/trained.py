"""Weights into the very model they were trained in: everything must fit."""

from pathlib import Path

from torch import nn

from effdet_lab.errors import DataError
from effdet_lab.weights.load import load_weights

SHOWN = 3


def load_trained(model: nn.Module, path: Path) -> None:
    """Fill the whole model.

    Raises: DataError if a tensor of the model is missing or has another shape.
    """
    report = load_weights(model, path)
    if report.reinitialised:
        first = ", ".join(str(missing.name) for missing in report.reinitialised[:SHOWN])
        raise DataError(
            f"checkpoint={path}: {len(report.reinitialised)} of the model's tensors do not fit, {first} among them. "
            "Name the checkpoint of this model, or the model and classes of this checkpoint."
        )
