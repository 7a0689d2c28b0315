"""Requests as tensors and tensors as answers; what a real server says of each is in the table `golden/v1.yaml`."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from tf_serving_flask_app.apis.tfserving_json import (
    columnar_answer,
    parse_document,
    read_inputs,
    row_answer,
    validate,
)
from tf_serving_flask_app.apis.tfserving_types import PredictRequest
from tf_serving_flask_app.errors import InvalidInput
from tf_serving_flask_app.tensors import Signature, TensorInfo, Tensors

PICTURE = {"b64": "aGVsbG8="}
IMAGE = TensorInfo("image", np.dtype("float32"), (None, 8, 8, 3))


def read(document: dict[str, Any], *infos: TensorInfo, pictures: bool = False) -> tuple[bool, Tensors]:
    signature = Signature("s", {info.name: info for info in infos}, {})
    return read_inputs(validate(PredictRequest, document), document, signature, lambda name: pictures)


def floats(name: str) -> TensorInfo:
    return TensorInfo(name, np.dtype("float32"), None)


def test_lists_that_the_parser_made_arrays_of_are_taken_as_they_are() -> None:
    by_rows, inputs = read({"instances": np.array([[2, 3], [4, 5]])}, floats("x"))

    assert by_rows
    assert inputs["x"].dtype == np.float32
    assert inputs["x"].tolist() == [[2.0, 3.0], [4.0, 5.0]]


def test_rows_that_hold_arrays_are_stacked() -> None:
    rows = [{"x": np.array([2, 3]), "y": 2.5}, {"x": np.array([4, 5]), "y": 3}]
    _, inputs = read({"instances": rows}, floats("x"), floats("y"))

    assert {name: array.tolist() for name, array in inputs.items()} == {"x": [[2, 3], [4, 5]], "y": [2.5, 3.0]}


def test_rows_whose_arrays_differ_are_refused() -> None:
    with pytest.raises(InvalidInput, match=r"Failed to process element: 1 key: x .* Expecting tensor size: 2 but got"):
        read({"instances": [{"x": np.array([2, 3])}, {"x": np.array([4])}]}, floats("x"))


def test_of_an_array_the_first_row_that_does_not_fit_is_named() -> None:
    with pytest.raises(InvalidInput, match=r"^Failed to process element: 2 of .*JSON value: 16777217 to"):
        read({"instances": np.array([[2, 3], [4, 5], [2**24 + 1, 2**25], [2**25, 2]])}, floats("x"))


def test_large_floats_are_taken() -> None:
    _, inputs = read({"instances": np.array([3e9, np.nan, np.inf])}, floats("x"))

    np.testing.assert_array_equal(inputs["x"], np.array([3e9, np.nan, np.inf], np.float32))


def test_an_empty_array_is_no_batch() -> None:
    with pytest.raises(InvalidInput, match="No values in 'instances' array"):
        read({"instances": np.array([])}, floats("x"))


@pytest.mark.parametrize(
    ("document", "shape"),
    [
        ({"instances": [PICTURE, PICTURE]}, (2,)),
        ({"instances": [{"image": PICTURE}]}, (1,)),
        ({"instances": [[PICTURE]]}, (1, 1)),
        ({"inputs": PICTURE}, ()),
        ({"inputs": {"image": [PICTURE]}}, (1,)),
    ],
)
def test_encoded_pictures_come_as_bytes_where_they_are_taken(document: dict[str, Any], shape: tuple[int, ...]) -> None:
    _, inputs = read(document, IMAGE, pictures=True)

    assert inputs["image"].shape == shape
    assert set(inputs["image"].reshape(-1)) == {b"hello"}


def test_an_input_that_takes_pictures_takes_its_numbers_too() -> None:
    _, inputs = read({"instances": np.full((1, 8, 8, 3), 7)}, IMAGE, pictures=True)

    assert inputs["image"].dtype == np.float32


@pytest.mark.parametrize("rows", [[PICTURE], ["hello"], [{"image": PICTURE}]])
def test_elsewhere_an_encoded_picture_is_of_the_wrong_type(rows: list[Any]) -> None:
    with pytest.raises(InvalidInput, match="is not of expected type: float"):
        read({"instances": rows}, IMAGE, pictures=rows == ["hello"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b'{"a" 1}', "Missing a colon after a name of object member. at offset: 5"),
        (b"{a: 1}", "Missing a name for object member. at offset: 1"),
        (b'{"a": "b', "Missing a closing quotation mark in string. at offset: 6"),
        (b'{"a": "\\u12"}', "Incorrect hex digit after \\u escape in string. at offset: 8"),
        (b'{"a": "\\x"}', "Invalid escape character in string. at offset: 7"),
        (b'{"a": ?}', "Invalid value. at offset: 6"),
        (b'{"a": "\xff"}', "Invalid encoding in string. at offset: 7"),
    ],
)
def test_the_place_and_the_reason_of_bad_json_are_told(text: bytes, said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_document(text)

    assert str(caught.value) == f"JSON Parse error: {said}"


def test_bytes_are_base64_only_where_the_outputs_name_says_so() -> None:
    text = np.array([b"a", b"\xff"], object)

    assert row_answer({"y_bytes": text}) == {"predictions": [{"b64": "YQ=="}, {"b64": "/w=="}]}
    assert columnar_answer({"y": text}) == {"outputs": ["a", {"b64": "/w=="}]}


def test_an_answer_by_rows_has_an_object_for_each_row_of_several_outputs() -> None:
    answer = row_answer({"a": np.array([1, 2], np.uint8), "b": np.array([[True], [False]])})

    assert json.loads(json.dumps(answer, default=lambda value: value.tolist())) == {
        "predictions": [{"a": 1, "b": [True]}, {"a": 2, "b": [False]}]
    }
