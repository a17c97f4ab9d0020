"""A Slurm cluster, through submitit: one Slurm job for each job of the sweep, one task for each rank."""

import logging
import math
import os
import shutil
from pathlib import Path
from typing import Any

from effdet_lab.errors import MachineError
from effdet_lab.run.folder import read_spec
from effdet_lab.spec import ExperimentSpec
from effdet_lab.sweep_spec import ClusterSpec
from effdet_lab.sweeps.engines import Handle, OnInterrupt
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

    is_aloud = False

    def __init__(self, cluster: ClusterSpec) -> None:
        try:
            import submitit
        except ImportError:
            raise MachineError(
                "cluster=slurm: submitit is not installed. Install it with pip install 'effdet-lab[slurm]'."
            ) from None
        self.submitit, self.cluster, self.slots = submitit, cluster, cluster.at_once
        self.on_interrupt: OnInterrupt = "kill" if cluster.dry else "leave"
        logging.getLogger("submitit").setLevel(logging.ERROR)  # it warns at every look where Slurm keeps no accounts
        if not cluster.dry and shutil.which("srun") is None:
            raise MachineError(
                "cluster=slurm: there is no Slurm here (no srun). Use cluster.dry=true, or cluster=local."
            )

    def start(self, folder: Path) -> Handle:
        if self.cluster.dry:
            executor = self.submitit.LocalExecutor(folder / LOGS)
            executor.update_parameters(timeout_min=math.ceil(self.cluster.hours * 60))
            return _Submitted(executor.submit(run_in_a_process, str(folder)), stays=False)
        executor = self.submitit.SlurmExecutor(folder / LOGS, max_num_timeout=self.cluster.requeues)
        executor.update_parameters(**resources(read_spec(folder), self.cluster))
        return _Submitted(executor.submit(Rank(), str(folder.absolute())))

    def rejoin(self, folder: Path, name: str) -> Handle | None:
        """Slurm does not care who is watching."""
        return _Submitted(self.submitit.SlurmJob(folder / LOGS, name)) if name else None

    def close(self) -> None:
        """What is in the queue stays there."""


class _Submitted:
    def __init__(self, job: Any, stays: bool = True) -> None:
        self.job, self.name = job, job.job_id if stays else ""

    def ended(self) -> bool:
        return self.job.done()

    def kill(self) -> None:
        self.job.cancel(check=False)


class Rank:
    """`run_rank`, for a queue that may take the nodes back before it is done."""

    def __call__(self, folder: str) -> int:
        return run_rank(folder)

    def checkpoint(self, folder: str) -> Any:
        """Before the job's time is over, or for a more urgent job: back into the queue, to go on from last.ckpt."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, folder)


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
