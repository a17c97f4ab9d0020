"""The processes of one job live and die together, and train the same experiment."""

import torch.distributed as dist
from pytorch_lightning import Callback, LightningModule, Trainer

from effdet_lab.errors import MachineError
from effdet_lab.spec import ExperimentSpec, fingerprint


class SameExperiment(Callback):
    """Before anything is computed every rank shows what it was told to run; gradients of two experiments never meet.

    Raises: MachineError on every rank where they differ.
    """

    def __init__(self, spec: ExperimentSpec) -> None:
        self.spec = spec

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if not (dist.is_available() and dist.is_initialized()):
            return
        mine = fingerprint(self.spec)
        prints: list[str] = [""] * dist.get_world_size()
        dist.all_gather_object(prints, mine)
        strangers = [rank for rank, other in enumerate(prints) if other != prints[0]]
        if strangers:
            ranks = ", ".join(map(str, strangers))
            raise MachineError(
                f"rank {ranks}: has another experiment than rank 0 ({prints[strangers[0]]} against {prints[0]}). "
                "Start every rank of a job from the same spec.yaml."
            )
