"""Mean average precision, on cases that can be counted by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from tf_serving_flask_app.export.mean_average_precision import Objects, iou, mean_average_precision

LEFT, MIDDLE, RIGHT = (0.0, 0.0, 1.0, 1.0), (0.0, 2.0, 1.0, 3.0), (0.0, 4.0, 1.0, 5.0)
NOWHERE = (8.0, 8.0, 9.0, 9.0)


def objects(*boxes: Sequence[float], classes: Sequence[int] = (), scores: Sequence[float] = ()) -> Objects:
    """Objects of class 0, unless told otherwise, with scores of 1."""
    count = len(boxes)
    return Objects(
        np.array(boxes, float).reshape(count, 4),
        np.array(classes or [0] * count, int),
        np.array(scores or [1.0] * count),
    )


def test_iou_is_the_shared_area_by_the_area_covered_together() -> None:
    others = np.array([(0, 0, 2, 2), (1, 1, 3, 3), (0, 0, 2, 1), (2, 0, 4, 2), (5, 5, 6, 6), (0, 0, 0, 0)], float)

    assert iou(np.array((0.0, 0.0, 2.0, 2.0)), others) == pytest.approx([1, 1 / 7, 0.5, 0, 0, 0])


def test_two_boxes_without_an_area_share_nothing() -> None:
    assert iou(np.zeros(4), np.zeros((1, 4))).tolist() == [0]


def test_finding_everything_and_nothing_else_is_1() -> None:
    there = [objects(LEFT, RIGHT, classes=[0, 1]), objects(MIDDLE)]

    assert mean_average_precision(there, there) == 1


def test_finding_nothing_is_0() -> None:
    assert mean_average_precision([objects(LEFT)], [objects()]) == 0


def test_the_area_is_that_under_the_highest_precision_at_each_recall_or_beyond() -> None:
    # Right, wrong, right: recall 1/3, 1/3, 2/3 at precision 1, 1/2, 2/3; the third object is never found.
    found = objects(LEFT, NOWHERE, MIDDLE, scores=[0.9, 0.8, 0.7])

    assert mean_average_precision([objects(LEFT, MIDDLE, RIGHT)], [found]) == pytest.approx(1 / 3 + 2 / 3 / 3)


def test_a_dip_in_precision_before_later_hits_does_not_count() -> None:
    # Wrong, right, right: precision 0, 1/2, 2/3, so it is taken as 2/3 from the start.
    found = objects(NOWHERE, LEFT, MIDDLE, scores=[0.9, 0.8, 0.7])

    assert mean_average_precision([objects(LEFT, MIDDLE)], [found]) == pytest.approx(2 / 3)


def test_detections_are_ranked_over_all_pictures() -> None:
    # The wrong one of the second picture comes after the right one of the first, whatever the pictures' order.
    first, second = objects(LEFT, scores=[0.9]), objects(NOWHERE, scores=[0.8])
    there = objects(LEFT)

    assert mean_average_precision([there, objects()], [first, second]) == 1
    assert mean_average_precision([objects(), there], [second, first]) == 1
    assert mean_average_precision([there, there], [first, objects(LEFT, NOWHERE, scores=[0.5, 0.8])]) == pytest.approx(
        1 / 2 + 2 / 3 / 2
    )


def test_an_object_is_found_once_and_by_the_surest() -> None:
    # Given in the other order: the surer one is right, the other is wrong.
    twice = objects(LEFT, LEFT, MIDDLE, scores=[0.5, 0.9, 0.4])

    assert mean_average_precision([objects(LEFT, MIDDLE)], [twice]) == pytest.approx(1 / 2 + 2 / 3 / 2)


@pytest.mark.parametrize(("width", "expected"), [(0.5, 1), (0.49, 0)])
def test_a_box_counts_from_the_least_iou_on(width: float, expected: float) -> None:
    assert mean_average_precision([objects(LEFT)], [objects((0, 0, 1, width))], least_iou=0.5) == expected


def test_a_box_of_another_class_or_picture_is_no_hit() -> None:
    assert mean_average_precision([objects(LEFT)], [objects(LEFT, classes=[1])]) == 0
    assert mean_average_precision([objects(LEFT), objects()], [objects(), objects(LEFT)]) == 0


def test_the_mean_is_over_the_classes_that_are_there() -> None:
    # Class 0 is found, class 5 is not, class 7 is nowhere but imagined.
    there = [objects(LEFT, RIGHT, classes=[0, 5])]
    found = [objects(LEFT, NOWHERE, classes=[0, 7])]

    assert mean_average_precision(there, found) == 0.5


def test_nothing_to_find_is_refused_as_are_unequal_numbers_of_pictures() -> None:
    with pytest.raises(ValueError, match="no picture has an object"):
        mean_average_precision([objects()], [objects(LEFT)])
    with pytest.raises(ValueError, match="shorter"):
        mean_average_precision([objects(LEFT), objects(LEFT)], [objects(LEFT)])
