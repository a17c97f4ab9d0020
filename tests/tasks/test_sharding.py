"""Sharded over two processes, a training is the one that has all weights everywhere."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import effdet_lab
from effdet_lab.errors import ConfigError
from effdet_lab.tasks.sharding import all_finite

RUN = Path(__file__).parents[2] / "run.py"
SMALL = (
    *("model=efficientdet", "phi=-4", "data.train_images=16", "data.val_images=4", "data.batch_size=8"),
    *("data.workers=0", "logger=csv", "logger.images=1", "optim.ema_decay=0", "trainer.processes=2"),
)


def losses(folder) -> list[float]:
    with open(folder / "metrics.csv", newline="") as file:
        return [float(row[name]) for row in csv.DictReader(file) for name in ("train/loss", "val/loss")]


def run(*command, cwd):
    done = subprocess.run(
        [sys.executable, *command], cwd=cwd, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_sharded_training_goes_as_the_other_and_can_be_resumed(tmp_path):
    for strategy in ("ddp", "fsdp"):
        settings = (*SMALL, f"trainer.strategy={strategy}", "trainer.max_epochs=2", "data.root=scenes")
        run(RUN, *settings, f"hydra.run.dir={strategy}", cwd=tmp_path)
    assert losses(tmp_path / "fsdp") == pytest.approx(losses(tmp_path / "ddp"), rel=1e-4)
    weights = [effdet_lab.load(tmp_path / strategy).state_dict() for strategy in ("ddp", "fsdp")]
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, rtol=1e-3, atol=1e-4)

    spec = tmp_path / "fsdp" / "spec.yaml"
    spec.write_text(spec.read_text().replace("max_epochs: 2", "max_epochs: 3"))
    run("-m", "effdet_lab.run.job", "fsdp", cwd=tmp_path)
    assert len(losses(tmp_path / "fsdp")) == 3 * 2


def test_what_sharding_cannot_do_is_refused_together():
    with pytest.raises(ConfigError) as refusal:
        effdet_lab.compose("trainer.strategy=fsdp", "optim.ema_decay=0.99", "trainer.compile=true")
    said = str(refusal.value)
    assert "trainer.strategy=fsdp: one process has nobody to share with." in said
    assert "optim.ema_decay=0.99: trainer.strategy=fsdp keeps no running average." in said
    assert "trainer.compile=true: is not done with trainer.strategy=fsdp." in said


def test_one_strange_number_is_found():
    tensors = [torch.ones(3), torch.ones(2, 2)]
    assert all_finite(tensors)
    tensors[1][0, 1] = float("nan")
    assert not all_finite(tensors)
