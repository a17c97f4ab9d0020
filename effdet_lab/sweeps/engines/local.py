"""This machine: a few jobs at a time, each with its own share of the GPUs or the cores."""

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

from effdet_lab.run.kin import child_environment, die_with_maker
from effdet_lab.spec import TrainerSpec
from effdet_lab.sweeps.engines import Handle, OnInterrupt
from effdet_lab.sweeps.engines.gpus import free_gpus
from effdet_lab.sweeps.engines.processes import CONSOLE


class Share(NamedTuple):
    """What one job may use."""

    gpus: tuple[str, ...]
    threads: int

    def environment(self) -> dict[str, str]:
        settings = {"OMP_NUM_THREADS": str(self.threads)}
        if self.gpus:
            settings["CUDA_VISIBLE_DEVICES"] = ",".join(self.gpus)
        return settings


class LocalEngine:
    """Jobs as processes. Of several at a time each writes to console.txt in its folder, a single one to the console.

    On the processor a job is forked from a process that has imported torch already: it starts in a tenth of a second
    instead of several. CUDA does not survive a fork, so that jobs on GPUs start from nothing.
    """

    on_interrupt: OnInterrupt = "hear"

    def __init__(self, trainer: TrainerSpec, at_once: int | None) -> None:
        self.trainer = trainer
        devices = free_gpus() if trainer.gpus else []
        self.slots = at_once or max(1, len(devices) // trainer.gpus if trainer.gpus else 1)
        self.free = shares(devices, trainer.gpus, self.slots, os.cpu_count() or 1)
        self.is_aloud = self.slots == 1
        self.context = None
        if sys.platform == "linux" and not trainer.gpus:
            self.context = multiprocessing.get_context("forkserver")
            self.context.set_forkserver_preload(["effdet_lab.run.app"])

    def start(self, folder: Path) -> Handle:
        share = self.free.pop()
        console = None if self.is_aloud else folder / CONSOLE
        if self.context is None:
            spawned = _spawn(folder, share, console)
            return _Started(self, share, spawned, lambda: spawned.poll() is None)
        forked = self.context.Process(target=_run_forked, args=(folder, share, console))
        forked.start()
        return _Started(self, share, forked, forked.is_alive)

    def rejoin(self, folder: Path, name: str) -> None:
        """A job ends with the sweep that started it."""

    def close(self) -> None:
        """Nothing outlives its jobs."""


def shares(devices: list[str], gpus: int, slots: int, cores: int) -> list[Share]:
    """Disjoint devices for each slot, and an equal part of the cores.

    >>> [share.gpus for share in shares(["0", "1", "2", "3"], 2, 2, 8)]
    [('0', '1'), ('2', '3')]
    """
    threads = max(1, cores // slots)
    return [Share(tuple(devices[slot * gpus : (slot + 1) * gpus]), threads) for slot in range(slots)]


class _Started:
    """A process and its share, which it gives back when it ends."""

    name = ""

    def __init__(
        self, engine: LocalEngine, share: Share, process: subprocess.Popen | BaseProcess, is_alive: Callable[[], bool]
    ) -> None:
        self.engine, self.share, self.process, self.is_alive = engine, share, process, is_alive
        self.over = False

    def ended(self) -> bool:
        if not self.over and not self.is_alive():
            self.over = True
            self.engine.free.append(self.share)
        return self.over

    def kill(self) -> None:
        self.process.kill()


def _spawn(folder: Path, share: Share, console: Path | None) -> subprocess.Popen:
    with open(console, "ab") if console else nullcontext() as output:
        return subprocess.Popen(
            [sys.executable, "-m", "effdet_lab.run.job", str(folder)],
            env={**child_environment(), **share.environment()},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT if output else None,
        )


def _run_forked(folder: Path, share: Share, console: Path | None) -> None:
    """What the forked process does: what `python -m effdet_lab.run.job FOLDER` would."""
    import torch

    from effdet_lab.run import job

    os.environ.update(share.environment())
    die_with_maker()
    torch.set_num_threads(share.threads)
    if console:
        output = os.open(console, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, sys.stdout.fileno())
        os.dup2(output, sys.stderr.fileno())
    sys.argv = ["effdet_lab.run.job", str(folder)]
    job.main()
