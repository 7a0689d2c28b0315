"""NumPy arrays as JSON text: valid JSON, or with the names of numbers that JSON does not have."""

from __future__ import annotations

import json
import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from tf_serving_flask_app.json_encoder import encode_json
from tf_serving_flask_app.tensors import Array, array_to_json

MIXED = [math.nan, 0.1, math.inf, -math.inf]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.array(MIXED, "float32"), b"[NaN,0.1,Infinity,-Infinity]"),
        (np.array([MIXED, MIXED], "float32"), b"[[NaN,0.1,Infinity,-Infinity],[NaN,0.1,Infinity,-Infinity]]"),
        (np.array([[0.1, math.nan]] * 2, "float32").T, b"[[0.1,0.1],[NaN,NaN]]"),
        (np.array([math.nan, 0.5], "float16"), b"[NaN,0.5]"),
        (np.array([math.nan, 1.5], ml_dtypes.bfloat16), b"[NaN,1.5]"),
        (np.array(math.nan, "float32"), b"NaN"),
        (np.array(-math.inf, ml_dtypes.bfloat16), b"-Infinity"),
        (np.array([1, 2]), b"[1,2]"),
        (np.array([True]), b"[true]"),
        (np.zeros((2, 0), "float32"), b"[[],[]]"),
        (np.array([b"NaN", b"null"], dtype=object), b'["NaN","null"]'),
    ],
)
def test_numbers_that_are_not_finite_are_named_if_asked(value: Array, text: bytes) -> None:
    assert encode_json(array_to_json(value), non_finite=True) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": math.nan, 1: [math.inf, None, "NaN", (np.float32(0.1),)]}, b'{"a":NaN,"1":[Infinity,null,"NaN",[0.1]]}'),
        ([np.float32(-math.inf), 2, True], b"[-Infinity,2,true]"),
    ],
)
def test_they_are_named_at_any_depth(value: Any, text: bytes) -> None:
    assert encode_json(value, non_finite=True) == text


def test_else_they_are_null() -> None:
    assert encode_json({"a": math.nan, "b": np.array(MIXED, "float32")}) == b'{"a":null,"b":[null,0.1,null,null]}'


def test_a_float32_has_the_same_digits_whether_or_not_another_is_not_finite() -> None:
    array = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    with_nan = np.append(array, np.float32(math.nan))

    assert encode_json(with_nan, non_finite=True) == encode_json(array)[:-1] + b",NaN]"
    assert np.array_equal(np.array(json.loads(encode_json(array)), np.float32), array)
