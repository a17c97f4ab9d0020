"""From a settled experiment to a task: a model with its losses and its metric."""

import numpy as np
from torch import nn

from effdet_lab.data.splits import DetectionRecords, Records
from effdet_lab.metrics.ground_truth import GroundTruth
from effdet_lab.spec import ExperimentSpec, is_detector
from effdet_lab.tasks.base import ExperimentTask
from effdet_lab.tasks.classification import ClassificationTask
from effdet_lab.tasks.detection import DetectionTask


def build_task(spec: ExperimentSpec, model: nn.Module, judged_by: Records | None) -> ExperimentTask:
    """The task of this model; `judged_by` is the split its detections are measured against."""
    if not is_detector(spec):
        return ClassificationTask(model, spec)
    truth = ground_truth(judged_by) if isinstance(judged_by, DetectionRecords) else None
    return DetectionTask(model, spec, truth)


def ground_truth(records: DetectionRecords) -> GroundTruth:
    """A split's boxes as the evaluators take them."""
    return GroundTruth(
        image_ids_I=records.image_ids,
        box_image_ids_N=np.repeat(records.image_ids, np.diff(records.starts)),
        boxes_N4=records.boxes_N4.astype(np.float64),
        labels_N=records.labels_N,
        crowd_N=records.crowd_N,
        areas_N=records.areas_N.astype(np.float64),
        class_names=records.class_names,
        category_ids=records.category_ids,
    )
