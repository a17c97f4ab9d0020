"""How a job ended, in its folder's outcome.json, for whoever started it: a sweep, a scheduler, a person."""

import json
import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

from effdet_lab.errors import LostRank, Refusal
from effdet_lab.run.folder import STOP_FILE, write_text

FILE = "outcome.json"
Kind = Literal["done", "stopped", "refused", "interrupted", "out_of_memory", "lost", "error"]
# What torch's allocator of the processor says; those of devices have an exception of their own.
NO_MEMORY = ("can't allocate memory", "out of memory", "Cannot allocate memory")


class Outcome(NamedTuple):
    """`lost`: a process died without a word; `stopped`: somebody asked the job to end early."""

    kind: Kind
    message: str = ""
    cause: str = ""  # the traceback of an error


@contextmanager
def recorded(folder: Path) -> Iterator[None]:
    """Writes what becomes of the body. Ranks after the first one write only their errors, beside the first one's."""
    rank = int(os.environ.get("RANK", "0"))
    if rank == 0:  # an earlier attempt's, before the other ranks are started
        for path in (folder / FILE, *folder.glob(f"rank_*_{FILE}")):
            path.unlink(missing_ok=True)
    try:
        yield
    except BaseException as error:
        kind = kind_of(error)
        if kind in ("refused", "interrupted"):
            outcome = Outcome(kind, str(error))
        else:
            outcome = Outcome(kind, f"{type(error).__name__}: {error}".splitlines()[0], traceback.format_exc())
        if folder.is_dir():  # a refused job takes its new folder away
            write_outcome(folder, outcome, rank)
        raise
    else:
        if rank == 0:
            write_outcome(folder, Outcome("stopped" if (folder / STOP_FILE).exists() else "done"))


def kind_of(error: BaseException) -> Kind:
    """What an exception means to whoever could try again."""
    if isinstance(error, Refusal):
        return "refused"
    if isinstance(error, KeyboardInterrupt) or isinstance(getattr(error, "__context__", None), KeyboardInterrupt):
        return "interrupted"
    if was_terminated(error):
        return "interrupted"
    if isinstance(error, LostRank):
        return "lost"
    if isinstance(error, MemoryError) or any(words in str(error) for words in NO_MEMORY):
        return "out_of_memory"
    return "error"


def was_terminated(error: BaseException) -> bool:
    """Whether Lightning heard SIGTERM; its exception is told by its name, for Lightning takes seconds to import."""
    return type(error).__name__ == "SIGTERMException"


def write_outcome(folder: Path, outcome: Outcome, rank: int = 0) -> None:
    """For the first rank outcome.json, for others rank_N_outcome.json."""
    name = FILE if rank == 0 else f"rank_{rank}_{FILE}"
    write_text(folder / name, json.dumps(outcome._asdict(), indent=2) + "\n")


def read_outcome(folder: Path) -> Outcome:
    """The first rank's, but a lack of memory in any of them; `lost` where nobody could write one."""
    found = [_read(path) for path in (folder / FILE, *sorted(folder.glob(f"rank_*_{FILE}")))]
    told = [outcome for outcome in found if outcome is not None]
    short = next((outcome for outcome in told if outcome.kind == "out_of_memory"), None)
    if short is not None:
        return short
    return found[0] or Outcome("lost", "The process ended without a word.")


def _read(path: Path) -> Outcome | None:
    try:
        return Outcome(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
