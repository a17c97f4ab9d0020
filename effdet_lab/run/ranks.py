"""The processes of one job: the first is this one, the others read the same settled experiment from the run's folder.

Lightning's own launcher would run the command line again in every rank, and under a sweep that is the whole sweep.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from effdet_lab.errors import LostRank
from effdet_lab.run.kin import Watch, child_environment
from effdet_lab.run.outcome import Outcome, write_outcome
from effdet_lab.run.outside import KNOWS
from effdet_lab.spec import TrainerSpec

RANK_VARIABLES = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE", "RANK")
PATIENCE = 30.0  # seconds a rank may take to end by itself
PATIENCE_WITH_THE_DYING = 0.5  # seconds


def is_first() -> bool:
    """Whether this process speaks for the job."""
    return int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0"))) == 0


def started_outside() -> bool:
    """Whether torchrun, a cluster or our own first rank made this process."""
    return "LOCAL_RANK" in os.environ or "SLURM_PROCID" in os.environ


@contextmanager
def ranks(folder: Path, trainer: TrainerSpec) -> Iterator[None]:
    """While it is open, every rank of the job runs `python -m effdet_lab.run.job FOLDER`; each has a log of its own."""
    count = max(trainer.gpus, trainer.processes)
    if count * trainer.num_nodes == 1 or started_outside():
        yield
        _leave_group()  # at the end of the interpreter its threads may abort the process
        return
    before = {name: os.environ.get(name) for name in RANK_VARIABLES}
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "WORLD_SIZE": str(count), "NODE_RANK": "0"}
    others = []
    try:
        for rank in range(1, count):
            with open(folder / f"rank_{rank}.txt", "w", encoding="utf-8") as log:
                others.append(
                    subprocess.Popen(
                        [sys.executable, "-m", "effdet_lab.run.job", str(folder)],
                        env={**child_environment(), **shared, KNOWS: "1", "LOCAL_RANK": str(rank), "RANK": str(rank)},
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                    )
                )
        os.environ.update(shared, LOCAL_RANK="0", RANK="0")
        with Watch(others, partial(_last_words, folder)) as watch:
            try:
                yield
            except Exception as error:
                time.sleep(PATIENCE_WITH_THE_DYING)  # the others' end may come a moment after its effect
                found = watch.dead()
                if found and found[1] < 0:
                    raise LostRank(_lost(folder, *found)) from error
                raise
            _require_good_end(others, folder)
    finally:
        for process in others:
            if process.poll() is None:
                process.kill()
        _leave_group()
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _lost(folder: Path, rank: int, code: int) -> str:
    how = f"was killed by signal {-code}" if code < 0 else f"ended with {code}"
    return f"rank {rank} {how}; its words are in {folder}/rank_{rank}.txt"


def _last_words(folder: Path, rank: int, code: int) -> None:
    kind = "lost" if code < 0 else "error"
    write_outcome(folder, Outcome(kind, _lost(folder, rank, code)))
    print(f"{_lost(folder, rank, code)}; this rank cannot go on without it.", file=sys.stderr, flush=True)


def _require_good_end(others: list[subprocess.Popen], folder: Path) -> None:
    """The first rank is done; the others should be within moments."""
    for rank, process in enumerate(others, start=1):
        try:
            code = process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"rank {rank} did not end; its words are in {folder}/rank_{rank}.txt") from None
        if code:
            raise LostRank(_lost(folder, rank, code)) if code < 0 else RuntimeError(_lost(folder, rank, code))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _leave_group() -> None:
    import torch.distributed as distributed

    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()
