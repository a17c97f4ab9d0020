"""The package as a library: a trained model from a run, and what it sees on pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from effdet_lab.data.datamodule import picture_loader
from effdet_lab.errors import DataError
from effdet_lab.models.build import build_model
from effdet_lab.run.folder import spec_behind
from effdet_lab.run.results import merged_classes, merged_detections
from effdet_lab.spec import ExperimentSpec, is_detector
from effdet_lab.tasks.build import build_task
from effdet_lab.weights.load import load_trained


@dataclass(frozen=True)
class Boxes:
    """What a detector sees on one picture, best first."""

    path: str
    boxes: np.ndarray  # (D, 4), x1 y1 x2 y2 in pixels of the file
    scores: np.ndarray  # (D,)
    labels: np.ndarray  # (D,), from 0
    names: tuple[str, ...]  # (D,)


@dataclass(frozen=True)
class Classes:
    """What a classifier sees on one picture, best first."""

    path: str
    probabilities: np.ndarray  # the five best
    labels: np.ndarray
    names: tuple[str, ...]


def load(checkpoint: str | Path) -> nn.Module:
    """The trained model of a run's folder, its checkpoint or its model.safetensors, or of hub:OWNER/NAME.

    It is in evaluation mode, and `model.spec` describes it.

    Raises: DataError where there is no run, or its weights do not fit.
    """
    spec = spec_behind(str(checkpoint))
    if spec is None:
        raise DataError(
            f"{checkpoint}: does not tell its experiment. Name a run's folder, a checkpoint in one, "
            "or the model.safetensors of one."
        )
    model = build_model(spec)
    load_trained(model, checkpoint)
    model.spec = spec
    return model.eval()


def predict(model: nn.Module, pictures: Sequence[str | Path]) -> list[Boxes] | list[Classes]:
    """What a model from `load` sees on picture files, in their order.

    Raises: DataError naming every file that cannot be read.
    """
    spec: Any = getattr(model, "spec", None)
    assert isinstance(spec, ExperimentSpec), "predict takes a model from effdet_lab.load"
    records, loader = picture_loader([Path(picture) for picture in pictures], spec)
    task = build_task(spec, model, None).eval()
    with torch.inference_mode():
        outputs = [task.predict_step(batch, index) for index, batch in enumerate(loader)]
    names = records.class_names
    if is_detector(spec):
        found = merged_detections(outputs)
        results = []
        for image_id, path in zip(records.image_ids.tolist(), records.paths, strict=True):
            mine_D = found.image_ids_D == image_id
            labels_D = found.labels_D[mine_D]
            named = tuple(names[label] for label in labels_D.tolist())
            results.append(Boxes(path, found.boxes_D4[mine_D], found.scores_D[mine_D], labels_D, named))
        return results
    best = merged_classes(outputs)
    return [
        Classes(path, probabilities_C, classes_C, tuple(names[label] for label in classes_C.tolist()))
        for path, probabilities_C, classes_C in zip(records.paths, best.probabilities_IC, best.classes_IC, strict=True)
    ]
