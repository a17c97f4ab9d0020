"""A job as a process of its own, wherever an engine has brought us."""

import os
import subprocess
import sys
from pathlib import Path

from effdet_lab.run.kin import child_environment

CONSOLE = "console.txt"


def run_in_a_process(folder: str) -> int:
    """Runs the job to its end; its words go to console.txt in its folder, how it ended to outcome.json."""
    rank = os.environ.get("RANK", "0")
    with open(Path(folder) / (CONSOLE if rank == "0" else f"rank_{rank}.txt"), "ab") as console:
        return subprocess.run(
            [sys.executable, "-m", "effdet_lab.run.job", folder],
            env=child_environment(),
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
            check=False,
        ).returncode
