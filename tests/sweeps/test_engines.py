"""Where jobs run: shares of a machine, and what a cluster is asked for."""

import os
import re
import stat
import sys
from pathlib import Path

import pytest
from scripted import experiment, ledger_of

import effdet_lab
from effdet_lab.errors import ConfigError, MachineError
from effdet_lab.run.jobs import how_to_resume, still_said, sweep
from effdet_lab.settings.compose import compose_config, sweep_of
from effdet_lab.sweep_spec import ClusterSpec
from effdet_lab.sweeps.engines.gpus import free_gpus
from effdet_lab.sweeps.engines.local import LocalEngine, shares

GOLDEN = Path(__file__).parent / "golden"


def test_jobs_on_gpus_never_share_one():
    found = shares([str(number) for number in range(8)], 2, 4, cores=32)
    used = [device for share in found for device in share.gpus]
    assert sorted(used) == sorted(set(used)) == [str(number) for number in range(8)]
    assert {share.threads for share in found} == {8}
    assert found[1].environment() == {"OMP_NUM_THREADS": "8", "CUDA_VISIBLE_DEVICES": "2,3"}


def test_jobs_on_the_processor_share_its_cores():
    assert [share.threads for share in shares([], 0, 3, cores=8)] == [2, 2, 2]
    assert shares([], 0, 4, cores=2)[0].environment() == {"OMP_NUM_THREADS": "1"}


@pytest.fixture
def driver_tool(tmp_path, monkeypatch):
    """A machine with four GPUs, of which one is nearly full."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\nprintf '0, 10, 80000\\n1, 70000, 80000\\n2, 10, 80000\\n3, 500, 80000\\n'\n")
    tool.chmod(tool.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_a_gpu_that_somebody_uses_is_left_alone(driver_tool, monkeypatch):
    assert free_gpus() == ["0", "2", "3"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,3")
    assert free_gpus() == ["3"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert free_gpus() == []


def test_as_many_jobs_run_as_the_free_gpus_hold(driver_tool):
    trainer = effdet_lab.compose("trainer.gpus=1").trainer
    engine = LocalEngine(trainer, None)
    assert engine.slots == 3
    assert engine.context is None  # CUDA does not survive a fork


def cluster(*overrides: str) -> tuple:
    typed = ["cluster=slurm", *overrides]
    config = compose_config(typed)
    return effdet_lab.compose(*typed), sweep_of(config).cluster


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("1x1", ["trainer.gpus=1", "data.batch_size=16"]),
        ("1x8", ["trainer.gpus=8", "data.batch_size=64", "cluster.partition=h100", "cluster.memory_gb=512"]),
        ("4x8", ["trainer.gpus=8", "trainer.num_nodes=4", "data.batch_size=256", "cluster.account=vision"]),
    ],
)
def test_slurm_is_asked_for_what_the_trainer_has(name, overrides):
    """The script that submitit writes, without what is the machine's own; ACCEPT=1 writes the golden file."""
    slurm = pytest.importorskip("submitit.slurm.slurm")
    from effdet_lab.sweeps.engines.slurm import resources

    spec, where = cluster("model=efficientdet", "phi=0", "data.workers=7", *overrides)
    script = slurm._make_sbatch_string(command="COMMAND", folder="FOLDER", **resources(spec, where))
    script = "\n".join(line.replace(str(Path.cwd()), "") for line in script.splitlines() if "FOLDER" not in line) + "\n"
    file = GOLDEN / f"slurm_{name}.sh"
    if os.environ.get("ACCEPT") == "1":
        file.parent.mkdir(exist_ok=True)
        file.write_text(script)
    assert script == file.read_text()


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["cluster.nodes=2"], "cluster.nodes=2: but trainer.num_nodes=1"),
        (
            ["cluster.gpus_per_node=4", "trainer.gpus=2", "data.batch_size=16"],
            "cluster.gpus_per_node=4: but trainer.gpus=2",
        ),
    ],
)
def test_a_cluster_that_disagrees_with_the_trainer_is_refused(overrides, sentence):
    with pytest.raises(ConfigError) as refusal:
        cluster(*overrides)
    assert sentence in str(refusal.value)


def test_another_number_of_tasks_than_ranks_is_refused_by_name(tmp_path, monkeypatch):
    submitit = pytest.importorskip("submitit")
    from effdet_lab.sweeps.engines.slurm import run_rank

    ledger_of(tmp_path, [experiment()])

    class Task:
        num_tasks, hostnames, job_id, global_rank, local_rank, node = 8, ["a"], "7", 0, 0, 0

    monkeypatch.setattr(submitit, "JobEnvironment", Task)
    with pytest.raises(MachineError, match=r"Slurm started 8 tasks \(SLURM_NTASKS\), and the trainer has 1 ranks"):
        run_rank(str(tmp_path / "0"))


def test_without_slurm_the_ways_out_are_named(monkeypatch):
    pytest.importorskip("submitit")
    from effdet_lab.sweeps.engines.slurm import SlurmEngine

    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(MachineError, match=r"no Slurm here .* cluster.dry=true, or cluster=local"):
        SlurmEngine(ClusterSpec("slurm", 4))


def test_without_submitit_the_extra_is_named(monkeypatch):
    from effdet_lab.sweeps.engines.slurm import SlurmEngine

    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(MachineError, match=re.escape("pip install 'effdet-lab[slurm]'")):
        SlurmEngine(ClusterSpec("slurm", 4))


def test_a_sweep_for_a_cluster_does_not_ask_for_this_machines_gpus():
    typed = ["trainer.gpus=8", "data.batch_size=64", "cluster=slurm"]
    asked = sweep(typed)
    assert asked.jobs[0].spec.trainer.gpus == 8
    nodes = sweep([*typed, "trainer.num_nodes=2"])
    assert nodes.jobs[0].spec.trainer.world_size == 16
    with pytest.raises(ConfigError, match=r"trainer.gpus=8: this machine has"):
        sweep([*typed, "cluster.dry=true"])


def test_a_resumed_sweep_runs_where_it_ran_unless_another_place_is_named():
    before = ["seed=0,1", "cluster=slurm", "cluster.partition=a", "cluster.hours=3"]
    same = how_to_resume(before, ["sweep=resume"]).cluster
    assert (same.name, same.partition, same.hours) == ("slurm", "a", 3.0)
    longer = how_to_resume(before, ["sweep=resume", "cluster.hours=9"]).cluster
    assert (longer.partition, longer.hours) == ("a", 9.0)
    assert how_to_resume(before, ["sweep=resume", "cluster=local"]).cluster.name == "local"
    assert still_said(before, ["cluster=local", "seed=2"]) == []
    assert still_said(before, ["cluster.hours=9"]) == before[:-1]


def test_a_rank_of_slurms_goes_back_into_the_queue_as_itself():
    pytest.importorskip("submitit")
    from effdet_lab.sweeps.engines.slurm import Rank

    rank = Rank()
    again = rank.checkpoint("FOLDER")
    assert again.function is rank
    assert again.args == ("FOLDER",)


def test_ray_is_asked_for_what_the_job_has():
    from effdet_lab.sweeps.engines.with_ray import resources

    eight = effdet_lab.compose("trainer.gpus=8", "data.batch_size=64")
    assert resources(eight, ClusterSpec("ray", 4, cpus_per_task=6)) == {
        "num_gpus": 8,
        "num_cpus": 48,
        "max_retries": 0,
    }
    two = effdet_lab.compose("trainer.processes=2")
    assert resources(two, ClusterSpec("ray", 4)) == {"num_gpus": 0, "num_cpus": 2, "max_retries": 0}


def test_ray_keeps_a_job_on_one_node():
    typed = ["cluster=ray", "trainer.num_nodes=2", "trainer.gpus=1", "data.batch_size=16"]
    with pytest.raises(ConfigError, match=r"trainer.num_nodes=2: cluster=ray keeps a job on one node"):
        sweep_of(compose_config(typed))


def test_without_ray_the_extra_is_named(monkeypatch):
    from effdet_lab.sweeps.engines.with_ray import RayEngine

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MachineError, match=re.escape("pip install 'effdet-lab[ray]'")):
        RayEngine(ClusterSpec("ray", 4))
