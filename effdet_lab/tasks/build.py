"""From a settled experiment to a task: a model with its losses and its metric."""

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
    truth = GroundTruth.of(judged_by) if isinstance(judged_by, DetectionRecords) else None
    return DetectionTask(model, spec, truth)
