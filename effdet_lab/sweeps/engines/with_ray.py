"""A Ray cluster: one task for each job, with the processors and GPUs that the job asks for.

The sweep's folder must be one that every node sees, and effdet_lab must be installed on each.
"""

import logging
import os
from pathlib import Path
from typing import Any

from effdet_lab.errors import MachineError
from effdet_lab.run.folder import read_spec
from effdet_lab.spec import ExperimentSpec
from effdet_lab.sweep_spec import ClusterSpec
from effdet_lab.sweeps.engines import Handle, OnInterrupt
from effdet_lab.sweeps.engines.processes import run_in_a_process

QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}


def resources(spec: ExperimentSpec, cluster: ClusterSpec) -> dict[str, Any]:
    """What to ask Ray for, in its own words. Another attempt is the sweep's business, not Ray's."""
    gpus, ranks = spec.trainer.gpus, spec.trainer.world_size
    return {"num_gpus": gpus, "num_cpus": ranks * (cluster.cpus_per_task or 1), "max_retries": 0}


class RayEngine:
    """Jobs as Ray's tasks: in a cluster that runs already, or in one of this machine that ends with the sweep."""

    is_aloud = False
    on_interrupt: OnInterrupt = "kill"

    def __init__(self, cluster: ClusterSpec) -> None:
        os.environ.update(QUIET)  # before Ray looks
        try:
            import ray
        except ImportError:
            raise MachineError(
                "cluster=ray: Ray is not installed. Install it with pip install 'effdet-lab[ray]'."
            ) from None
        self.ray, self.cluster, self.slots = ray, cluster, cluster.at_once
        try:
            ray.init(
                address=cluster.address or "local",
                include_dashboard=None if cluster.address else False,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except (ConnectionError, RuntimeError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise MachineError(
                f"cluster.address={cluster.address or 'null'}: no Ray cluster answers there ({reason}). "
                "Give HOST:PORT of its head, auto, or null for one of this machine."
            ) from None

    def start(self, folder: Path) -> Handle:
        asked = resources(read_spec(folder), self.cluster)
        self._require(asked)
        return _Task(self.ray, self.ray.remote(run_in_a_process).options(**asked).remote(str(folder.absolute())))

    def rejoin(self, folder: Path, name: str) -> None:
        """Ray ends the tasks of a driver that is gone."""

    def close(self) -> None:
        self.ray.shutdown()

    def _require(self, asked: dict[str, Any]) -> None:
        """Ray would let a task that fits nowhere wait for ever."""
        for word, name in (("num_gpus", "GPU"), ("num_cpus", "CPU")):
            most = max((node["Resources"].get(name, 0.0) for node in self.ray.nodes() if node["Alive"]), default=0.0)
            if asked[word] > most:
                raise MachineError(
                    f"cluster=ray: a job asks for {asked[word]:g} {name}s on one node, and the largest has {most:g}."
                )


class _Task:
    name = ""

    def __init__(self, ray: Any, reference: Any) -> None:
        self.ray, self.reference = ray, reference

    def ended(self) -> bool:
        return bool(self.ray.wait([self.reference], timeout=0)[0])

    def kill(self) -> None:
        self.ray.cancel(self.reference, force=True)
