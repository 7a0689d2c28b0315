"""Which sizes batches have, and which signatures can be joined."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tf_serving_flask_app.batching import batch_sizes, can_batch, has_rows_by_themselves
from tf_serving_flask_app.tensors import Signature, TensorInfo


def test_sizes_are_closer_together_where_they_are_small() -> None:
    assert batch_sizes(1) == [1]
    assert batch_sizes(5) == [1, 2, 3, 4, 5]
    assert batch_sizes(33) == [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32]


def test_sizes_that_take_long_to_prepare_are_powers_of_two() -> None:
    assert batch_sizes(12, few=True) == [1, 2, 4, 8]


@pytest.mark.parametrize(
    ("takes", "gives", "joins"),
    [
        ((None, 3), (None,), True),
        ((1, 3), (1,), False),
        ((None, 3), (), False),
        (None, (None,), False),
        ((), (None,), False),
    ],
)
def test_calls_join_where_the_first_dimension_of_every_tensor_is_free(takes: Any, gives: Any, joins: bool) -> None:
    signature = Signature(
        "serving_default",
        {"x": TensorInfo("x", np.dtype("float32"), takes)},
        {"y": TensorInfo("y", np.dtype("float32"), gives)},
    )

    assert can_batch(signature) is joins


@pytest.mark.parametrize(
    ("takes", "gives", "alike"),
    [
        ((None, 3), (None, 2), True),
        ((None,), (None,), True),
        ((None,), (None, None), False),
        ((None, 3), (None, 2, None), False),
        ((None, None), (None, None), True),
        ((None, 3), None, False),
    ],
)
def test_a_free_length_in_an_answer_comes_from_values_where_none_in_the_inputs_is_free(
    takes: Any, gives: Any, alike: bool
) -> None:
    signature = Signature(
        "serving_default",
        {"x": TensorInfo("x", np.dtype("float32"), takes)},
        {"y": TensorInfo("y", np.dtype("float32"), gives)},
    )

    assert has_rows_by_themselves(signature) is alike


def test_a_signature_without_inputs_changes_state_and_is_called_once_a_call() -> None:
    output = TensorInfo("y", np.dtype("float32"), (None,))

    assert not can_batch(Signature("incr", {}, {"y": output}))
