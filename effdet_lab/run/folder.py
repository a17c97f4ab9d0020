"""A run's folder: where its files lie, and how its experiment is written and read."""

import os
from pathlib import Path

import yaml

from effdet_lab.errors import DataError
from effdet_lab.spec import ExperimentSpec, from_dict, to_dict
from effdet_lab.weights.header import read_spec_of
from effdet_lab.weights.published import TIMM, WEIGHTS, fetch, is_published

SPEC_FILE = "spec.yaml"
STOP_FILE = "stop"  # asks a running job to end after its epoch
JUDGED_FILE = "judged"  # the last epoch that a search has looked at; the job of one that judges waits for it


def write_text(path: Path, text: str) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_text(text, encoding="utf-8")
    os.replace(unfinished, path)


def ask_to_stop(folder: Path) -> None:
    """A running job ends after the epoch it is in, with all that a finished one has."""
    (folder / STOP_FILE).touch()


def judged(folder: Path, epoch: int) -> None:
    """A search has decided whether the job goes on after this epoch; 0 before the first says that it will."""
    write_text(folder / JUDGED_FILE, str(epoch))


def judged_epoch(folder: Path) -> int | None:
    """The last epoch that was judged; None where nobody judges."""
    try:
        return int((folder / JUDGED_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def claimed(folder: Path) -> Path:
    """A new folder of this name, or of the next free one; made here, so that two processes never get the same."""
    number = 1
    candidate = folder
    while True:
        try:
            candidate.mkdir(parents=True)
            return candidate
        except FileExistsError:
            number += 1
            candidate = folder.with_name(f"{folder.name}_{number}")


def write_spec(folder: Path, spec: ExperimentSpec) -> None:
    """The settled experiment, for people, for ranks and for whoever loads the run later."""
    write_text(folder / SPEC_FILE, yaml.safe_dump(to_dict(spec), sort_keys=False, allow_unicode=True, width=120))


def read_spec(folder: Path) -> ExperimentSpec:
    """The inverse of `write_spec`.

    Raises: DataError where the file is not what was written.
    """
    path = folder / SPEC_FILE
    try:
        return from_dict(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError, StopIteration) as error:
        raise DataError(f"{path}: holds no settled experiment ({type(error).__name__}: {error}).") from None


def spec_behind(checkpoint: str) -> ExperimentSpec | None:
    """The experiment that weights come from: its run's folder tells, or the header of its file. None: neither does.

    Raises: DataError for weights of a hub that cannot be fetched.
    """
    if is_published(checkpoint):
        return None if checkpoint.startswith(TIMM) else read_spec_of(fetch(checkpoint).path)
    path = Path(checkpoint).expanduser()
    folder = run_folder_of(path)
    if folder is not None:
        return read_spec(folder)
    return read_spec_of(path / WEIGHTS if path.is_dir() else path)


def run_folder_of(checkpoint: Path) -> Path | None:
    """The run a folder or a checkpoint file belongs to, if it tells."""
    for folder in (checkpoint, checkpoint.parent, checkpoint.parent.parent):
        if (folder / SPEC_FILE).is_file():
            return folder
    return None
