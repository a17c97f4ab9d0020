"""What a run says: sentences and tables, on the console and in the folder's log.txt."""

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console, RenderableType

log = logging.getLogger("effdet_lab")
CHATTY = ("pytorch_lightning", "lightning.pytorch", "lightning.fabric", "lightning_fabric", "wandb", "timm", "PIL")
WIDTH = 120  # columns of a table that goes to a file


@contextmanager
def told(folder: Path, aloud: bool) -> Iterator[None]:
    """While it is open, sentences go to log.txt, and to the console where this process speaks for the job."""
    quieten()
    handlers: list[logging.Handler] = []
    if aloud:
        console = _Console(sys.stdout)
        written = logging.FileHandler(folder / "log.txt", encoding="utf-8")
        written.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
        handlers = [console, written]
    before, propagate = log.level, log.propagate
    log.setLevel(logging.INFO if aloud else logging.ERROR)
    log.propagate = False
    for handler in handlers:
        log.addHandler(handler)
    try:
        yield
    finally:
        log.level, log.propagate = before, propagate
        for handler in handlers:
            log.removeHandler(handler)
            if isinstance(handler, logging.FileHandler):
                handler.close()


class _Console(logging.StreamHandler):
    """Falls silent when the reader leaves, as in `python run.py | head`; the run goes on."""

    def handleError(self, record: logging.LogRecord) -> None:
        if not isinstance(sys.exc_info()[1], BrokenPipeError):
            super().handleError(record)


def show(*things: RenderableType) -> None:
    """A table or another thing rich can draw."""
    console = Console(width=WIDTH)
    with console.capture() as captured:
        for thing in things:
            console.print(thing)
    log.info(captured.get().rstrip("\n"))


def quieten() -> None:
    """Libraries keep their advice to themselves; what concerns the user is said by us."""
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"(pytorch_lightning|lightning|lightning_fabric|torch|wandb|pydantic)\b.*")
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")
