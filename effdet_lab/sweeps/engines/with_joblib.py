"""This machine, through joblib's worker processes."""

from concurrent.futures import Future
from pathlib import Path

from effdet_lab.errors import MachineError
from effdet_lab.sweeps.engines import Handle, OnInterrupt
from effdet_lab.sweeps.engines.processes import run_in_a_process


class JoblibEngine:
    """Jobs in loky's pool, which replaces workers that die."""

    is_aloud = False
    on_interrupt: OnInterrupt = "hear"

    def __init__(self, at_once: int) -> None:
        try:
            from joblib.externals.loky import get_reusable_executor
        except ImportError:
            raise MachineError(
                "cluster=joblib: joblib is not installed. Install it with pip install 'effdet-lab[joblib]'."
            ) from None
        self.slots = at_once
        self.pool = get_reusable_executor(max_workers=at_once, timeout=None)

    def start(self, folder: Path) -> Handle:
        return _Submitted(self.pool.submit(run_in_a_process, str(folder)))

    def rejoin(self, folder: Path, name: str) -> None:
        """A job ends with the sweep that started it."""

    def close(self) -> None:
        self.pool.shutdown(wait=False, kill_workers=True)


class _Submitted:
    name = ""

    def __init__(self, future: Future) -> None:
        self.future = future

    def ended(self) -> bool:
        return self.future.done()

    def kill(self) -> None:
        self.future.cancel()
