"""How good a detector is: mean average precision, as the PASCAL VOC challenge counts it from 2010 on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]


class Objects(NamedTuple):
    """The objects in one picture: those that are there, or those that a detector found.

    Attributes:
        boxes: [objects, 4] as [ymin, xmin, ymax, xmax], in any unit.
        classes: int [objects].
        scores: [objects], how sure a detector is; nothing reads those of objects that are there.
    """

    boxes: Floats
    classes: NDArray[np.integer]
    scores: Floats


def mean_average_precision(there: Sequence[Objects], found: Sequence[Objects], least_iou: float = 0.5) -> float:
    """Tell how well what a detector found fits what is there: the average precisions' mean over the classes.

    A detection is right if, of the objects of its class in its picture, the one that it overlaps most has an IoU of
    at least ``least_iou`` with it and was not found by a detection with a higher score. The average precision of a
    class is the area under its precision-recall curve, each precision being replaced by the highest at that recall or
    beyond. So it is in Everingham and Winn, "The PASCAL Visual Object Classes Challenge 2010 Development Kit", sections
    3.4.1 and 4.4, except that there a box ends a pixel later, as its edges are the first and last pixels inside it.

    Args:
        there: the objects of each picture.
        found: the detections of each picture, in the same order.
        least_iou: 0 to 1.

    Returns:
        0 to 1, over the classes of which there is any object.

    Raises:
        ValueError: there is no object at all, or not as many pictures in both.
    """
    classes = {int(number) for objects in there for number in objects.classes}
    if not classes:
        raise ValueError("no picture has an object, so there is nothing to find")
    return float(np.mean([_average_precision(there, found, number, least_iou) for number in sorted(classes)]))


def iou(one: Floats, others: Floats) -> Floats:
    """What a box and each of some others share, as a part of what they cover together.

    Args:
        one: [4] as [ymin, xmin, ymax, xmax].
        others: [boxes, 4].

    Returns:
        [boxes], 0 to 1.
    """
    shared = _area(np.maximum(one[:2], others[:, :2]), np.minimum(one[2:], others[:, 2:]))
    covered = _area(one[:2], one[2:]) + _area(others[:, :2], others[:, 2:]) - shared
    # Two boxes without any area cover nothing.
    return np.divide(shared, covered, out=np.zeros_like(shared), where=covered > 0)


def _area(least: Floats, most: Floats) -> Floats:
    area: Floats = np.clip(most - least, 0, None).prod(axis=-1)
    return area


def _average_precision(there: Sequence[Objects], found: Sequence[Objects], number: int, least_iou: float) -> float:
    scores: list[float] = []
    right: list[bool] = []
    wanted = 0
    for objects, detections in zip(there, found, strict=True):
        boxes = objects.boxes[objects.classes == number]
        wanted += len(boxes)
        candidates = np.flatnonzero(detections.classes == number)
        missing = np.ones(len(boxes), bool)
        for index in candidates[np.argsort(-detections.scores[candidates], kind="stable")]:
            overlaps = iou(detections.boxes[index], boxes)
            best = int(overlaps.argmax()) if len(boxes) else None
            hit = best is not None and overlaps[best] >= least_iou and bool(missing[best])
            if hit:
                missing[best] = False
            scores.append(float(detections.scores[index]))
            right.append(hit)
    if not right:
        return 0.0
    hits = np.array(right)[np.argsort(-np.array(scores), kind="stable")]
    precision = hits.cumsum() / np.arange(1, len(hits) + 1)
    highest_from_here = np.maximum.accumulate(precision[::-1])[::-1]
    # Recall rises by 1 / wanted with each hit and stays with each miss.
    return float(highest_from_here[hits].sum() / wanted)
