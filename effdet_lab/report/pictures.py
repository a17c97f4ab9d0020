"""Pictures small enough to travel within a page."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, UnidentifiedImageError

MOST, SIDE, HEAVIEST = 12, 640, 160_000  # pictures, pixels, bytes each: 12 of them are 2.5 MB of base64
QUALITIES = (82, 65, 45, 25)


def embedded(paths: Sequence[Path]) -> list[tuple[str, str]]:
    """(name, data URI) of at most twelve pictures, evenly chosen; those that cannot be opened are left out."""
    step = max(len(paths) / MOST, 1.0)
    chosen = [paths[int(number * step)] for number in range(min(len(paths), MOST))]
    uris = ((path.stem, _uri(path)) for path in chosen)
    return [(name, uri) for name, uri in uris if uri]


def _uri(path: Path) -> str:
    try:
        with Image.open(path) as picture:
            small = picture.convert("RGB")
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError):
        return ""
    small.thumbnail((SIDE, SIDE))
    for quality in QUALITIES:
        file = io.BytesIO()
        small.save(file, "JPEG", quality=quality, optimize=True)
        if file.tell() <= HEAVIEST:
            break
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")
