"""JSON values as tensors: also where the parser made arrays of lists of numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tf_serving_flask_app.apis import tfserving_values
from tf_serving_flask_app.apis.tfserving_values import (
    check_value,
    first_wrong,
    fits,
    json_type,
    quote,
    shape_of,
    type_name,
)
from tf_serving_flask_app.errors import InvalidInput, Unsupported
from tf_serving_flask_app.tensors import TensorInfo

INT, FLOAT, TEXT = np.dtype("int32"), np.dtype("float32"), np.dtype(object)


@pytest.mark.parametrize(
    ("value", "dtype", "shape"),
    [
        (1, INT, ()),
        ([], FLOAT, (0,)),
        ([[], []], FLOAT, (2, 0)),
        ([[1, 2.5], [float("nan"), 3]], FLOAT, (2, 2)),
        (np.full((2, 3), 2.5), FLOAT, (2, 3)),
        (np.array([-(2**31), 2**31 - 1]), INT, (2,)),
        (np.array([2, 2**64 - 1], np.uint64), np.dtype("uint64"), (2,)),
        ([np.array([3, 2]), np.array([0.5, 2])], FLOAT, (2, 2)),
        ([np.array([3, 2]), [3, float("inf")]], FLOAT, (2, 2)),
        ([["a", {"b64": "YQ=="}]], TEXT, (1, 2)),
        ([10**30], FLOAT, (1,)),
        (np.array([1e308, -1e308]), np.dtype("float64"), (2,)),
    ],
)
def test_a_value_that_fits_has_a_shape(value: Any, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    check_value(value, TensorInfo("x", dtype, None))

    assert shape_of(value) == shape


@pytest.mark.parametrize(
    ("value", "dtype", "text"),
    [
        (np.array([1.0, 2.5]), INT, "JSON Value: 1.0 Type: Number is not of expected type: int32"),
        (np.array([[2], [2**40]]), INT, "JSON Value: 1099511627776 Type: Number is not of expected type: int32"),
        (np.array([1]), TEXT, "JSON Value: 1 Type: Number is not of expected type: string"),
        (np.array([1]), np.dtype(bool), "JSON Value: 1 Type: Number is not of expected type: bool"),
        (np.array([2, 2**24]), FLOAT, "Cannot convert JSON value: 16777216 to float without loss of precision."),
        (np.array([2.0, -1e39]), FLOAT, "Cannot convert JSON value: -1e+39 to float without loss of precision."),
        (np.array([2**64 - 1], np.uint64), np.dtype("int64"), "JSON Value: 18446744073709551615 Type: Number"),
        ([np.array([3]), np.array([3, 2])], INT, "Encountered list at unexpected size: 2 at level: 1 expected size: 1"),
        ([3, np.array([3])], INT, "Encountered list at unexpected level: 1 expected < 1"),
        ([np.array([3]), 2], INT, "JSON Value: 2 found at incorrect level: 2 in the JSON DOM. Expected at level: 2"),
        ([np.full((2, 2), 2.5), np.full((2, 3), 2.5)], FLOAT, "Encountered list at unexpected size: 3 at level: 2"),
        (10**30, INT, "JSON Value: 1000000000000000000000000000000 Type: Number is not of expected type: int32"),
        (10**400, FLOAT, "Cannot convert JSON value: 1000"),
        ("\ud800", TEXT, "JSON Parse error: The surrogate pair in string is invalid."),
    ],
)
def test_the_first_value_that_does_not_fit_is_named(value: Any, dtype: np.dtype[Any], text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_value(value, TensorInfo("x", dtype, None))

    assert str(caught.value).startswith(text)


@pytest.mark.parametrize("value", [1, 1.5, "a", None, True, [np.array([2.5])]])
def test_a_type_without_a_form_in_json_is_unsupported(value: Any) -> None:
    with pytest.raises(Unsupported, match=r"Conversion of JSON Value: .* to type: half"):
        check_value(value, TensorInfo("x", np.dtype(np.float16), None))


@pytest.mark.parametrize(("length", "wrong"), [(1, 0), (2, 0), (2, 1), (7, 3), (1000, 999), (1000, 0), (1001, 500)])
def test_the_first_wrong_item_is_found_with_few_looks(length: int, wrong: int) -> None:
    looked: list[int] = []

    def all_fit(items: range) -> bool:
        looked.append(len(items))
        return wrong not in items

    assert first_wrong(range(length), all_fit) == wrong
    assert sum(looked) <= length


def test_in_lists_nested_deeper_than_python_goes_the_wrong_value_is_found() -> None:
    value: Any = "x"
    for _ in range(3000):
        value = [value]
    with pytest.raises(InvalidInput, match="String is not of expected type: float"):
        check_value(value, TensorInfo("x", FLOAT, None))


def test_however_lists_are_nested_each_value_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []

    def counted(values: Any, shape: tuple[int, ...], info: TensorInfo) -> bool:
        looked.append(len(repr(values)))
        return fits(values, shape, info)

    monkeypatch.setattr(tfserving_values, "fits", counted)
    value: Any = [2.5] * 1000
    for _ in range(50):
        value = [value, [0.5]]
    with pytest.raises(
        InvalidInput, match=r"^Encountered list at unexpected size: 1 at level: 51 expected size: 1000$"
    ):
        check_value([value, value], TensorInfo("x", FLOAT, None))

    assert sum(looked) <= len(repr(value))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([[1, "x"], [3]], 'JSON Value: "x" Type: String'),
        ([[1, 2], [3], ["x", 4]], "Encountered list at unexpected size: 1 at level: 1 expected size: 2"),
        ([[1, 2], 3, [4]], "JSON Value: 3 found at incorrect level: 2"),
        ([[1, [2]], [3, "x"]], "Encountered list at unexpected level: 2 expected < 2"),
        ([[np.array([3, 2]), ["x", 2]], [1]], 'JSON Value: "x" Type: String'),
        ([[np.array([3, 2**40])], [1, 2]], "JSON Value: 1099511627776 Type: Number"),
    ],
)
def test_of_several_faults_the_first_in_the_text_is_told(value: Any, text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_value(value, TensorInfo("x", INT, None))

    assert str(caught.value).startswith(text)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, "Null"),
        (True, "True"),
        (False, "False"),
        ({}, "Object"),
        ("a", "String"),
        (1, "Number"),
        (np.float64(1.5), "Number"),
        ([1], "Array"),
        (np.array([1]), "Array"),
    ],
)
def test_types_are_named_as_rapidjson_names_them(value: Any, kind: str) -> None:
    assert json_type(value) == kind


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": [1, "é", None]}, '{\n    "a": [\n        1,\n        "é",\n        null\n    ]\n}'),
        (np.array([[1, 2]]), "[\n    [\n        1,\n        2\n    ]\n]"),
        (float("-inf"), "-Infinity"),
        (np.int64(5), "5"),
        ("é" * 200, '"' + "é" * 127),
        ("\ud800", '"?"'),
    ],
)
def test_a_value_is_quoted_to_256_bytes(value: Any, text: str) -> None:
    assert quote(value) == text


def test_of_a_huge_array_only_what_is_quoted_is_written() -> None:
    assert len(quote(np.broadcast_to(np.float64(1), (10**6, 10**6)))) == 256


@pytest.mark.parametrize(
    ("dtype", "name"), [("float32", "float"), (object, "string"), ("float16", "half"), ("uint16", "uint16")]
)
def test_types_have_tensorflows_names(dtype: Any, name: str) -> None:
    assert type_name(np.dtype(dtype)) == name
