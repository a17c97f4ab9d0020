"""A Slurm cluster, through submitit: one Slurm job for each job of the sweep, one task for each rank."""

import math
import os
import shutil
from pathlib import Path
from typing import Any

from effdet_lab.errors import MachineError
from effdet_lab.run.folder import read_spec
from effdet_lab.spec import ExperimentSpec
from effdet_lab.sweep_spec import ClusterSpec
from effdet_lab.sweeps.engines import Handle
from effdet_lab.sweeps.engines.processes import run_in_a_process

LOGS = "slurm"  # in the job's folder
FIRST_PORT, PORTS = 20_000, 20_000  # a job's port follows from its number, so that jobs on one node do not meet


def resources(spec: ExperimentSpec, cluster: ClusterSpec) -> dict[str, Any]:
    """What to ask Slurm for, in its own words: nodes, tasks and GPUs are the trainer's.

    Units: minutes and gibibytes.
    """
    trainer = spec.trainer
    asked: dict[str, Any] = {
        "job_name": spec.name,
        "time": math.ceil(cluster.hours * 60),
        "nodes": trainer.num_nodes,
        "ntasks_per_node": max(trainer.gpus, trainer.processes),
        "cpus_per_task": cluster.cpus_per_task or spec.data.workers + 1,
    }
    optional = {
        "gpus_per_node": trainer.gpus,
        "mem": f"{cluster.memory_gb:g}GB" if cluster.memory_gb else "",
        "partition": cluster.partition,
        "account": cluster.account,
    }
    return asked | {word: value for word, value in optional.items() if value}


class SlurmEngine:
    """Jobs in Slurm's queue, or, dry, in processes of submitit's on this machine."""

    def __init__(self, cluster: ClusterSpec) -> None:
        try:
            import submitit
        except ImportError:
            raise MachineError(
                "cluster=slurm: submitit is not installed. Install it with pip install 'effdet-lab[slurm]'."
            ) from None
        self.submitit, self.cluster, self.slots = submitit, cluster, cluster.at_once
        if not cluster.dry and shutil.which("srun") is None:
            raise MachineError(
                "cluster=slurm: there is no Slurm here (no srun). Use cluster.dry=true, or cluster=local."
            )

    def start(self, folder: Path) -> Handle:
        if self.cluster.dry:
            executor = self.submitit.LocalExecutor(folder / LOGS)
            executor.update_parameters(timeout_min=math.ceil(self.cluster.hours * 60))
            return _Submitted(executor.submit(run_in_a_process, str(folder)))
        executor = self.submitit.SlurmExecutor(folder / LOGS)
        executor.update_parameters(**resources(read_spec(folder), self.cluster))
        return _Submitted(executor.submit(run_rank, str(folder)))

    def close(self) -> None:
        """What is in the queue stays there: sweep=resume finds what became of it."""


class _Submitted:
    def __init__(self, job: Any) -> None:
        self.job = job

    def ended(self) -> bool:
        return self.job.done()

    def kill(self) -> None:
        self.job.cancel(check=False)


def run_rank(folder: str) -> int:
    """What every task of a Slurm job does: it is one rank, and says so in torch's words.

    Raises: MachineError where Slurm started another number of tasks than the experiment has ranks.
    """
    import submitit

    task = submitit.JobEnvironment()
    world = read_spec(Path(folder)).trainer.world_size
    if task.num_tasks != world:
        raise MachineError(
            f"cluster=slurm: Slurm started {task.num_tasks} tasks (SLURM_NTASKS), and the trainer has {world} ranks. "
            "Ask for trainer.num_nodes nodes with one task for each GPU."
        )
    os.environ.update(
        MASTER_ADDR=task.hostnames[0],
        MASTER_PORT=str(FIRST_PORT + int(task.job_id.split("_")[0]) % PORTS),
        WORLD_SIZE=str(world),
        RANK=str(task.global_rank),
        LOCAL_RANK=str(task.local_rank),
        NODE_RANK=str(task.node),
    )
    return run_in_a_process(folder)
