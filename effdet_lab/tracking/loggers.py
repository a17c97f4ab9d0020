"""Who keeps the curves besides metrics.csv: Weights & Biases, TensorBoard, Trackio, or nobody.

None is imported before it is asked for, and nothing waits for an answer from the keyboard.
"""

import importlib.util
import logging
import sys
from collections.abc import Mapping
from pathlib import Path

from pytorch_lightning.loggers import Logger, TensorBoardLogger, WandbLogger

from effdet_lab.errors import ConfigError
from effdet_lab.spec import ExperimentSpec
from effdet_lab.tracking.describe import is_first_process
from effdet_lab.tracking.weights_and_biases import start_run, sync_command

log = logging.getLogger(__name__)

EXTRAS = {"trackio": "'effdet-lab[dashboards]'"}  # loggers that come with an extra


def build_logger(spec: ExperimentSpec, folder: Path) -> Logger | bool:
    """Lightning's `logger`; False where metrics.csv is enough, and on every process but the first.

    Raises: ConfigError if the logger's package is not installed, or `logger.mode=online` has no key.
    """
    name = spec.logger.name
    if name == "csv" or not is_first_process():
        return False
    if importlib.util.find_spec(name) is None:
        package = EXTRAS.get(name, name)
        raise ConfigError(f"logger={name}: not installed. Run `pip install {package}`, or use logger=csv.")
    folder.mkdir(parents=True, exist_ok=True)
    if name == "tensorboard":
        return TensorBoardLogger(folder, name="tensorboard", version="")
    if name == "trackio":
        from effdet_lab.tracking.trackio_logger import TrackioLogger

        return TrackioLogger(spec, folder)
    finish()  # the next job in this process gets a run of its own
    return start_run(spec, folder) or False


def finish(logger: Logger | bool = False) -> None:
    """Writes what is not yet written, closes the W&B run, and tells how one that stayed offline is sent later."""
    if isinstance(logger, TensorBoardLogger):
        logger.experiment.close()
    elif "trackio" in sys.modules:
        from effdet_lab.tracking.trackio_logger import TrackioLogger

        if isinstance(logger, TrackioLogger):
            logger.finish()
    wandb = sys.modules.get("wandb")
    if wandb is None or wandb.run is None:
        return
    run = wandb.run
    wandb.finish()
    if isinstance(logger, WandbLogger) and logger.experiment is run and run.offline:
        log.info("W&B stayed offline. To send this run: %s", sync_command(run))


def log_cost(logger: Logger | bool, costs: Mapping[str, float]) -> None:
    """What the model costs, beside its settings: the x axis of a dashboard."""
    if isinstance(logger, WandbLogger):
        logger.experiment.config.update(dict(costs))
