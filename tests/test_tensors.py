"""Tensors: JSON becomes arrays without loss, arrays become JSON, and signatures refuse what does not fit."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np
import orjson
import pytest

from tf_serving_flask_app.errors import InvalidInput
from tf_serving_flask_app.tensors import Array, Signature, TensorInfo, all_within, array_from_json, array_to_json, zeros

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


def info(dtype: Any, shape: tuple[int | None, ...] | None = None, name: str = "x") -> TensorInfo:
    return TensorInfo(name, np.dtype(dtype), shape)


def strings(*values: bytes) -> Array:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def nested(depth: int, value: Any = 1) -> Any:
    for _ in range(depth):
        value = [value]
    return value


def as_json(array: Array) -> Any:
    """What a client reads: through the encoder that the routes use."""
    return orjson.loads(orjson.dumps(array_to_json(array), option=orjson.OPT_SERIALIZE_NUMPY))


@pytest.mark.parametrize(
    ("value", "dtype", "expected"),
    [
        (1, "int32", np.array(1, "int32")),
        ([1, 2], "uint8", np.array([1, 2], "uint8")),
        ([0, 255], "uint8", np.array([0, 255], "uint8")),
        ([-128, 127], "int8", np.array([-128, 127], "int8")),
        ([2**63 - 1, -(2**63)], "int64", np.array([2**63 - 1, -(2**63)], "int64")),
        ([2**64 - 1, 0], "uint64", np.array([2**64 - 1, 0], "uint64")),
        (2**64 - 1, "uint64", np.array(2**64 - 1, "uint64")),
        ([[1.5], [2]], "float32", np.array([[1.5], [2]], "float32")),
        ([1, 2], "float64", np.array([1.0, 2.0])),
        ([0, 1], "float32", np.array([0, 1], "float32")),
        ([1.5, 2], "float16", np.array([1.5, 2], "float16")),
        ([1.5, 2], BFLOAT16, np.array([1.5, 2], BFLOAT16)),
        (1, "complex64", np.array(1, "complex64")),
        ([True, False], "bool", np.array([True, False])),
        (False, "bool", np.array(False)),
        ([], "float32", np.zeros(0, "float32")),
        ([[], []], "int64", np.zeros((2, 0), "int64")),
        ([], "bool", np.zeros(0, "bool")),
        ([], "object", strings()),
        (nested(64), "float32", np.ones((1,) * 64, "float32")),
        (nested(50, 2**64 - 1), "uint64", np.full((1,) * 50, 2**64 - 1, "uint64")),
        ([np.array([2, 3]), [4, 5]], "float32", np.array([[2, 3], [4, 5]], "float32")),
        (["a", "b"], "object", strings(b"a", b"b")),
        (["é\0"], "object", strings("é\0".encode())),
        ([{"b64": "/wA="}, "a"], "object", strings(b"\xff\0", b"a")),
        ([{"b64": "/wA"}, {"b64": " /w\nA=\r\n"}], "object", strings(b"\xff\0", b"\xff\0")),
        ([["a"], ["b"]], "object", strings(b"a", b"b").reshape(2, 1)),
        ([""], "object", strings(b"")),
    ],
)
def test_a_json_value_becomes_an_array_of_the_tensors_type(value: Any, dtype: Any, expected: Array) -> None:
    array = array_from_json(value, info(dtype))

    assert (array.dtype, array.shape) == (expected.dtype, expected.shape)
    assert array.tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("value", "dtype", "text"),
    [
        (1.5, "int64", "takes int64 values; got '1.5'"),
        (2.0, "int32", "takes int32 values; got '2.0'"),
        (1e300, "int64", "takes int64 values"),
        (256, "uint8", "takes uint8, 0 to 255"),
        (-1, "uint8", "takes uint8, 0 to 255"),
        ([1, 128], "int8", "takes int8, -128 to 127"),
        (2**63, "int64", "takes int64, -9223372036854775808 to 9223372036854775807"),
        ([2**63, -1], "uint64", "takes uint64, 0 to 18446744073709551615"),
        (2**64, "uint64", "takes uint64, 0 to 18446744073709551615"),
        (10**400, "int64", "takes int64, -9223372036854775808 to"),
        (True, "int64", "takes int64 values; got 'True'"),
        ([2, True], "int64", "got true or false among them"),
        ([[0.5], [False]], "float32", "got true or false among them"),
        (True, BFLOAT16, "takes bfloat16 values; got 'True'"),
        (1, "bool", "takes bool values; got '1'"),
        ([True, 1], "bool", "takes bool values"),
        ("1", "float32", "takes float32 values; got '1'"),
        ([1, "2"], "float32", "takes float32 values"),
        (None, "float32", "takes float32 values; got 'None'"),
        ([1, None], "int64", "takes int64 values"),
        ({"b64": "AA=="}, "float32", "takes float32 values"),
        ([[1], [2, 3]], "int64", "rows of a list must be of equal length"),
        ([1, [2]], "float32", "rows of a list must be of equal length"),
        (nested(50, 1.5), "int64", "takes int64 values; got '[[["),
        (["x" * 10**7] + [""] * 10**5, "float32", "takes float32 values; got"),
        ([["x" * 10**7], [""]] * 10**4, "bool", "takes bool values; got"),
        ([["a"], ["b", "c"]], "object", "rows of a list must be of equal length"),
        (nested(65), "float32", "at most 64 dimensions"),
        (nested(1000), "float32", "at most 64 dimensions"),
        (nested(1000), "object", "at most 64 dimensions"),
        (1, "object", "takes string values; got '1'"),
        (["a", 1], "object", "takes strings or {'b64': ...} only"),
        (["a", None], "object", "takes strings or {'b64': ...} only"),
        ({"b64": "AA==", "more": 1}, "object", "takes strings or {'b64': ...} only"),
        ({"b64": 1}, "object", "takes strings or {'b64': ...} only"),
        ({"b64": "%%"}, "object", "'b64' does not hold base64"),
        ({"b64": "AAAAA"}, "object", "'b64' does not hold base64"),
    ],
)
def test_a_json_value_that_does_not_fit_is_refused_in_one_sentence(value: Any, dtype: Any, text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        array_from_json(value, info(dtype))

    assert text in str(caught.value)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("array", "dtype"),
    [
        (np.array([[1, 2]]), "int64"),
        (np.array([[0, 255]]), "uint8"),
        (np.array([2**64 - 1], "uint64"), "uint64"),
        (np.array([7], "uint64"), "int8"),
        (np.array([[0, 1]]), "float32"),
        (np.array([0.0, 1.0, 0.1]), "float32"),
        (np.array([0.1]), "float64"),
        (np.array([1.5, 2]), BFLOAT16),
        (np.array([1, 2]), "complex64"),
        (np.zeros((0, 2)), "int32"),
    ],
)
def test_an_array_will_do_in_place_of_a_list(array: Array, dtype: Any) -> None:
    taken = array_from_json(array, info(dtype))

    assert (taken.dtype, taken.shape) == (np.dtype(dtype), array.shape)
    np.testing.assert_array_equal(taken, array.astype(dtype))


def test_an_array_of_the_right_type_is_not_copied() -> None:
    array = np.array([0.5, 1.0])

    assert array_from_json(array, info("float64")) is array


@pytest.mark.parametrize(
    ("array", "dtype", "text"),
    [
        (np.array([1.0, 2.0]), "int64", "takes int64 values; got '[1.0, 2.0]'"),
        (np.full((1, 299, 299, 3), 0.5), "int64", "takes int64 values; got '[0.5, 0.5, 0.5, 0.5"),
        (np.array([0, 256]), "uint8", "takes uint8, 0 to 255"),
        (np.array([-1, 0]), "uint64", "takes uint64, 0 to 18446744073709551615"),
        (np.array([2**63], "uint64"), "int64", "takes int64, -9223372036854775808 to"),
        (np.array([0, 1]), "bool", "takes bool values; got '[0, 1]'"),
        (np.array([0, 1]), "object", "takes string values; got '[0, 1]'"),
        (["a", np.array([0, 1])], "object", "the rows of a list must be of equal length"),
        ([np.array([0, 1]), np.array([0])], "float32", "the rows of a list must be of equal length"),
        ([np.array([0, 1]), [0, True]], "float32", "got true or false among them"),
    ],
)
def test_an_array_that_does_not_fit_is_refused(array: Any, dtype: Any, text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        array_from_json(array, info(dtype))

    assert text in str(caught.value)
    assert len(str(caught.value)) < 200


def test_a_list_of_arrays_is_one_more_dimension() -> None:
    assert array_from_json([np.array([1, 2]), [3, 4]], info("float32")).tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("dtype", ["float16", "float32", BFLOAT16])
@pytest.mark.parametrize("beside", [[], [0.5], [math.nan], [0.5] * 100])
def test_a_number_too_large_for_a_floating_type_becomes_infinite_without_a_warning(
    dtype: Any, beside: list[float]
) -> None:
    for row in ([*beside, -1e300, 1e300], [-1e300, *beside, 1e300], [-1e300, 1e300, *beside]):
        array = array_from_json([row, row], info(dtype)).astype(float)

        assert array.shape == (2, len(row))
        assert np.isinf(array).sum() == 4
        assert np.isnan(array).sum() == 2 * sum(map(math.isnan, beside))


@pytest.mark.parametrize(
    ("value", "within"),
    [
        ([1, -2.5], True),
        ([[[1.0], [2.0]], [[-9.0], [4.0]]], True),
        ([10.0, 1.0], False),
        ([[1.0], [-10.0]], False),
        ([math.nan, 10.0], False),
        ([1.0, math.nan, 10.0], False),
        ([math.inf], False),
        ([], False),
        ([[], []], False),
        (1.0, False),
        ([np.ones(2), [1, 1]], False),
        ([0.0] * 1000, False),
    ],
)
def test_of_few_numbers_it_is_told_whether_all_are_small(value: Any, within: bool) -> None:
    assert all_within(value, 10) is within


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.array([1, 2], "int8"), [1, 2]),
        (np.array([2**64 - 1], "uint64"), [2**64 - 1]),
        (np.array([True, False]), [True, False]),
        (np.array(True), True),
        (np.array(7, "uint16"), 7),
        (np.array(1.5, "float32"), 1.5),
        (np.array(1.5, "float16"), 1.5),
        (np.array([1.5, -2], "float16"), [1.5, -2.0]),
        (np.array([1.5, -2], BFLOAT16), [1.5, -2.0]),
        (np.array(1.5, BFLOAT16), 1.5),
        (np.array([math.nan, math.inf, -math.inf, 1], "float32"), [None, None, None, 1.0]),
        (np.array([math.nan, math.inf], "float16"), [None, None]),
        (np.array([math.nan, math.inf], BFLOAT16), [None, None]),
        (np.array(math.nan), None),
        (np.arange(6).reshape(2, 3).T, [[0, 3], [1, 4], [2, 5]]),
        (np.arange(6)[::-2], [5, 3, 1]),
        (np.zeros((2, 0)), [[], []]),
        (np.zeros(0), []),
        (np.array(2**64 - 1, "ulonglong"), 2**64 - 1),
        (np.array(-1, "longlong"), -1),
        (strings(b"cat", "é".encode()), ["cat", "é"]),
        (strings(b"\xff\0", b""), [{"b64": "/wA="}, ""]),
        (strings(b"a", b"b").reshape(2, 1), [["a"], ["b"]]),
        (strings(b"a").reshape(()), "a"),
        (np.array([1 + 2j]), ["(1+2j)"]),
    ],
)
def test_an_array_becomes_valid_json(array: Array, expected: Any) -> None:
    assert as_json(array) == expected


@pytest.mark.parametrize("dtype", ["ulonglong", "longlong"])
def test_rows_of_an_array_of_cs_long_long_can_be_encoded(dtype: str) -> None:
    row = array_to_json(np.array([5], dtype))[0]

    assert orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY) == b"5"


def test_a_float32_is_written_with_its_own_digits() -> None:
    assert orjson.dumps(array_to_json(np.array([0.1], "float32")), option=orjson.OPT_SERIALIZE_NUMPY) == b"[0.1]"


@pytest.mark.parametrize(
    ("shape", "given", "fits"),
    [
        (None, (), True),
        (None, (2, 3), True),
        ((), (), True),
        ((), (1,), False),
        ((None,), (0,), True),
        ((None,), (5,), True),
        ((None,), (), False),
        ((None,), (5, 1), False),
        ((None, 3), (7, 3), True),
        ((None, 3), (7, 4), False),
        ((1, 3), (2, 3), False),
    ],
)
def test_a_shape_fits_where_ranks_and_known_sizes_are_equal(
    shape: tuple[int | None, ...] | None, given: tuple[int, ...], fits: bool
) -> None:
    assert info("float32", shape).accepts_shape(given) is fits


SIGNATURE = Signature("serve", {"x": info("float32", (None, 2)), "s": info("object", None, "s")}, {})


def test_tensors_that_fit_are_accepted() -> None:
    SIGNATURE.check({"s": strings(b"a"), "x": np.zeros((0, 2), "float32")})


@pytest.mark.parametrize(
    ("tensors", "text"),
    [
        ({}, "takes the inputs 's', 'x', but got none; send exactly those"),
        ({"x": np.zeros((1, 2), "float32")}, "takes the inputs 's', 'x', but got 'x'"),
        ({"x": np.zeros(1), "s": strings(), "y": np.zeros(1)}, "but got 's', 'x', 'y'"),
        ({"x": np.zeros((1, 2)), "s": strings()}, "Input 'x' is float64, but this model takes float32."),
        ({"x": np.zeros((1, 2), BFLOAT16), "s": strings()}, "Input 'x' is bfloat16, but this model takes float32."),
        ({"x": np.zeros((1, 2), "float32"), "s": np.array([b"a"])}, "but this model takes string."),
        ({"x": strings(), "s": strings()}, "Input 'x' is string, but this model takes float32."),
        ({"x": np.zeros((2, 1), "float32"), "s": strings()}, "has shape [2, 1], but this model takes [-1, 2]."),
    ],
)
def test_tensors_that_do_not_fit_are_refused_with_what_is_expected(tensors: dict[str, Array], text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        SIGNATURE.check(tensors)

    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("tensor", "text"),
    [
        (info("float32", (None, 224, 224, 3), "image"), "image: float32[-1, 224, 224, 3]"),
        (info("object", None, "s"), "s: string[...]"),
        (info(BFLOAT16, (), "b"), "b: bfloat16[]"),
    ],
)
def test_a_tensor_is_described_as_users_write_it(tensor: TensorInfo, text: str) -> None:
    assert str(tensor) == text


@pytest.mark.parametrize(
    ("dtype", "shape", "any_length", "expected_shape"),
    [
        ("float32", (None, 2), 1, (1, 2)),
        ("int64", (None, 2, None), 3, (3, 2, 3)),
        (BFLOAT16, (2,), 1, (2,)),
        ("float32", None, 1, ()),
        ("float32", (0,), 1, (0,)),
        ("object", (None, 2), 1, (1, 2)),
        ("object", (), 1, ()),
        ("object", None, 1, ()),
    ],
)
def test_zeros_fit_the_tensor(
    dtype: Any, shape: tuple[int | None, ...] | None, any_length: int, expected_shape: tuple[int, ...]
) -> None:
    array = zeros(info(dtype, shape), any_length)

    assert (array.shape, array.dtype) == (expected_shape, np.dtype(dtype))
    assert not array.any()
    Signature("s", {"x": info(dtype, shape)}, {}).check({"x": array})


def test_zeros_of_a_string_tensor_are_empty_strings() -> None:
    assert zeros(info("object", (None,)), 2).tolist() == [b"", b""]
