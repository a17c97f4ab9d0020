"""Imports only go down, and each floor keeps to its libraries."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "effdet_lab"
# Module or folder -> what of this package it may import, and what it must not import from elsewhere.
GROUND = {"errors", "sizes", "scaling", "stages", "topology", "spec", "sweep_spec", "classes", "arithmetic"}
MAY_IMPORT = {
    "errors": set(),
    "stages": set(),
    "topology": set(),
    "classes": set(),
    "scaling": {"stages"},
    "spec": {"scaling", "stages", "topology"},
    "sweep_spec": set(),
    "sizes": set(),
    "arithmetic": {"spec", "stages", "topology"},
    "records": set(),
    "settings": GROUND,
    "models": GROUND | {"records"},
    "detection": GROUND | {"records"},
    "data": GROUND | {"records"},
    "metrics": GROUND | {"records"},
    "weights": GROUND | {"models"},
    "report": GROUND,
    "parity": GROUND | {"records", "models", "detection", "weights"},
    "tracking": GROUND | {"records", "data", "metrics", "report"},
    "tasks": GROUND | {"records", "models", "detection", "data", "metrics", "weights"},
    "run": GROUND
    | {
        "records",
        "settings",
        "models",
        "detection",
        "data",
        "metrics",
        "weights",
        "tasks",
        "parity",
        "report",
        "tracking",
    },
    "sweeps": GROUND | {"settings", "run", "report"},
    "api": GROUND | {"records", "settings", "models", "detection", "data", "metrics", "weights", "tasks", "run"},
    "cli": GROUND | {"run", "settings", "sweeps", "tracking", "report"},
    "__init__": set(),
}
HEAVY = {"torch", "torchvision", "timm", "pytorch_lightning", "torchmetrics", "wandb"}
WITHOUT_TORCH = GROUND | {"settings", "report"}


def modules():
    return sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).parts
    return parts[0].removesuffix(".py")


def imports_of(path: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "effdet_lab":
            names += [f"effdet_lab.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names.append(node.module or "")
    return names


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_only_go_down(path):
    room = room_of(path)
    for name in imports_of(path):
        if name.startswith("effdet_lab."):
            other = name.split(".")[1]
            assert other == room or other in MAY_IMPORT[room], f"{room} may not import {name}"
        elif room in WITHOUT_TORCH:
            assert name.split(".")[0] not in HEAVY, f"{room} may not import {name}"
