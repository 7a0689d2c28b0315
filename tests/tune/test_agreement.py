"""How answers are compared."""

from __future__ import annotations

import numpy as np
import pytest

from tf_serving_flask_app.tensors import Array, Tensors
from tf_serving_flask_app.tune.agreement import Agreement, compare_objects, compare_scores, compare_tensors

THREE = [np.array([[0.7, 0.2, 0.1]]), np.array([[0.1, 0.8, 0.1]]), np.array([[0.3, 0.3, 0.4]])]


def test_the_same_best_class_agrees_and_the_largest_difference_is_told() -> None:
    moved = [THREE[0], np.array([[0.3, 0.6, 0.1]]), np.array([[0.4, 0.3, 0.3]])]
    agreement = compare_scores(THREE, moved)

    assert agreement.share == pytest.approx(2 / 3)
    assert agreement.difference == pytest.approx(0.2)
    assert (agreement.of, agreement.note) == (3, "")


def random_net(noise: float) -> tuple[list[Array], list[Array]]:
    """The scores of a net that says class 1 of every picture, and the same with noise."""
    random = np.random.default_rng(0)
    scores = [np.array([0.1, 0.8, 0.1]) + random.normal(0, 1e-4, 3) for _ in range(20)]
    return scores, [each + random.normal(0, noise, 3) for each in scores]


def test_where_all_pictures_are_of_one_class_their_scores_must_tell_them_apart() -> None:
    near, far = compare_scores(*random_net(1e-7)), compare_scores(*random_net(1e-3))

    assert near.share == 1
    assert far.share < 0.5
    assert near.note == "float32 says class 1 of 20 of 20 pictures, so scores must tell them apart too"


def test_scores_that_are_no_numbers_differ_beyond_measure() -> None:
    assert compare_scores(THREE, [np.full((1, 3), np.nan)] * 3).difference == np.inf


def found(kind: int, score: float, *box: float) -> dict[str, object]:
    return {"class": kind, "confidence": score, "bounding_box": list(box)}


def test_the_best_objects_agree_in_class_and_place() -> None:
    reference = [[found(1, 0.9, 0, 0, 0.5, 0.5), found(2, 0.8, 0, 0, 1, 1)]] * 3 + [[]]
    others = [
        [found(1, 0.85, 0, 0, 0.5, 0.45)],
        [found(2, 0.9, 0, 0, 0.5, 0.5)],
        [found(1, 0.9, 0.5, 0.5, 1, 1)],
        [],
    ]
    agreement = compare_objects(reference, others, 0.8)

    assert agreement is not None
    assert agreement.share == pytest.approx(1 / 3)
    assert agreement.difference == pytest.approx(0.05)
    assert agreement.of == 3
    assert agreement.note == "float32 finds something in 3 of 4 pictures, and only these count"


NOTHING: list[list[dict[str, object]]] = [
    [],
    [found(1, 0.79, 0, 0, 0.5, 0.5)],  # which the model does not report
    [found(1, 0.9, 0, 0, 0, 0)],
    [{"class": 1, "confidence": 0.9, "bounding_box": [None, 0, 1, 1]}],
]


@pytest.mark.parametrize("nothing", NOTHING)
def test_pictures_in_which_float32_finds_nothing_tell_nothing(nothing: list[dict[str, object]]) -> None:
    something = [found(1, 0.8, 0, 0, 0.5, 0.5)]
    agreement = compare_objects([something, nothing], [something, something], 0.8)

    assert agreement is not None
    assert (agreement.share, agreement.of) == (1, 1)
    assert compare_objects([nothing], [nothing], 0.8) is None


def test_an_object_that_is_not_found_again_does_not_agree() -> None:
    something = [found(1, 0.8, 0, 0, 0.5, 0.5)]
    agreements = [compare_objects([something], [other], 0.8) for other in ([], [found(1, 0.9, 0, 0, 0, 0)])]

    assert [agreement and (agreement.share, agreement.of) for agreement in agreements] == [(0, 1), (0, 1)]


def test_boxes_without_an_area_do_not_hide_the_best_object() -> None:
    empty, something = found(2, 0.95, 0, 0, 0, 0), found(1, 0.9, 0, 0, 0.5, 0.5)
    agreement = compare_objects([[empty, something]], [[something]], 0.8)

    assert agreement is not None
    assert agreement.share == 1


def tensors(reference: list[Tensors], answers: list[Tensors]) -> Agreement:
    """What comes of tensors in which there is something to compare."""
    agreement = compare_tensors(reference, answers)
    assert agreement is not None
    return agreement


def test_tensors_differ_relative_to_the_outputs_largest_value() -> None:
    reference = [{"y": np.array([100.0, 1.0]), "n": np.array([3])}, {"y": np.array([200.0, 2.0]), "n": np.array([3])}]
    others = [{"y": np.array([100.0, 2.0]), "n": np.array([3])}, {"y": np.array([200.0, 2.0]), "n": np.array([3])}]
    agreement = tensors(reference, others)

    assert agreement.difference == pytest.approx(1 / 200)
    assert agreement.share == pytest.approx(1 - 1 / 200)


def test_equal_infinities_and_nans_agree_and_others_do_not() -> None:
    odd = {"y": np.array([np.nan, np.inf, 1.0])}

    assert tensors([odd], [odd]).share == 1
    assert tensors([odd], [{"y": np.array([0.0, np.inf, 1.0])}]).share == 0


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (np.array([b"a", b"b"], object), np.array([b"a", b"c"], object)),
        (np.array([1000, 998]), np.array([1000, 999])),
        (np.array([3, 255], np.uint8), np.array([3, 0], np.uint8)),
        (np.array([True, False]), np.array([True, True])),
    ],
)
def test_what_has_no_fractions_agrees_where_it_is_equal(one: Array, other: Array) -> None:
    assert tensors([{"s": one}], [{"s": one}]).share == 1
    assert tensors([{"s": one}], [{"s": other}]).share == 0.5
    assert tensors([{"s": one}], [{"s": other}]).difference == 0.5


def test_tensors_of_other_shapes_do_not_agree() -> None:
    assert tensors([{"y": np.zeros(2)}], [{"y": np.zeros(3)}]).share == 0
    assert tensors([{"y": np.zeros(0)}], [{"y": np.zeros(3)}]).share == 0


def test_tensors_without_an_element_tell_nothing() -> None:
    assert compare_tensors([{"y": np.zeros((0, 4))}], [{"y": np.zeros((0, 4))}]) is None
