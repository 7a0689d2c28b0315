"""One list of numbers as an array; ``test_json_arrays`` holds it against Python's own parser, in whole documents."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from tf_serving_flask_app.number_lists import BLOCK, array_of_list


@pytest.mark.parametrize(
    ("text", "dtype", "expected"),
    [
        (b"[1]", "int64", [1]),
        (b"[ [1 , 2] ,\n[3,4]\t]", "int64", [[1, 2], [3, 4]]),
        (b"[[[1]],[[2]]]", "int64", [[[1]], [[2]]]),
        (b"[18446744073709551615]", "uint64", [2**64 - 1]),
        (b"[1,2.5e1]", "float64", [1, 25]),
        (b"[1,-Infinity,Infinity]", "float64", [1, -math.inf, math.inf]),
    ],
)
def test_a_list_of_numbers_becomes_an_array(text: bytes, dtype: str, expected: Any) -> None:
    array = array_of_list(memoryview(text), non_finite=True)

    assert array is not None
    assert array.dtype == dtype
    assert array.tolist() == expected


@pytest.mark.parametrize(
    "text",
    [
        b"[ [ ], [ ] ]",
        b"[]",
        b"[[1],[2,3]]",
        b"[[1,2],[3]]",
        b"[[1,2],[3],[4,5,6]]",
        b"[1,[2]]",
        b"[[1],2]",
        b'["1"]',
        b"[true]",
        b"[null]",
        b"[{}]",
        b"[9223372036854775808,-1]",
        b"[18446744073709551616]",
        b"[1e999]",
        b"[1][2]",
        b"[1,]",
        b"[1",
        b"[\xff]",
        b"[" * 2000 + b"]" * 2000,
    ],
)
def test_anything_else_is_none(text: bytes) -> None:
    assert array_of_list(memoryview(text), non_finite=True) is None


def test_names_of_numbers_are_taken_only_if_asked() -> None:
    assert array_of_list(memoryview(b"[NaN]"), non_finite=False) is None


def test_rows_are_compared_also_where_one_lies_across_two_blocks() -> None:
    rows = [b"[1.25,2.5,3]"] * (3 * BLOCK // 12)
    regular = array_of_list(memoryview(b"[" + b",".join(rows) + b"]"), non_finite=True)
    rows[len(rows) // 2 :] = [b"[1.25,2.5]", b"[1.25,2.5,3,4]", *rows[len(rows) // 2 + 2 :]]
    ragged = array_of_list(memoryview(b"[" + b",".join(rows) + b"]"), non_finite=True)

    assert regular is not None
    assert regular.shape == (len(rows), 3)
    assert ragged is None


def test_more_elements_than_the_parser_counts_are_all_there() -> None:
    count = 2**24 + 5
    array = array_of_list(memoryview(b"[" + b"7," * (count - 1) + b"8]"), non_finite=True)

    assert array is not None
    assert array.shape == (count,)
    assert np.array_equal(array[-2:], [7, 8])
