"""Folds: the training split cut into parts of equal composition, each held out once.

I pictures, K classes, F folds
"""

import numpy as np

from effdet_lab.data.splits import ClassificationRecords, Records
from effdet_lab.errors import DataError

SHUFFLED_BY = 0  # the folds are the data's: no seed of an experiment moves a picture to another one


def held_out(records: Records, fold: int, folds: int) -> np.ndarray:
    """Which pictures of the whole split belong to this fold; bool (I).

    Raises: DataError where there are fewer pictures than folds.
    """
    if len(records) < folds:
        raise DataError(f"data.folds={folds}: the training split has {len(records)} pictures. Nearest: {len(records)}.")
    order_I = np.random.default_rng(SHUFFLED_BY).permutation(len(records))
    if isinstance(records, ClassificationRecords):
        fold_I = _dealt(records.labels, order_I, folds)
    else:
        present_IK = np.zeros((len(records), len(records.class_names)), dtype=bool)
        pictures_N = np.repeat(np.arange(len(records)), np.diff(records.starts))
        present_IK[pictures_N, records.labels_N] = True
        fold_I = _stratified(present_IK, order_I, folds)
    return fold_I == fold


def _dealt(labels_I: np.ndarray, order_I: np.ndarray, folds: int) -> np.ndarray:
    """Class after class dealt out like cards."""
    by_class_I = order_I[np.argsort(labels_I[order_I], kind="stable")]
    fold_I = np.empty(len(labels_I), dtype=np.int64)
    fold_I[by_class_I] = np.arange(len(labels_I)) % folds
    return fold_I


def _stratified(present_IK: np.ndarray, order_I: np.ndarray, folds: int) -> np.ndarray:
    """Each picture to the fold that lacks its rarest class most; pictures without boxes fill up.

    Source: Sechidis, Tsoumakas and Vlahavas, On the Stratification of Multi-Label Data (2011), algorithm 1.
    """
    count = len(present_IK)
    fold_I = np.full(count, -1)
    wanted_FK = np.tile(present_IK.sum(axis=0) / folds, (folds, 1))
    room_F = np.full(folds, count / folds)

    def place(picture: int, lack_F: np.ndarray) -> None:
        most_F = np.flatnonzero(lack_F == lack_F.max())
        fold = most_F[np.argmax(room_F[most_F])]
        fold_I[picture] = fold
        wanted_FK[fold] -= present_IK[picture]
        room_F[fold] -= 1

    while True:
        left_K = present_IK[fold_I < 0].sum(axis=0)
        if not left_K.any():
            break
        rarest = np.argmin(np.where(left_K, left_K, count + 1))
        for picture in order_I[(fold_I[order_I] < 0) & present_IK[order_I, rarest]]:
            place(picture, wanted_FK[:, rarest])
    for picture in order_I[fold_I[order_I] < 0]:
        place(picture, room_F)
    return fold_I
