"""Tensors as bytes: every type there and back, without a copy, and bytes that cannot be what they are said to be."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from tf_serving_flask_app.apis.open_inference_binary import array_from_bytes, array_to_bytes, reshaped, split_body
from tf_serving_flask_app.apis.open_inference_datatypes import DATATYPES
from tf_serving_flask_app.errors import InvalidInput
from tf_serving_flask_app.tensors import Array, TensorInfo

STRINGS = [b"", b"a\0b\0", b"\xff\xfe", "grüß".encode()]


def strings(*values: bytes) -> Array:
    array: Array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def of_type(name: str) -> Array:
    """Six values of a type, the ends of its range among them."""
    if name == "object":
        return strings(*STRINGS, b"5", b"6").reshape(2, 3)
    dtype = np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return np.array([limits.min, limits.max, 0, 1, 2, 3], dtype).reshape(2, 3)
    if dtype.kind == "b":
        return np.array([True, False, True, True, False, False]).reshape(2, 3)
    return np.array([np.nan, np.inf, -np.inf, -0.0, 1.5, -2], dtype).reshape(2, 3)


def there_and_back(array: Array) -> Array:
    info = TensorInfo("x", array.dtype, None)
    return array_from_bytes(memoryview(bytes(array_to_bytes(array))), info, array.shape, "m")


@pytest.mark.parametrize("name", DATATYPES)
def test_every_type_comes_back_as_it_was(name: str) -> None:
    array = of_type(name)
    back = there_and_back(array)

    assert back.dtype == array.dtype
    assert back.shape == array.shape
    if name == "object":
        assert back.tolist() == array.tolist()
    else:
        assert back.tobytes() == array.tobytes()


@pytest.mark.parametrize("name", DATATYPES)
@pytest.mark.parametrize("shape", [(0,), (3, 0, 2), ()])
def test_empty_tensors_and_scalars_of_every_type_come_back(name: str, shape: tuple[int, ...]) -> None:
    array = of_type(name).reshape(-1)[5 - int(np.prod(shape)) : 5][: int(np.prod(shape))].reshape(shape)
    back = there_and_back(array)

    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    assert back.astype(object).tolist() == array.astype(object).tolist()


def test_what_does_not_lie_row_by_row_is_written_row_by_row() -> None:
    assert bytes(array_to_bytes(np.arange(6, dtype="uint8").reshape(2, 3).T)) == bytes([0, 3, 1, 4, 2, 5])


def test_numbers_are_read_and_written_where_they_lie() -> None:
    data = np.arange(6, dtype="float32").tobytes()
    read = array_from_bytes(memoryview(data), TensorInfo("x", np.dtype("float32"), None), (2, 3), "m")
    written = array_to_bytes(read)

    assert np.shares_memory(read, np.frombuffer(data, np.uint8))
    assert np.shares_memory(np.frombuffer(written, np.uint8), np.frombuffer(data, np.uint8))


def test_tensors_need_not_lie_at_an_even_address() -> None:
    data = memoryview(b"\0" + np.array([1.5, 2.5], "float64").tobytes())[1:]

    assert array_from_bytes(data, TensorInfo("x", np.dtype("float64"), None), (2,), "m").tolist() == [1.5, 2.5]


@pytest.mark.parametrize(
    ("dtype", "data", "shape", "text"),
    [
        ("float32", b"1234567", (2,), "Expected 8, got 7"),
        ("bool", b"\x02", (1,), "bytes of 0 and 1 only"),
        ("object", b"\1\0\0", (1,), "expecting 4 bytes but only 3 bytes available"),
        ("object", b"\2\0\0\0a", (1,), "expecting string of length 2 but only 1 bytes available"),
        (
            "object",
            bytes(32),
            (1,),
            "unexpected number of string elements 2 or more for inference input 'x', expecting 1",
        ),
        ("object", b"\0\0\0\0", (2,), "unexpected number of string elements 1 for inference input 'x', expecting 2"),
        ("object", b"", (0, 2**62, 2**62), "cannot have the shape"),
    ],
)
def test_bytes_that_do_not_fit_their_shape_are_refused(
    dtype: str, data: bytes, shape: tuple[int, ...], text: str
) -> None:
    with pytest.raises(InvalidInput, match=text):
        array_from_bytes(memoryview(data), TensorInfo("x", np.dtype(dtype), None), shape, "m")


def test_a_shape_that_no_array_can_have_is_refused() -> None:
    with pytest.raises(InvalidInput, match="input 'x' is empty and cannot have the shape"):
        reshaped(np.empty(0), (0, 2**62, 2**62), "x")


@pytest.mark.parametrize(
    ("length", "parts"),
    [
        (None, (b"{}tensor", b"")),
        ("2", (b"{}", b"tensor")),
        ("002", (b"{}", b"tensor")),
        ("0", (b"", b"{}tensor")),
        ("8", (b"{}tensor", b"")),
    ],
)
def test_a_body_is_parted_where_the_header_says(length: str | None, parts: tuple[bytes, bytes]) -> None:
    text, rest = split_body(b"{}tensor", length)

    assert (text, bytes(rest)) == parts


@pytest.mark.parametrize("length", ["", "9", "-1", "+2", "2.0", "2 ", "two", "²", "9" * 30, "0" * 30 + "2"])
def test_a_header_that_is_no_length_within_the_body_is_refused(length: Any) -> None:
    with pytest.raises(InvalidInput, match=r"inference header size should be in range \(0, 8\), got: "):
        split_body(b"{}tensor", length)
