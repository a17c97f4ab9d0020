"""Compound-scaled EfficientNet classifiers and EfficientDet detectors, each a configuration override away."""

from importlib import import_module
from typing import Any

# Looked up when first used: composing an experiment needs no torch, and importing this package costs nothing.
HOMES = {
    "compose": "effdet_lab.settings.compose",
    "build_model": "effdet_lab.models.build",
    "load_weights": "effdet_lab.weights.load",
    "load": "effdet_lab.api",
    "predict": "effdet_lab.api",
    "ConfigError": "effdet_lab.errors",
    "DataError": "effdet_lab.errors",
}
__all__ = list(HOMES)


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"effdet_lab has no {name!r}; it has {', '.join(HOMES)}")
    return getattr(import_module(HOMES[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *HOMES]
