"""Ranks that torchrun or Slurm start side by side: all must find the first one's folder, and what it prepared."""

import os
import time
from pathlib import Path

from effdet_lab.errors import MachineError
from effdet_lab.run.folder import write_text

KNOWS = "EFFDET_LAB_PREPARED"  # set for ranks that our own first rank starts when it is ready
LAUNCH = ("SLURM_JOB_ID", "TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT", "MASTER_ADDR", "MASTER_PORT")
READY, MEETING = ".prepared", ".launch"
PATIENCE = 600.0  # seconds; the first rank may be drawing or downloading data


def announce(folder: Path) -> None:
    """The first rank: spec.yaml is as all should read it."""
    write_text(folder / READY, _launch())


def wait_for_first(folder: Path) -> None:
    """Every other rank, unless our own first rank started it.

    Raises: MachineError if the first rank does not get ready.
    """
    if os.environ.get(KNOWS) != "1":
        _wait(folder / READY, _launch())


def agreed_folder(folder: Path, *, is_first: bool) -> Path:
    """The first rank's own folder, which the others would name a moment later and so otherwise.

    Raises: MachineError if the first rank does not say where.
    """
    # Ranks of one machine have one launcher; over machines the folder must be typed.
    meeting = folder.parent / f"{MEETING}_{os.getppid()}_{os.environ.get('MASTER_PORT', '')}"
    if is_first:
        write_text(meeting, str(folder))
        return folder
    return Path(_wait(meeting, None))


def _launch() -> str:
    """The same in all ranks of one launch."""
    return " ".join(os.environ.get(name, "-") for name in LAUNCH)


def _wait(path: Path, expected: str | None) -> str:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            text = None
        if text is not None and expected in (None, text):
            return text
        time.sleep(0.1)
    raise MachineError(f"{path}: the first rank of this job did not get ready in {PATIENCE:g} s; its log says why.")
