"""What a sweep planned and what became of it: sweep.json, written whole after every change.

It is the only memory of a sweep: whoever reads it can show it, or go on with it.
"""

import fcntl
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from effdet_lab.errors import DataError, MachineError
from effdet_lab.run.folder import write_text
from effdet_lab.run.outcome import Kind
from effdet_lab.spec import ExperimentSpec, fingerprint

FILE, LOCK = "sweep.json", ".sweep.lock"
State = Literal["waiting", "running", "done", "stopped", "failed", "refused", "interrupted"]
OVER: tuple[State, ...] = ("done", "stopped", "failed", "refused")


@dataclass(frozen=True)
class Attempt:
    """One start of a job."""

    started: str  # ISO 8601, local time
    kind: Kind | Literal["running"] = "running"
    seconds: float = 0.0
    message: str = ""
    change: str = ""  # what the next attempt does otherwise
    handle: str = ""  # what the engine finds it by


@dataclass(frozen=True)
class Entry:
    """A job: what was typed for it, and its history."""

    number: int  # also its folder's name
    overrides: tuple[str, ...]
    spec_hash: str
    state: State = "waiting"
    attempts: tuple[Attempt, ...] = ()
    metrics: dict[str, float] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Of all attempts."""
        return sum(attempt.seconds for attempt in self.attempts)


class Ledger:
    """The entries of one sweep's folder."""

    def __init__(self, folder: Path, overrides: Sequence[str] = (), entries: Sequence[Entry] = ()) -> None:
        self.folder = folder
        self.overrides = tuple(overrides)  # of the whole sweep
        self.entries = list(entries)

    def add(self, overrides: Sequence[str], spec: ExperimentSpec) -> Entry:
        """A new job, with the next number that no folder has."""
        number = len(self.entries)
        entry = Entry(number, tuple(overrides), fingerprint(spec))
        self.entries.append(entry)
        return entry

    def change(self, number: int, **changes: Any) -> Entry:
        """Replaces fields of an entry and writes the file."""
        self.entries[number] = replace(self.entries[number], **changes)
        self.write()
        return self.entries[number]

    def job_folder(self, number: int) -> Path:
        return self.folder / str(number)

    def write(self) -> None:
        content = {"overrides": self.overrides, "jobs": [asdict(entry) for entry in self.entries]}
        write_text(self.folder / FILE, json.dumps(content, indent=1) + "\n")


def read_ledger(folder: Path) -> Ledger:
    """The inverse of `Ledger.write`.

    Raises: DataError where the folder holds no sweep.
    """
    path = folder / FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        entries = [
            Entry(
                **{
                    **job,
                    "overrides": tuple(job["overrides"]),
                    "attempts": tuple(Attempt(**attempt) for attempt in job["attempts"]),
                }
            )
            for job in content["jobs"]
        ]
        return Ledger(folder, content["overrides"], entries)
    except FileNotFoundError:
        raise DataError(f"{folder}: holds no sweep (no {FILE}). Name a sweep's folder.") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: is no ledger of a sweep ({type(error).__name__}: {error}).") from None


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """While it is open, no other process may drive this sweep; a killed one lets go by itself.

    Raises: MachineError where another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / LOCK, "w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise MachineError(
                f"{folder}: another process drives this sweep. task=status hydra.sweep.dir={folder} watches it."
            ) from None
        yield
