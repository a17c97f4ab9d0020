"""Top-1 and top-5 accuracy, and the five best classes of every picture.

B batch, K classes, I pictures, C best classes kept (five, or all where there are fewer)
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric

from effdet_lab.metrics.gather import first_visits, gather_columns, joined

CLASSES_KEPT = 5


class BestClasses(NamedTuple):
    """The best classes of each picture, best first."""

    image_ids_I: NDArray[np.int64]
    labels_I: NDArray[np.int64]  # -1 where unknown
    classes_IC: NDArray[np.int64]
    probabilities_IC: NDArray[np.float32]


class TopK(Metric):
    """Top-1 and top-5 accuracy over the pictures with a label; pictures several processes saw count once.

    Units: fractions of 1. With fewer than five classes top-5 asks for any of them, so it is 1.
    """

    higher_is_better = True
    is_differentiable = False
    full_state_update = False

    image_ids: list[Tensor]
    labels: list[Tensor]
    classes: list[Tensor]
    probabilities: list[Tensor]

    def __init__(self, num_classes: int) -> None:
        super().__init__(compute_on_cpu=True, sync_on_compute=False)
        self.classes_kept = min(CLASSES_KEPT, num_classes)
        for name in ("image_ids", "labels", "classes", "probabilities"):
            self.add_state(name, default=[], dist_reduce_fx=None)
        self._merged: BestClasses | None = None

    def update(self, logits_BK: Tensor, labels_B: Tensor, image_id_B: Tensor) -> None:
        """Take a batch; a label of -1 keeps the prediction and counts for nothing."""
        best = logits_BK.detach().float().softmax(dim=-1).topk(self.classes_kept, dim=-1)
        self.image_ids.append(image_id_B.detach())
        self.labels.append(labels_B.detach())
        self.classes.append(best.indices)
        self.probabilities.append(best.values)

    def compute(self) -> dict[str, float]:
        """`top1` and `top5`; nothing where no picture has a label. Collective: every process calls it."""
        self._merged = self._gather()
        labelled_I = self._merged.labels_I >= 0
        if not labelled_I.any():
            return {}
        hits_IC = self._merged.classes_IC[labelled_I] == self._merged.labels_I[labelled_I, None]
        return {"top1": float(hits_IC[:, 0].mean()), "top5": float(hits_IC.any(axis=1).mean())}

    def predictions(self) -> BestClasses:
        """All processes' best classes as the last `compute` gathered them, pictures once and in the order of ids."""
        assert self._merged is not None, "compute() first"
        return self._merged

    def reset(self) -> None:
        super().reset()
        self._merged = None

    def _gather(self) -> BestClasses:
        columns = gather_columns(
            (
                joined(self.image_ids, torch.int64),
                joined(self.labels, torch.int64),
                joined(self.classes, torch.int64, self.classes_kept),
                joined(self.probabilities, torch.float32, self.classes_kept),
            )
        )
        first_I = first_visits(columns[0])
        return BestClasses(*(column[first_I] for column in columns))
