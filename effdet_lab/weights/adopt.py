"""What an experiment takes over from the weights it starts with, before it is built."""

import dataclasses
from pathlib import Path

from effdet_lab.classes import COCO_CATEGORIES
from effdet_lab.spec import CocoSource, ExperimentSpec, is_detector
from effdet_lab.weights.conventions import adopted
from effdet_lab.weights.source import Source, read

WITHOUT_DATA = ("predict", "verify", "export")


def as_weights_say(spec: ExperimentSpec) -> ExperimentSpec:
    """The experiment with its weights' padding, batch-norm constants and pixels where nobody wrote others.

    A detector of COCO's 80 classes keeps 80: the published layout has 90, ten of them unused. A task without data
    takes the classes of the weights.
    Raises: DataError where the weights cannot be read.
    """
    named = spec.checkpoint or spec.init
    if not named:
        return spec
    found = read(named if not Path(named).expanduser().exists() else Path(named).expanduser())
    spec = adopted(spec, found.conventions)
    classes = _classes(spec, found)
    if not classes:
        return spec
    data = dataclasses.replace(spec.data, classes=classes, num_classes=len(classes), category_ids=())
    return dataclasses.replace(spec, data=data)


def _classes(spec: ExperimentSpec, found: Source) -> tuple[str, ...]:
    """The weights' own classes where the experiment should have them; empty where it keeps what it has."""
    if any(text.startswith("data.classes=") for text in spec.overrides):
        return ()
    if spec.task in WITHOUT_DATA:
        numbers = tuple(map(str, range(found.num_classes)))
        return () if found.spec else found.classes or numbers
    coco = tuple(COCO_CATEGORIES.values())
    open_layout = is_detector(spec) and isinstance(spec.data.source, CocoSource) and not spec.data.classes
    return coco if open_layout and found.classes == coco else ()
