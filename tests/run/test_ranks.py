"""The processes of one job."""

import os

import pytest
import torch.distributed as dist

from effdet_lab import compose
from effdet_lab.run.ranks import RANK_VARIABLES, is_first, ranks, started_outside


@pytest.fixture(autouse=True)
def _no_ranks_around(monkeypatch):
    for name in (*RANK_VARIABLES, "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)


def trainer_of(*overrides):
    return compose("data.batch_size=8", *overrides).trainer


def test_one_process_starts_no_other(tmp_path):
    with ranks(tmp_path, trainer_of()):
        assert not started_outside()
    assert list(tmp_path.iterdir()) == []


def test_a_rank_that_torchrun_started_starts_no_other(tmp_path, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    with ranks(tmp_path, trainer_of("trainer.processes=2")):
        assert not is_first()
    assert list(tmp_path.iterdir()) == []


def test_a_rank_that_fails_fails_the_job_and_says_where_its_words_are(tmp_path):
    # There is no spec.yaml in this folder, so the second rank refuses.
    inside = {}
    complaint = r"rank 1 ended with 2; its words are in .*rank_1\.txt"
    with pytest.raises(RuntimeError, match=complaint), ranks(tmp_path, trainer_of("trainer.processes=2")):
        inside.update(os.environ)
    assert (inside["WORLD_SIZE"], inside["LOCAL_RANK"], inside["RANK"]) == ("2", "0", "0")
    assert "holds no settled experiment" in (tmp_path / "rank_1.txt").read_text()
    assert not set(RANK_VARIABLES) & set(os.environ)


def test_other_ranks_end_with_a_job_that_breaks(tmp_path):
    with pytest.raises(ZeroDivisionError), ranks(tmp_path, trainer_of("trainer.processes=2")):
        raise ZeroDivisionError
    assert not set(RANK_VARIABLES) & set(os.environ)


@pytest.mark.parametrize("rank", ["0", "1"])
def test_every_rank_leaves_the_group_before_the_interpreter_ends(rank, tmp_path, monkeypatch):
    """Else the group's threads may abort the process when its work is done."""
    monkeypatch.setenv("LOCAL_RANK", rank)
    with ranks(tmp_path, trainer_of("trainer.processes=2")):
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    assert not dist.is_initialized()
