"""Who keeps the curves besides metrics.csv: Weights & Biases, TensorBoard, or nobody.

Neither is imported before it is asked for, and nothing waits for an answer from the keyboard.

D detections, N boxes of one picture
"""

import importlib.util
import logging
import netrc
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import numpy as np
from PIL.Image import Image
from pytorch_lightning.loggers import Logger, TensorBoardLogger, WandbLogger

from effdet_lab.data.splits import DetectionRecords, Records
from effdet_lab.errors import ConfigError
from effdet_lab.metrics.ground_truth import DetectionArrays
from effdet_lab.metrics.topk import BestClasses
from effdet_lab.run.results import unique
from effdet_lab.run.trainer import monitored_metric
from effdet_lab.spec import ExperimentSpec, is_detector, to_dict

log = logging.getLogger(__name__)

SECONDS_TO_CONNECT = 10
LONGEST_TAG = 64  # characters; W&B refuses more
WANDB_HOST = "https://api.wandb.ai"
MODES = {"online": "online", "offline": "offline", "dryrun": "offline", "disabled": "disabled"}
STEP = "trainer/global_step"  # Lightning's name of the x axis


def build_logger(spec: ExperimentSpec, folder: Path) -> Logger | bool:
    """Lightning's `logger`; False where metrics.csv is enough, and on every process but the first.

    Raises: ConfigError if the logger's package is not installed, or `logger.mode=online` has no key.
    """
    if spec.logger.name == "csv" or not _is_first_process():
        return False
    if importlib.util.find_spec(spec.logger.name) is None:
        raise ConfigError(
            f"logger={spec.logger.name}: not installed. Run `pip install {spec.logger.name}`, or use logger=csv."
        )
    folder.mkdir(parents=True, exist_ok=True)
    if spec.logger.name == "tensorboard":
        return TensorBoardLogger(folder, name="tensorboard", version="")
    return _wandb_logger(spec, folder)


def finish(logger: Logger | bool = False) -> None:
    """Writes what is not yet written, and closes the W&B run: the next job in this process gets one of its own."""
    if isinstance(logger, TensorBoardLogger):
        logger.experiment.close()
    wandb = sys.modules.get("wandb")
    if wandb is not None and wandb.run is not None:
        wandb.finish()


def log_pictures(
    logger: Logger | bool,
    records: Records,
    predictions: DetectionArrays | BestClasses,
    indices: Sequence[int],
    drawn: Sequence[Image],
) -> None:
    """Shows the `drawn` pictures, which are those of `indices`; W&B draws a detector's boxes itself."""
    if isinstance(logger, WandbLogger):
        # One panel a picture: W&B shows a list of pictures wrongly when they differ in size.
        images = _wandb_images(records, predictions, indices, drawn)
        logger.experiment.log({name: image for name, image in zip(_names(records, indices), images, strict=True)})
    elif isinstance(logger, TensorBoardLogger):
        for name, picture in zip(_names(records, indices), drawn, strict=True):
            logger.experiment.add_image(name, np.asarray(picture.convert("RGB")), dataformats="HWC")
        logger.experiment.flush()


def _names(records: Records, indices: Sequence[int]) -> list[str]:
    return [f"pictures/{name}" for name in unique([records.paths[index] for index in indices])]


def tags(spec: ExperimentSpec) -> tuple[str, ...]:
    """What a table of runs is filtered by: model, backbone, phi, and every setting that left the table."""
    backbone = spec.model.backbone
    family = getattr(backbone, "family", None) or getattr(backbone, "architecture", "")
    words = ("detector" if is_detector(spec) else "classifier", family, f"phi={spec.phi:g}", spec.scaling)
    return tuple(dict.fromkeys(word[:LONGEST_TAG] for word in (*words, *spec.off_table) if word))


def wandb_mode(spec: ExperimentSpec) -> str:
    """online, offline or disabled: WANDB_MODE, else the setting; `auto` is online where a key is at hand.

    Raises: ConfigError if `logger.mode=online` has no key.
    """
    asked = os.environ.get("WANDB_MODE", "").strip().lower()
    if asked in MODES:
        mode = MODES[asked]
        return "offline" if mode == "online" and not _has_key() else mode
    if spec.logger.mode == "online" and not _has_key():
        raise ConfigError(
            "logger.mode=online: there is no key for W&B on this machine. "
            "Run `wandb login`, set WANDB_API_KEY, or use logger.mode=offline."
        )
    if spec.logger.mode == "auto":
        return "online" if _has_key() else "offline"
    return spec.logger.mode


def _wandb_logger(spec: ExperimentSpec, folder: Path) -> Logger | bool:
    import wandb

    finish()
    mode = wandb_mode(spec)
    if mode == "disabled":
        return False
    modes = ("online", "offline") if mode == "online" else ("offline",)
    for mode in modes:
        try:
            run = wandb.init(
                project=spec.logger.project,
                name=spec.name,
                group=spec.logger.group or None,
                tags=tags(spec),
                config=to_dict(spec),
                dir=folder,
                mode=mode,
                settings=wandb.Settings(init_timeout=SECONDS_TO_CONNECT, silent=True, console="off"),
            )
        except wandb.errors.Error as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            log.warning("W&B did not start %s (%s); the run goes on without.", mode, reason)
            finish()
            continue
        run.define_metric(STEP)
        run.define_metric("*", step_metric=STEP, step_sync=True)
        run.define_metric(monitored_metric(spec), step_metric=STEP, summary="max")
        return WandbLogger(experiment=run, project=spec.logger.project, save_dir=folder)
    return False


def _has_key() -> bool:
    """An API key, in the environment or in the netrc file that `wandb login` writes."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", WANDB_HOST)).hostname
    places = [Path(os.environ["NETRC"])] if "NETRC" in os.environ else [Path.home() / ".netrc", Path.home() / "_netrc"]
    for place in places:
        try:
            if netrc.netrc(place).authenticators(host):
                return True
        except (OSError, netrc.NetrcParseError):
            continue
    return False


def _is_first_process() -> bool:
    return all(os.environ.get(name, "0") == "0" for name in ("RANK", "LOCAL_RANK", "NODE_RANK"))


def _wandb_images(
    records: Records, predictions: DetectionArrays | BestClasses, indices: Sequence[int], drawn: Sequence[Image]
) -> Iterator[Any]:
    import wandb

    names = records.class_names
    for index, picture in zip(indices, drawn, strict=True):
        caption = Path(records.paths[index]).name
        if not isinstance(records, DetectionRecords):
            yield wandb.Image(picture, caption=caption)
            continue
        mine_D = predictions.image_ids_D == records.image_ids[index]
        found = predictions.boxes_D4[mine_D], predictions.labels_D[mine_D], predictions.scores_D[mine_D]
        truth_N = records.boxes_of(index)
        yield wandb.Image(
            records.pictures.read(index).permute(1, 2, 0).numpy(),
            caption=caption,
            boxes={
                "predictions": _boxes(names, *found),
                "ground_truth": _boxes(names, records.boxes_N4[truth_N], records.labels_N[truth_N]),
            },
        )


def _boxes(
    names: Sequence[str], boxes_N4: np.ndarray, labels_N: np.ndarray, scores_N: np.ndarray | None = None
) -> dict[str, Any]:
    """W&B's words for boxes in pixels."""
    box_data = [
        {
            "position": dict(zip(("minX", "minY", "maxX", "maxY"), box, strict=True)),
            "domain": "pixel",
            "class_id": label,
            "box_caption": names[label],
        }
        for box, label in zip(boxes_N4.tolist(), labels_N.tolist(), strict=True)
    ]
    if scores_N is not None:
        for box, score in zip(box_data, scores_N.tolist(), strict=True):
            box |= {"box_caption": f"{box['box_caption']} {score:.2f}", "scores": {"score": score}}
    return {"box_data": box_data, "class_labels": dict(enumerate(names))}
