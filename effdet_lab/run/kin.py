"""Processes that must not outlive one another."""

import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing import connection

PARENT = "EFFDET_LAB_PARENT"  # the process whose end is ours
PR_SET_PDEATHSIG = 1  # Linux: linux/prctl.h
GRACE = 20.0  # seconds for a rank to notice by itself that another is gone


def child_environment() -> dict[str, str]:
    """For a process that should end when this one does."""
    return {**os.environ, PARENT: str(os.getpid())}


def die_with_parent() -> None:
    """Where the process that started this one is killed, this one goes too: nobody would know of it.

    Linux can promise that; elsewhere a killed sweep may leave a job that runs to its end.
    """
    parent = os.environ.pop(PARENT, None)
    if parent is None or sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):  # it was gone before the promise
        os.kill(os.getpid(), signal.SIGKILL)


def die_with_maker() -> None:
    """The same for a process of multiprocessing's, whose parent is a server that outlives whoever asked for it."""
    maker = multiprocessing.parent_process()
    assert maker is not None

    def wait() -> None:
        connection.wait([maker.sentinel])
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()


class Watch:
    """While it is open, the death of one of the processes is noticed; the owner is ended if it cannot go on alone.

    A rank that waits for a dead one in a collective call may wait for minutes, or for good.
    """

    def __init__(self, processes: Sequence[subprocess.Popen], last_words: Callable[[int, int], None]) -> None:
        self.processes = processes
        self.last_words = last_words  # called with the rank and its code before the owner is ended
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> "Watch":
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.over.set()

    def dead(self) -> tuple[int, int] | None:
        """Rank and code of the first process that ended badly; a negative code is a signal."""
        codes = ((rank, process.poll()) for rank, process in enumerate(self.processes, start=1))
        return next(((rank, code) for rank, code in codes if code), None)

    def _look(self) -> None:
        while not self.over.wait(0.5):
            found = self.dead()
            if found:
                deadline = time.monotonic() + GRACE
                while time.monotonic() < deadline:
                    if self.over.wait(0.5):
                        return
                self.last_words(*found)
                os._exit(1)
