"""A live page on this machine: Trackio shows the runs that lie under outputs/, and those that log to it.

python -c "from pathlib import Path; from effdet_lab.tracking.local import serve; serve(Path('outputs'))"
"""

import contextlib
import csv
import hashlib
import importlib
import io
import json
import logging
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from effdet_lab.errors import ConfigError
from effdet_lab.report.reading import pictures_in
from effdet_lab.spec import from_dict
from effdet_lab.tracking.describe import flatten

log = logging.getLogger(__name__)

HOME = ".trackio"  # under outputs
IMPORTED = "imported.json"
IMAGES = "images"  # in a run's folder
MOST_PICTURES = 12  # of a run
ADDRESS = "127.0.0.1"
SECONDS_BETWEEN_LOOKS = 10
ELSEWHERE = ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL", "TRACKIO_BUCKET_ID", "TRACKIO_DATASET_ID")


class Run(NamedTuple):
    """What a run's folder tells."""

    project: str
    name: str
    group: str | None
    config: dict[str, Any]
    rows: list[tuple[int, dict[str, float]]]  # step, then what was measured there
    pictures: tuple[Path, ...]


def serve(outputs: Path, port: int | None = None) -> None:
    """Shows every run under `outputs`, those that still grow too, until the keyboard interrupts.

    Raises: ConfigError if trackio is not installed.
    """
    import_runs(outputs)
    server, address = open_page(outputs, port)
    print(f"The runs under {outputs} are on {address} (Ctrl+C ends).", flush=True)
    try:
        while True:
            time.sleep(SECONDS_BETWEEN_LOOKS)
            import_runs(outputs)
    except KeyboardInterrupt:
        pass
    finally:
        server.close()


def open_page(outputs: Path, port: int | None = None) -> tuple[Any, str]:
    """The page's server, which `.close()` ends, and its address; no browser is started."""
    trackio = open_trackio(outputs)
    with local_and_quiet():
        server, address, *_ = trackio.show(
            host=ADDRESS, server_port=port, open_browser=False, block_thread=False, share=False, mcp_server=False
        )
    return server, address


def import_runs(outputs: Path) -> list[str]:
    """The runs that were new or had changed; those that log to Trackio themselves are left alone."""
    trackio = open_trackio(outputs)
    ledger_file = outputs / HOME / IMPORTED
    ledger = json.loads(ledger_file.read_text(encoding="utf-8")) if ledger_file.exists() else {}
    brought = []
    for folder in run_folders(outputs):
        name = name_of(folder, outputs)
        known = ledger.get(name)
        if known and known["stamp"] == _stamp(folder):
            continue
        stamp = _stamp(folder)
        run = read_run(folder, outputs)
        if run is None:
            continue
        here = _runs_called(trackio, run.project, name)
        if known is None and here:
            continue
        # Rows that were only added are added here; anything else starts the run anew.
        grows = known is not None and here and known["print"] == _print(run, known["rows"])
        if not grows:
            for earlier in _runs_called(trackio, known["project"], name) if known else ():
                earlier.delete()
        shown = [picture.name for picture in run.pictures]
        has_shown = grows and known.get("pictures") == shown
        _write(trackio, run, known["rows"] if grows else 0, () if has_shown else run.pictures)
        ledger[name] = {
            "stamp": stamp,
            "project": run.project,
            "rows": len(run.rows),
            "print": _print(run, len(run.rows)),
            "pictures": shown,
        }
        brought.append(name)
        _write_whole(ledger_file, json.dumps(ledger, indent=1))
    return brought


def run_folders(outputs: Path) -> list[Path]:
    """The folders with a settled experiment and curves."""
    folders = (path.parent for path in outputs.rglob("spec.yaml"))
    return sorted(folder for folder in folders if (folder / "metrics.csv").is_file())


def name_of(folder: Path, outputs: Path) -> str:
    """The folder as seen from `outputs`, so that the jobs of two sweeps keep apart."""
    folder, outputs = folder.resolve(), outputs.resolve()
    return folder.relative_to(outputs).as_posix() if folder.is_relative_to(outputs) else folder.name


def read_run(folder: Path, outputs: Path) -> Run | None:
    """The run as its files tell; None, with a sentence, where they do not."""
    try:
        spec = from_dict(yaml.safe_load((folder / "spec.yaml").read_text(encoding="utf-8")))
        with (folder / "metrics.csv").open(newline="", encoding="utf-8") as file:
            rows = [(int(row["step"]), _curves(row)) for row in csv.DictReader(file)]
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError, StopIteration) as error:
        log.warning("%s: left out, it holds no run (%s).", folder, error)
        return None
    is_job = folder.parent.resolve() != outputs.resolve()
    group = spec.logger.group or (folder.parent.name if is_job else None)
    pictures = pictures_in(folder / IMAGES)[:MOST_PICTURES]
    return Run(spec.logger.project, name_of(folder, outputs), group, flatten(spec), rows, pictures)


def open_trackio(outputs: Path) -> Any:
    """The library, writing under `outputs`; it reads its folder once, when it is imported.

    Raises: ConfigError if it is not installed, or was imported for another folder.
    """
    home = (outputs / HOME).resolve()
    if "trackio" not in sys.modules:
        home.mkdir(parents=True, exist_ok=True)
        os.environ["TRACKIO_DIR"] = str(home)
    try:
        trackio = importlib.import_module("trackio")
    except ModuleNotFoundError:
        raise ConfigError("trackio: not installed. Run `pip install 'effdet-lab[dashboards]'`.") from None
    used = Path(importlib.import_module("trackio.utils").TRACKIO_DIR).resolve()
    if used != home:
        raise ConfigError(f"outputs={outputs}: this process shows {used.parent} already. Start another one.")
    return trackio


@contextlib.contextmanager
def local_and_quiet() -> Iterator[None]:
    """Nothing leaves the machine, whatever the environment says, and Trackio keeps its advice to itself."""
    kept = {name: os.environ.pop(name) for name in ELSEWHERE if name in os.environ}
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        os.environ.update(kept)


def _write(trackio: Any, run: Run, first_row: int, pictures: tuple[Path, ...]) -> None:
    with local_and_quiet():
        target = trackio.init(
            project=run.project,
            name=run.name,
            group=run.group,
            config=run.config,
            resume="allow",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )
        for step, values in run.rows[first_row:]:
            target.log(values, step=step)
        if pictures:
            drawn = {f"pictures/{path.stem}": trackio.Image(path, caption=path.stem) for path in pictures}
            target.log(drawn, step=run.rows[-1][0] if run.rows else 0)
        trackio.finish()


def _curves(row: Mapping[str, str]) -> dict[str, float]:
    values = {name: float(text) for name, text in row.items() if text and name not in ("step", "epoch")}
    finite = {name: value for name, value in values.items() if math.isfinite(value)}
    return {"train/seconds" if name == "seconds" else name: value for name, value in finite.items()}


def _runs_called(trackio: Any, project: str, name: str) -> list[Any]:
    try:
        return [run for run in trackio.Api().runs(project) if run.name == name]
    except ValueError:  # no such project yet
        return []


def _stamp(folder: Path) -> list[int]:
    """Changes when a file does."""
    paths = [folder / name for name in ("spec.yaml", "metrics.csv", IMAGES)]
    states = [path.stat() for path in paths if path.exists()]
    return [number for state in states for number in (state.st_mtime_ns, state.st_size)]


def _print(run: Run, rows: int) -> str:
    """The settings and the first rows, in short."""
    text = json.dumps([run.project, run.group, run.config, run.rows[:rows]], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _write_whole(path: Path, text: str) -> None:
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_text(text, encoding="utf-8")
    os.replace(unfinished, path)
