"""From a data set's class names to labels."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from effdet_lab.classes import COCO_CATEGORIES, layout_of
from effdet_lab.data.wording import did_you_mean, shortened
from effdet_lab.errors import DataError


def ids_for(classes: Sequence[str], categories: Mapping[int, str]) -> tuple[int, ...]:
    """A category id for every class: the file's where the file knows the name, else one that is free."""
    coco_layout, coco_ids = layout_of(COCO_CATEGORIES)
    if tuple(classes) == coco_layout and categories.items() <= COCO_CATEGORIES.items():
        return coco_ids
    known = {name: number for number, name in categories.items()}
    free = itertools.count(max(categories, default=0) + 1)
    return tuple(known[name] if name in known else next(free) for name in classes)


def labels_of(names: Sequence[str], classes: Sequence[str], where: str) -> np.ndarray:
    """The label of each of the data's class names.

    Raises: DataError for names that are not among the classes.
    """
    label = {name: index for index, name in enumerate(classes)}
    strangers = [
        f"{where}: class {name!r} is not among the {len(classes)} known classes. {did_you_mean(name, classes)}"
        for name in names
        if name not in label
    ]
    if strangers:
        raise DataError(shortened(strangers, "such classes"))
    return np.array([label[name] for name in names], dtype=np.int64)
