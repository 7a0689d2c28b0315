"""Outputs as their best classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from tests.conftest import COLORS, HALF
from tf_serving_flask_app.apis.open_inference_classification import best_classes
from tf_serving_flask_app.errors import InvalidInput
from tf_serving_flask_app.loading import load_task
from tf_serving_flask_app.settings import Settings
from tf_serving_flask_app.spec import ModelSpec
from tf_serving_flask_app.tasks.base import Task


@pytest.fixture
def make(make_specs: Callable[..., list[ModelSpec]]) -> Callable[[dict[str, Any]], Task]:
    """Load one model."""
    return lambda model: load_task(make_specs(model)[0], Settings.from_environ({}))


@pytest.mark.parametrize(
    ("scores", "count", "classes"),
    [
        (np.array([0.25, 0.5], "float32"), 1, [b"0.500000:1"]),
        (np.array([[0.25, 0.5], [2, 1]], "float64"), 1, [[b"0.500000:1"], [b"2.000000:0"]]),
        (np.array([[[1, 2], [4, 3]]], "float32"), 3, [[b"4.000000:2", b"3.000000:3", b"2.000000:1"]]),
        (np.array([1, 1, 1], "float32"), 2, [b"1.000000:0", b"1.000000:1"]),
        (np.array([np.nan, 1], "float32"), 2, [b"1.000000:1", b"nan:0"]),
        (np.array([0, 255, 7], "uint8"), 3, [b"255:1", b"7:2", b"0:0"]),
        (
            np.array([-(2**63), 2**63 - 1, 2**63 - 2]),
            3,
            [b"9223372036854775807:1", b"9223372036854775806:2", b"-9223372036854775808:0"],
        ),
        (np.array([1, 2], "float16"), 1, [b"2.000000:1"]),
        (np.array([1, 2], ml_dtypes.bfloat16), 1, [b"2.000000:1"]),
        (np.array([[1, 2]], "float32"), 9, [[b"2.000000:1", b"1.000000:0"]]),
        (np.array(3, "float32"), 2, [b"3.000000:0"]),
        (np.zeros((0, 3), "float32"), 2, []),
        (np.zeros((2, 0), "float32"), 2, [[], []]),
        (np.zeros((0, 2**40), "int8"), 2, []),
        (np.zeros(0, "float32"), 2, []),
    ],
)
def test_the_highest_scores_come_first(
    make: Callable[[dict[str, Any]], Task], scores: Any, count: int, classes: Any
) -> None:
    assert best_classes(scores, count, "y", make(HALF)).tolist() == classes


def test_classes_of_the_tasks_scores_have_labels_and_others_have_none(make: Callable[[dict[str, Any]], Task]) -> None:
    colors = make(COLORS)
    scores = np.array([[0.25, 0, 0.75]], "float32")

    assert best_classes(scores, 2, "scores", colors).tolist() == [[b"0.750000:2:blue", b"0.250000:0:red"]]
    assert best_classes(scores, 1, "other", colors).tolist() == [[b"0.750000:2"]]


@pytest.mark.parametrize("dtype", ["bool", "object", "complex64"])
def test_what_is_no_number_has_no_classes(make: Callable[[dict[str, Any]], Task], dtype: str) -> None:
    with pytest.raises(InvalidInput, match="class result not available for output due to unsupported type"):
        best_classes(np.zeros(2, dtype), 1, "y", make(HALF))
