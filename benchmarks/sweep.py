"""Eight short jobs as separate commands, as one sweep, and as a sweep with two jobs at a time, in turn.

python benchmarks/sweep.py [--jobs 8] [--rounds 3]
Overhead is what a job costs beyond its epochs: (wall time - seconds of all epochs / jobs at a time) / jobs.
"""

import argparse
import csv
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

RUN = Path(__file__).parents[1] / "run.py"
JOB = (
    *("model=efficientnet", "phi=-6", "model.image_size=32", "data=digits", "data.workers=0", "optim=adamw_cosine"),
    *("trainer.max_epochs=2", "logger=csv", "logger.images=1"),
)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    ways = {"separate commands": (separate, 1), "-m": (pooled(1), 1), "-m cluster.at_once=2": (pooled(2), 2)}
    walls: dict[str, list[float]] = {name: [] for name in ways}
    overheads: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.rounds):
        for name, (way, at_once) in ways.items():
            with tempfile.TemporaryDirectory() as folder:
                start = time.perf_counter()
                way(Path(folder), options.jobs)
                wall = time.perf_counter() - start
                walls[name].append(wall)
                overheads[name].append((wall - epochs(Path(folder)) / at_once) / options.jobs)
    table = Table(title=f"{options.jobs} jobs of two epochs, {os.cpu_count()} cores, {options.rounds} rounds")
    for column in ("", "wall s, median", "min", "max", "overhead a job, s"):
        table.add_column(column, justify="right")
    for name, taken in walls.items():
        numbers = (statistics.median(taken), min(taken), max(taken), statistics.median(overheads[name]))
        table.add_row(name, *(f"{number:.1f}" for number in numbers))
    Console(width=100).print(table)


def separate(folder: Path, jobs: int) -> None:
    """What one types without sweeps."""
    for seed in range(jobs):
        _command(f"seed={seed}", f"hydra.run.dir={folder / str(seed)}")


def pooled(at_once: int) -> Callable[[Path, int], None]:
    """A sweep with so many jobs at a time."""

    def run(folder: Path, jobs: int) -> None:
        seeds = ",".join(map(str, range(jobs)))
        _command("-m", f"seed={seeds}", f"cluster.at_once={at_once}", f"hydra.sweep.dir={folder}")

    return run


def epochs(folder: Path) -> float:
    """Seconds of all epochs of all jobs below this folder."""
    tables = [list(csv.DictReader(path.open())) for path in folder.glob("*/metrics.csv")]
    return sum(float(row["seconds"]) for rows in tables for row in rows)


def _command(*arguments: str) -> None:
    subprocess.run([sys.executable, RUN, *arguments, *JOB], check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
