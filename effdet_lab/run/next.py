"""The next command to type."""

from pathlib import Path

from effdet_lab.data.pictures import PictureFiles
from effdet_lab.data.splits import Records


def next_command(folder: Path, judged: Records) -> str:
    """How to use what was just trained, on the pictures it was judged by where they are files."""
    pictures = judged.pictures.folder if isinstance(judged.pictures, PictureFiles) else "PICTURES"
    return f"Next: python run.py task=predict checkpoint={folder} input={pictures}"
