"""The next command to type."""

from pathlib import Path

from effdet_lab.data.pictures import PictureFiles
from effdet_lab.data.splits import Records


def next_command(folder: Path, judged: Records) -> str:
    """How to use what was just trained, on the pictures it was judged by where they are files."""
    pictures = _from_here(judged.pictures.folder) if isinstance(judged.pictures, PictureFiles) else "PICTURES"
    return f"Next: python run.py task=predict checkpoint={_from_here(folder)} input={pictures}"


def _from_here(path: Path) -> Path:
    """Shorter where it lies below the folder one is in."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
