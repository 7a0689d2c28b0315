"""How far a candidate's answers are those of float32.

Three kinds of answers are compared: of classifiers, the scores of all classes; of detectors, the objects, best first,
as ``/detect`` answers them; of others, output name -> tensor.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tf_serving_flask_app.tensors import Array, Tensors

Objects = Sequence[Mapping[str, Any]]

ONE_CLASS_SHARE = 0.9
"""Where float32 says the same class of more of the pictures than this, that class tells nothing of an answer."""

SAME_BOX = 0.5
"""Boxes of the same object: this much of their union is common."""


@dataclass(frozen=True)
class Agreement:
    """What was compared.

    Attributes:
        share: 0..1. Of pictures, the share with the same best class, or the same best object. Of tensors, what is left
            of 1 without ``difference``.
        difference: the largest, of scores; of tensors with fractions relative to the largest value of the output, of
            others the share of elements that are not equal.
        of: how many answers.
        note: what to know about the share, or empty.
    """

    share: float
    difference: float
    of: int
    note: str = ""


def compare_scores(reference: Sequence[Array], answers: Sequence[Array]) -> Agreement:
    """Compare classifications, of each picture the scores of all classes.

    Where float32 itself names nearly all pictures alike (a net with random weights does), the same best class says
    little. Then an answer must also be nearer to float32's for its picture than to float32's for any other.
    """
    wanted, found = (
        np.stack([scores.reshape(-1) for scores in each]).astype(np.float64) for each in (reference, answers)
    )
    best = wanted.argmax(axis=1)
    same = best == found.argmax(axis=1)
    [(number, count)] = Counter(best.tolist()).most_common(1)
    note = ""
    if count > ONE_CLASS_SHARE * len(best):
        note = f"float32 says class {number} of {count} of {len(best)} pictures, so scores must tell them apart too"
        same &= _nearest(wanted, found)
    return Agreement(float(same.mean()), _largest(np.abs(found - wanted)), len(same), note)


def compare_objects(
    reference: Sequence[Objects], answers: Sequence[Objects], min_confidence: float
) -> Agreement | None:
    """Compare detections: the best object of each picture, its class, box and score.

    Args:
        reference: float32's, of each picture.
        answers: others to the same.
        min_confidence: pictures in which float32 finds nothing with this score do not count: two answers without an
            object say nothing of each other.

    Returns:
        None where that leaves no picture.
    """
    same, differences = [], [0.0]
    for ours, theirs in zip(reference, answers, strict=True):
        best, other = _best(ours), _best(theirs)
        if best is None or best["confidence"] < min_confidence:
            continue
        if other is None:
            same.append(False)
            continue
        alike = best["class"] == other["class"]
        same.append(alike and _overlap(best["bounding_box"], other["bounding_box"]) >= SAME_BOX)
        differences.append(abs(best["confidence"] - other["confidence"]))
    if not same:
        return None
    note = f"float32 finds something in {len(same)} of {len(reference)} pictures, and only these count"
    return Agreement(float(np.mean(same)), max(differences), len(same), note if len(same) < len(reference) else "")


def compare_tensors(reference: Sequence[Tensors], answers: Sequence[Tensors]) -> Agreement | None:
    """Compare tensors: fractions by their difference relative to the output's largest, all else by equality.

    Whole numbers are classes, places and counts as often as measures: one that is off by one is another.

    Returns:
        None where no tensor has an element.
    """
    worst = 0.0
    if not any(tensor.size for answer in (*reference, *answers) for tensor in answer.values()):
        return None
    for name in reference[0]:
        ours, theirs = [each[name] for each in reference], [each[name] for each in answers]
        if any(one.shape != other.shape for one, other in zip(ours, theirs, strict=True)):
            return Agreement(0.0, float("inf"), len(reference), f"{name!r} has other shapes")
        wanted, found = (np.concatenate([array.reshape(-1) for array in arrays]) for arrays in (ours, theirs))
        if wanted.dtype.kind in "biuO":
            worst = max(worst, float(np.mean(wanted != found))) if wanted.size else worst
            continue
        wanted, found = wanted.astype(np.float64), found.astype(np.float64)
        with np.errstate(invalid="ignore"):  # infinity less infinity
            apart = np.abs(found - wanted)
        difference = np.where((wanted == found) | (np.isnan(wanted) & np.isnan(found)), 0, apart)
        largest = np.abs(wanted[np.isfinite(wanted)]).max(initial=0.0)
        worst = max(worst, _largest(difference / (largest or 1.0)))
    return Agreement(max(0.0, 1 - worst), worst, len(reference))


def _nearest(wanted: Array, found: Array) -> Array:
    """Whether each row of ``found`` is nearest to its own row of ``wanted``."""
    squares = np.array([((wanted - row) ** 2).sum(axis=1) for row in found])
    own = squares.diagonal()
    nearest: Array = own <= squares.min(axis=1)
    return nearest


def _largest(differences: Array) -> float:
    """The largest of them; what cannot be compared differs beyond measure."""
    return float(np.where(np.isnan(differences), np.inf, differences).max(initial=0.0))


def _best(objects: Objects) -> Mapping[str, Any] | None:
    """The first that has an area: networks fill their answers up with boxes that have none."""
    return next((each for each in objects if _has_area(each["bounding_box"])), None)


def _has_area(box: Sequence[float | None]) -> bool:
    left, top, right, bottom = box
    if left is None or top is None or right is None or bottom is None:  # what JSON makes of NaN
        return False
    return right > left and bottom > top


def _overlap(one: Sequence[float], other: Sequence[float]) -> float:
    """The common share of the union of two boxes that have an area; boxes are x1, y1, x2, y2."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    common = max(0.0, width) * max(0.0, height)
    union = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)) - common
    return common / union
