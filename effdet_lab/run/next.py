"""The next command to type."""

from pathlib import Path

from effdet_lab.spec import ExperimentSpec


def next_command(spec: ExperimentSpec, folder: Path) -> str:
    """How to use what was just trained."""
    pictures = f"{spec.data.root}/val" if spec.data.root else "PICTURES"
    return f"Next: python run.py task=predict checkpoint={folder} input={pictures}"
