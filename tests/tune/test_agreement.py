"""How answers are compared."""

from __future__ import annotations

import numpy as np
import pytest

from tf_serving_flask_app.tensors import Array
from tf_serving_flask_app.tune.agreement import compare_objects, compare_scores, compare_tensors

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
    agreement = compare_objects(reference, others)

    assert agreement.share == 0.5
    assert agreement.difference == pytest.approx(0.05)
    assert compare_objects(reference, [[]] * 4).share == 0.25


def test_tensors_differ_relative_to_the_outputs_largest_value() -> None:
    reference = [{"y": np.array([100.0, 1.0]), "n": np.array([3])}, {"y": np.array([200.0, 2.0]), "n": np.array([3])}]
    others = [{"y": np.array([100.0, 2.0]), "n": np.array([3])}, {"y": np.array([200.0, 2.0]), "n": np.array([3])}]
    agreement = compare_tensors(reference, others)

    assert agreement.difference == pytest.approx(1 / 200)
    assert agreement.share == pytest.approx(1 - 1 / 200)


def test_equal_infinities_and_nans_agree_and_others_do_not() -> None:
    odd = {"y": np.array([np.nan, np.inf, 1.0])}

    assert compare_tensors([odd], [odd]).share == 1
    assert compare_tensors([odd], [{"y": np.array([0.0, np.inf, 1.0])}]).share == 0


def test_strings_agree_where_they_are_equal() -> None:
    one, other = np.array([b"a", b"b"], object), np.array([b"a", b"c"], object)

    assert compare_tensors([{"s": one}], [{"s": one}]).share == 1
    assert compare_tensors([{"s": one}], [{"s": other}]).share == 0.5


def test_tensors_of_other_shapes_do_not_agree() -> None:
    assert compare_tensors([{"y": np.zeros(2)}], [{"y": np.zeros(3)}]).share == 0
