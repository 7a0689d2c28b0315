"""Ranking: the first few are those that sorting all of them gives."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest

from tf_serving_flask_app.ranking import ranked


@pytest.mark.parametrize(
    ("scores", "order"),
    [
        (np.array([0.1, 0.9, 0.5]), [1, 2, 0]),
        (np.array([0.5, 0.9, 0.5, 0.9, 0.5], "float32"), [1, 3, 0, 2, 4]),
        (np.array([math.nan, 0.25, math.nan, math.inf, -math.inf]), [3, 1, 4, 0, 2]),
        (np.array([math.nan, math.nan]), [0, 1]),
        (np.array([0.0, -0.0, 0.0]), [0, 1, 2]),
        (np.array([0, 200, 7, 200], "uint8"), [1, 3, 2, 0]),
        (np.array([-128, 127, 0], "int8"), [1, 2, 0]),
        (np.array([2**63, 2**63 + 1], "uint64"), [1, 0]),
        (np.array([0.5, 2, -1], ml_dtypes.bfloat16), [1, 0, 2]),
        (np.zeros(0), []),
    ],
)
def test_the_first_few_are_those_of_all(scores: np.ndarray[tuple[int], np.dtype[np.generic]], order: list[int]) -> None:
    ranks = {most: ranked(scores, most).tolist() for most in range(1, len(order) + 2)}

    assert ranked(scores).tolist() == order
    assert ranks == {most: order[:most] for most in ranks}


def test_so_it_is_with_many_scores_of_few_values() -> None:
    draw = np.random.default_rng(0)
    scores = draw.choice(np.array([0, 0.25, 0.5, 1, math.nan], "float32"), (20, 1000))
    for row in scores:
        assert ranked(row, 50).tolist() == np.argsort(-row, kind="stable")[:50].tolist()
