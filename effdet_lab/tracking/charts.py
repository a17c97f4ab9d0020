"""Curves and matrices in W&B's words. Its own charts draw them, online and after a later sync.

K classes, R recalls
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from effdet_lab.metrics.curves import PrecisionRecall

MOST_CURVES = 20  # lines in a chart that an eye can still follow
MOST_ROWS = 50  # of a matrix
REST, BACKGROUND = "(other classes)", "(background)"


def precision_recall_chart(curves: PrecisionRecall, class_names: Sequence[str], boxes_K: NDArray[np.int64]) -> Any:
    """A line for the mean over all classes, and one for each of those with the most boxes."""
    import wandb

    lines = chosen_curves(curves, class_names, boxes_K)
    return wandb.plot.line_series(
        xs=curves.recalls_R.tolist(),
        ys=list(lines.values()),
        keys=list(lines),
        title="Precision against recall at IoU 0.5",
        xname="recall",
    )


def chosen_curves(
    curves: PrecisionRecall, class_names: Sequence[str], boxes_K: NDArray[np.int64]
) -> dict[str, list[float]]:
    """The lines by name."""
    measured = np.flatnonzero(~np.isnan(curves.precisions_KR[:, 0]))
    lines = {f"mean of {len(measured)}": curves.precisions_KR[measured].mean(axis=0).tolist()}
    common = measured[np.argsort(-boxes_K[measured], kind="stable")][:MOST_CURVES]
    return lines | {class_names[label]: curves.precisions_KR[label].tolist() for label in common}


def confusion_chart(matrix: NDArray[np.int64], names: Sequence[str], title: str) -> Any:
    """W&B's confusion matrix of what was counted already."""
    import wandb

    matrix, names = condensed(matrix, names)
    rows = [
        [actual, predicted, int(matrix[row, column])]
        for row, actual in enumerate(names)
        for column, predicted in enumerate(names)
    ]
    columns = ["Actual", "Predicted", "nPredictions"]
    return wandb.plot_table(
        "wandb/confusion_matrix/v1",
        wandb.Table(columns=columns, data=rows),
        {column: column for column in columns},
        {"title": title},
    )


def condensed(
    matrix: NDArray[np.int64], names: Sequence[str], most: int = MOST_ROWS
) -> tuple[NDArray[np.int64], list[str]]:
    """The classes with the most mistakes; the others share a row and a column, so that all sums are kept."""
    if len(names) <= most:
        return matrix, list(names)
    mistakes_K = matrix.sum(axis=0) + matrix.sum(axis=1) - 2 * np.diag(matrix)
    kept = np.sort(np.argsort(-mistakes_K, kind="stable")[: most - 1])
    group_K = np.full(len(names), len(kept))
    group_K[kept] = np.arange(len(kept))
    small = np.zeros((len(kept) + 1, len(kept) + 1), dtype=np.int64)
    np.add.at(small, (group_K[:, None], group_K[None, :]), matrix)
    return small, [*(names[label] for label in kept), REST]
