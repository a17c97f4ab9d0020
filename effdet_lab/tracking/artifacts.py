"""Checkpoints as versions of a W&B artifact, of which the best and the last are kept."""

import logging
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger, WandbLogger

from effdet_lab.spec import ExperimentSpec

log = logging.getLogger(__name__)

KEPT = {"last": "last.ckpt", "best": "best.ckpt"}  # alias -> file; in the order they become versions
OF_ITS_OWN = re.compile(r"latest|v\d+")  # the aliases that W&B gives by itself


def log_checkpoints(logger: Logger | bool, spec: ExperimentSpec, folder: Path) -> None:
    """The checkpoints of a folder, where `logger.artifact` asks for them; online, older versions are deleted."""
    if not isinstance(logger, WandbLogger) or not getattr(spec.logger, "artifact", False):
        return
    import wandb

    run = logger.experiment
    logged = []
    for alias, name in KEPT.items():
        file = folder / "checkpoints" / name
        if file.is_file():
            artifact = wandb.Artifact(f"model-{run.id}", "model", metadata={"name": spec.name})
            # The file stays where it is: without a copy an offline run still finds it when it is sent.
            artifact.add_file(str(file), name=name, policy="immutable")
            logged.append(run.log_artifact(artifact, aliases=[alias]))
    if run.offline or not logged:
        return
    try:
        for artifact in logged:
            artifact.wait()
        collection = logged[-1].collection
        prune(collection.artifacts())
    except (wandb.errors.Error, ValueError) as error:
        log.warning("W&B kept older checkpoints of this run: %s", error)


def prune(versions: Iterable[Any]) -> None:
    """Deletes the versions that nothing names: neither "best" nor "last", nor an alias that somebody gave."""
    for version in list(versions):
        if not [alias for alias in version.aliases if not OF_ITS_OWN.fullmatch(alias)]:
            version.delete(delete_aliases=True)
