"""COCO's mean average precision as a metric that is fed batch by batch.

B batch, V visits to pictures, D detections
"""

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from effdet_lab.metrics.evaluators import Backend, evaluate, require
from effdet_lab.metrics.gather import first_visits, gather_columns, joined, on_first_rank, rank_and_world
from effdet_lab.metrics.ground_truth import DetectionArrays, GroundTruth
from effdet_lab.records import Detections


class CocoMeanAP(Metric):
    """COCO's twelve numbers and the AP of each class, over the pictures it was shown.

    A whole validation shows all pictures; one cut short is judged by what it saw. Pictures that several processes
    saw count once. `compute` is collective: every process calls it and gets the same numbers.

    Raises: ConfigError if the evaluator is not installed.
    """

    higher_is_better = True
    is_differentiable = False
    full_state_update = False

    seen: list[Tensor]
    image_ids: list[Tensor]
    boxes: list[Tensor]
    scores: list[Tensor]
    labels: list[Tensor]

    def __init__(self, truth: GroundTruth, backend: Backend = "faster_coco_eval") -> None:
        require(backend)
        # The base class would gather tensor by tensor and batch by batch: minutes where one call takes a moment.
        super().__init__(compute_on_cpu=True, sync_on_compute=False)
        self.truth = truth
        self.backend: Backend = backend
        for name in ("seen", "image_ids", "boxes", "scores", "labels"):
            self.add_state(name, default=[], dist_reduce_fx=None)
        self._merged: DetectionArrays | None = None

    def update(self, detections: Detections, image_id_B: Tensor) -> None:
        """Take a batch's detections; `image_id_B` names its pictures, those where nothing was found too."""
        self.seen.append(image_id_B.detach())
        self.image_ids.append(detections.image_id_D.detach())
        self.boxes.append(detections.boxes_D4.detach().float())
        self.scores.append(detections.scores_D.detach().float())
        self.labels.append(detections.labels_D.detach())

    def compute(self) -> dict[str, float]:
        """The metrics by name, without the `val/` or `test/` in front."""
        seen_V, self._merged = self._gather()
        merged = self._merged
        return on_first_rank(lambda: evaluate(self.truth.only(seen_V), *merged, backend=self.backend))

    def detections(self) -> DetectionArrays:
        """All processes' detections as the last `compute` gathered them, each picture once, in the order of ids."""
        assert self._merged is not None, "compute() first"
        return self._merged

    def reset(self) -> None:
        super().reset()
        self._merged = None

    def _gather(self) -> tuple[np.ndarray, DetectionArrays]:
        """The pictures seen and their detections, both from each picture's first visit alone."""
        rank, world = rank_and_world()
        seen_V, visit_batch_V, image_ids_D, detection_batch_D, boxes_D4, scores_D, labels_D = gather_columns(
            (
                joined(self.seen, torch.int64),
                _batch_numbers(self.seen) * world + rank,
                joined(self.image_ids, torch.int64),
                _batch_numbers(self.image_ids) * world + rank,
                joined(self.boxes, torch.float32, 4),
                joined(self.scores, torch.float32),
                joined(self.labels, torch.int64),
            )
        )
        first_V = first_visits(seen_V)
        seen_V, owner_V = seen_V[first_V], visit_batch_V[first_V]
        assert np.isin(image_ids_D, seen_V).all(), "image_id_B must name every picture of the detections"
        owner_D = owner_V[np.searchsorted(seen_V, image_ids_D)]
        kept_D = np.flatnonzero(owner_D == detection_batch_D)
        order_D = kept_D[np.argsort(image_ids_D[kept_D], kind="stable")]
        return seen_V, DetectionArrays(
            image_ids_D[order_D],
            boxes_D4[order_D].astype(np.float64),
            scores_D[order_D].astype(np.float64),
            labels_D[order_D],
        )


def _batch_numbers(parts: list[Tensor]) -> np.ndarray:
    """The number of the batch each row came in."""
    return np.repeat(np.arange(len(parts)), [len(part) for part in parts])
