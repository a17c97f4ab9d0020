"""COCO's twelve numbers and the AP of each class, by one of three evaluators that agree.

I pictures, N boxes of the ground truth, D detections; T IoU thresholds, R recalls, K classes, S size ranges,
M limits on detections a picture. Boxes are x1 y1 x2 y2 in pixels of the picture's file.
"""

import contextlib
import importlib
import io
from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from effdet_lab.errors import ConfigError
from effdet_lab.metrics.ground_truth import GroundTruth, xywh

Backend = Literal["faster_coco_eval", "pycocotools", "hotcoco"]
INSTALL = {
    "faster_coco_eval": "pip install faster-coco-eval",
    "pycocotools": "pip install pycocotools",
    "hotcoco": "pip install 'effdet-lab[fast-map]'",
}


def require(backend: str) -> None:
    """Refuse an evaluator that is unknown or not installed, before any work is done.

    Raises: ConfigError.
    """
    if backend not in get_args(Backend):
        raise ConfigError(f"backend={backend}: no such evaluator. Use one of {', '.join(get_args(Backend))}.")
    try:
        importlib.import_module(backend)
    except ModuleNotFoundError:
        raise ConfigError(f"backend={backend}: is not installed. Install it with {INSTALL[backend]}.") from None


def evaluate(
    truth: GroundTruth,
    image_ids_D: NDArray[np.integer],
    boxes_D4: NDArray[np.floating],
    scores_D: NDArray[np.floating],
    labels_D: NDArray[np.integer],
    *,
    backend: Backend = "faster_coco_eval",
) -> dict[str, float]:
    """COCO's metrics over all pictures of `truth`; a picture without detections counts as missed.

    -1 stands where nothing could be found, as COCO prints it. Classes without boxes to find have no `map/<class>`.

    Source: cocodataset/cocoapi, cocoeval.py.
    Units: fractions of 1.
    Raises: ConfigError if the evaluator is not installed.
    """
    require(backend)
    # Evaluators keep ids in doubles, or refuse negative ones: pictures are numbered from 1 in the order of their ids.
    image_ids_I = np.sort(truth.image_ids_I)
    assert np.isin(image_ids_D, image_ids_I).all(), "detections on pictures the ground truth does not know"
    assert np.max(labels_D, initial=-1) < len(truth.class_names), "labels beyond the ground truth's classes"
    boxes_to_find = {
        "image": np.searchsorted(image_ids_I, truth.box_image_ids_N) + 1,
        "category": truth.labels_N + 1,
        "bbox": xywh(truth.boxes_N4),
        "area": truth.areas_N,
        "crowd": truth.crowd_N.astype(np.int64),
    }
    found = {
        "image": np.searchsorted(image_ids_I, image_ids_D) + 1,
        "category": np.asarray(labels_D, dtype=np.int64) + 1,
        "bbox": xywh(boxes_D4),
        "score": np.asarray(scores_D, dtype=np.float64),
    }
    images: list[dict[str, Any]] = [{"id": number} for number in range(1, len(image_ids_I) + 1)]
    categories = [{"id": label + 1, "name": name} for label, name in enumerate(truth.class_names)]
    precision_TRKSM, recall_TKSM = _RUN[backend](images, categories, boxes_to_find, found)
    return {**_twelve(precision_TRKSM, recall_TKSM), **_per_class(precision_TRKSM, truth.class_names)}


def _twelve(precision_TRKSM: NDArray[np.float64], recall_TKSM: NDArray[np.float64]) -> dict[str, float]:
    """The lines COCO prints. Sizes: all, small, medium, large; limits: 1, 10, 100 detections a picture."""
    small, medium, large = 1, 2, 3
    return {
        "map": _mean(precision_TRKSM[..., 0, -1]),
        "map_50": _mean(precision_TRKSM[0, ..., 0, -1]),
        "map_75": _mean(precision_TRKSM[5, ..., 0, -1]),
        "map_small": _mean(precision_TRKSM[..., small, -1]),
        "map_medium": _mean(precision_TRKSM[..., medium, -1]),
        "map_large": _mean(precision_TRKSM[..., large, -1]),
        "mar_1": _mean(recall_TKSM[..., 0, 0]),
        "mar_10": _mean(recall_TKSM[..., 0, 1]),
        "mar_100": _mean(recall_TKSM[..., 0, 2]),
        "mar_small": _mean(recall_TKSM[..., small, -1]),
        "mar_medium": _mean(recall_TKSM[..., medium, -1]),
        "mar_large": _mean(recall_TKSM[..., large, -1]),
    }


def _per_class(precision_TRKSM: NDArray[np.float64], class_names: tuple[str, ...]) -> dict[str, float]:
    means_K = [_mean(precision_TRKSM[:, :, label, 0, -1]) for label in range(len(class_names))]
    return {f"map/{name}": mean for name, mean in zip(class_names, means_K, strict=True) if mean > -1}


def _mean(values: NDArray[np.float64]) -> float:
    """The mean of what could be measured; -1 if nothing could."""
    measured = values[values > -1]
    return float(measured.mean()) if measured.size else -1.0


Columns = dict[str, NDArray[Any]]
Curves = tuple[NDArray[np.float64], NDArray[np.float64]]


def _run_faster_coco_eval(images: list[Any], categories: list[Any], boxes_to_find: Columns, found: Columns) -> Curves:
    from faster_coco_eval import COCO, COCOeval_faster

    def silent(*_: object) -> None: ...

    truth_api, found_api = _filled(COCO, images, categories, boxes_to_find, found)
    run = COCOeval_faster(truth_api, found_api, iouType="bbox", print_function=silent)
    return _curves(run, len(categories))


def _run_pycocotools(images: list[Any], categories: list[Any], boxes_to_find: Columns, found: Columns) -> Curves:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        truth_api, found_api = _filled(COCO, images, categories, boxes_to_find, found)
        return _curves(COCOeval(truth_api, found_api, iouType="bbox"), len(categories))


def _run_hotcoco(images: list[Any], categories: list[Any], boxes_to_find: Columns, found: Columns) -> Curves:
    from hotcoco import COCO, COCOeval

    truth_api = COCO.from_arrays(
        images,
        categories,
        boxes_to_find["image"],
        boxes_to_find["category"],
        boxes_to_find["bbox"],
        area=boxes_to_find["area"],
        iscrowd=boxes_to_find["crowd"],
    )
    table_D7 = np.column_stack([found["image"], found["bbox"], found["score"], found["category"]])
    return _curves(COCOeval(truth_api, truth_api.load_res(table_D7), "bbox"), len(categories))


_RUN: dict[str, Callable[[list[Any], list[Any], Columns, Columns], Curves]] = {
    "faster_coco_eval": _run_faster_coco_eval,
    "pycocotools": _run_pycocotools,
    "hotcoco": _run_hotcoco,
}


def _filled(
    api: Callable[[], Any], images: list[Any], categories: list[Any], boxes_to_find: Columns, found: Columns
) -> tuple[Any, Any]:
    """Two of COCO's objects. Built by hand: its loader invents an outline of eight numbers for every detection."""
    areas_D = found["bbox"][:, 2] * found["bbox"][:, 3]
    found = {**found, "area": areas_D, "crowd": np.zeros(len(areas_D), dtype=np.int64)}
    filled = []
    for columns in (boxes_to_find, found):
        coco = api()
        coco.dataset = {"images": images, "categories": categories, "annotations": _annotations(columns)}
        coco.createIndex()
        filled.append(coco)
    return filled[0], filled[1]


def _annotations(columns: Columns) -> list[dict[str, Any]]:
    """One dictionary a box. Ids start at 1: COCO's matching reads 0 as "not matched"."""
    keys = {"image": "image_id", "category": "category_id", "crowd": "iscrowd"}
    names = ["id", *(keys.get(name, name) for name in columns)]
    numbers = range(1, len(columns["bbox"]) + 1)
    rows = zip(numbers, *(column.tolist() for column in columns.values()), strict=True)
    return [dict(zip(names, row, strict=True)) for row in rows]


def _curves(run: Any, num_classes: int) -> Curves:
    run.evaluate()
    run.accumulate()
    precision_TRKSM = np.asarray(run.eval["precision"], dtype=np.float64).reshape(10, 101, num_classes, 4, 3)
    recall_TKSM = np.asarray(run.eval["recall"], dtype=np.float64).reshape(10, num_classes, 4, 3)
    return precision_TRKSM, recall_TKSM
