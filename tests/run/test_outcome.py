"""How a run ended, for whoever started it."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from pytorch_lightning.utilities.exceptions import SIGTERMException

from effdet_lab.errors import ConfigError, LostRank
from effdet_lab.run.outcome import kind_of, read_outcome

RUN = Path(__file__).parents[2] / "run.py"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ConfigError("no"), "refused"),
        (KeyboardInterrupt(), "interrupted"),
        (SIGTERMException(), "interrupted"),
        (LostRank("rank 1"), "lost"),
        (RuntimeError("CUDA out of memory. Tried to allocate"), "out_of_memory"),
        (MemoryError(), "out_of_memory"),
        (ValueError("else"), "error"),
    ],
)
def test_an_exception_is_told_by_what_could_be_done_about_it(error, kind):
    assert kind_of(error) == kind


@pytest.mark.slow
def test_a_run_that_is_terminated_says_so_and_keeps_its_checkpoint(tmp_path):
    folder = tmp_path / "run"
    settings = ["model=efficientnet", "phi=-6", "model.image_size=32", "logger=csv", "data.workers=0"]
    process = subprocess.Popen(
        [sys.executable, RUN, *settings, "trainer.max_epochs=500", f"hydra.run.dir={folder}"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not (folder / "checkpoints" / "last.ckpt").exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.terminate()
    assert "Interrupted. What the last checkpoint holds is kept." in process.communicate(timeout=60)[1]
    assert process.returncode == 143
    assert read_outcome(folder).kind == "interrupted"
    assert (folder / "checkpoints" / "last.ckpt").exists()
