"""Tensors as JSON Schemas: what is described is what the model takes, and no schema or example is ever large."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import numpy as np
import orjson
import pytest

from tf_serving_flask_app.apis.tensor_schemas import (
    ENCODED_BYTES,
    answer_schema,
    example,
    item,
    record_schema,
    sample,
    tensor_schema,
)
from tf_serving_flask_app.tensors import TensorInfo, array_from_json, array_to_json

Shape = tuple[int | None, ...] | None


def info(dtype: str = "float32", shape: Shape = (None,)) -> TensorInfo:
    return TensorInfo("x", np.dtype(object if dtype == "string" else dtype), shape)


def fits(schema: dict[str, Any], value: Any) -> bool:
    return jsonschema_rs.is_valid({**schema, "components": {"schemas": {"EncodedBytes": ENCODED_BYTES}}}, value)


@pytest.mark.parametrize(
    ("tensor", "right", "wrong"),
    [
        (info(), [1, 2.5], [["deeper"]]),
        (info(), [], 1),
        (info("float64", ()), 1.5, [1.5]),
        (info("int64", (None, 2)), [[1, 2]], [[1, 2, 3]]),
        (info("int64"), [2**63 - 1], [2**63]),
        (info("uint8"), [255], [256]),
        (info("int32"), [1], [1.5]),
        (info("bool", (2,)), [True, False], [1, 0]),
        (info("string"), ["a", {"b64": "AA=="}], [5]),
        (info("string"), [], [{"b64": "AA==", "more": 1}]),
    ],
)
def test_what_a_model_takes_fits_and_what_it_refuses_does_not(tensor: TensorInfo, right: Any, wrong: Any) -> None:
    assert fits(tensor_schema(tensor), right)
    assert not fits(tensor_schema(tensor), wrong)


@pytest.mark.parametrize("value", [1, "a", [[]]])
def test_a_tensor_of_open_rank_may_be_anything(value: Any) -> None:
    open_rank = info(shape=None)

    assert fits(tensor_schema(open_rank), value)
    assert fits(answer_schema(open_rank), value)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "uint64", "bool", "string"])
@pytest.mark.parametrize("shape", [(), (None,), (2, None, 3), None, (None, 224, 224, 3)])
def test_a_model_takes_its_example(dtype: str, shape: Shape) -> None:
    tensor = info(dtype, shape)
    value = example(tensor)

    assert array_from_json(value, tensor).ndim == len(shape or ())
    assert fits(tensor_schema(tensor), value)
    assert fits(
        answer_schema(tensor),
        orjson.loads(orjson.dumps(array_to_json(sample(tensor)), option=orjson.OPT_SERIALIZE_NUMPY)),
    )


def test_a_large_tensor_is_told_in_words_and_shown_in_part() -> None:
    large = info(shape=(None, 224, 224, 3))

    assert example(large) == [[[[0.0]]]]
    assert "minItems" not in str(tensor_schema(large))
    assert tensor_schema(large)["description"] == "x: float32[-1, 224, 224, 3]"


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_a_number_that_json_does_not_have_is_answered_as_null(dtype: str) -> None:
    assert fits(answer_schema(info(dtype)), [None, 1.5])
    assert not fits(tensor_schema(info(dtype)), [None])


def test_an_item_is_a_tensor_without_its_first_dimension() -> None:
    assert item(info(shape=(None, 3))).shape == (3,)
    assert item(info(shape=None)).shape is None


def test_a_record_has_exactly_its_members() -> None:
    record = record_schema({"x": {"type": "number"}})

    assert [fits(record, value) for value in ({"x": 1}, {}, {"x": 1, "y": 2}, {"x": "a"})] == [
        True,
        False,
        False,
        False,
    ]
