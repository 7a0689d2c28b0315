"""Examples of classify and regress: which features JSON makes, and which outputs are an answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from werkzeug.exceptions import RequestEntityTooLarge

from tf_serving_flask_app.apis.tfserving_examples import (
    classify_answer,
    features_from_json,
    read_examples,
    regress_answer,
)
from tf_serving_flask_app.apis.tfserving_json import validate
from tf_serving_flask_app.apis.tfserving_types import ExamplesRequest
from tf_serving_flask_app.errors import InvalidInput


@pytest.mark.parametrize(
    ("value", "feature"),
    [
        (20, [20]),
        ([1, True, False], [1, 1, 0]),
        (6.0, [6.0]),
        ([8.0, float("inf")], [8.0, float("inf")]),
        (["baz", {"b64": "aGVsbG8="}], [b"baz", b"hello"]),
        ([], []),
        (np.array([1, 2]), [1, 2]),
        (np.array([0.5, 2.0]), [0.5, 2.0]),
        (-(2**63), [-(2**63)]),
        (-(2**63) - 1, [float(-(2**63) - 1)]),
    ],
)
def test_a_feature_is_of_the_type_of_its_values(value: Any, feature: list[Any]) -> None:
    made = features_from_json({"f": value})["f"]

    assert list(made) == feature
    assert list(map(type, made)) == list(map(type, feature))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([10, 10.0], "Unexpected element type in feature: f expecting type: int64"),
        (["a", 1], "Unexpected element type in feature: f expecting type: bytes"),
        ([0.5, "a"], "Unexpected element type in feature: f expecting type: float"),
        (np.array([[1]]), "Feature: f has element with unexpected JSON type: Array"),
        (np.array([2**64 - 1], np.uint64), "Feature: f has uint64 element. Only int64 is supported."),
        (10**400, "Cannot convert JSON value: 1"),
        (np.array([1e300]), "Cannot convert JSON value: 1e+300 to float without loss of precision."),
        ({"b64": "*"}, "Unable to base64 decode"),
    ],
)
def test_other_values_are_refused(value: Any, text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        features_from_json({"f": value})

    assert str(caught.value).startswith(text)


@pytest.mark.tensorflow
def test_a_context_that_makes_too_much_of_a_small_request_is_too_large() -> None:
    document = {"context": {"a": "x" * 1000}, "examples": [{}, {}]}
    asked = validate(ExamplesRequest, document)

    assert [len(example) > 1000 for example in read_examples(asked, document, 2100)] == [True, True]
    assert len(read_examples(asked, document, None)) == 2
    with pytest.raises(RequestEntityTooLarge):
        read_examples(asked, document, 2000)


@pytest.mark.parametrize(
    ("outputs", "text"),
    [
        ({"classes": np.array([[b"a"]], object), "scores": np.ones((1, 2), np.float32)}, r"dim_size\(1\). Got 1 vs. 2"),
        ({"classes": np.ones((1, 1))}, "Expected classes Tensor of DT_STRING. Got: DT_DOUBLE"),
        ({"scores": np.ones((2, 1), np.float32)}, "Expected scores output batch size of 1. Got: 2"),
    ],
)
def test_outputs_that_are_no_classes_are_refused(outputs: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidInput, match=text):
        classify_answer(outputs, 1)


@pytest.mark.parametrize(
    ("output", "text"),
    [
        (np.ones((1, 2), np.float32), r"either \[batch_size\] or \[batch_size, 1\] but got \[1,2\]"),
        (np.ones(2, np.float32), "Input batch size did not match output batch size: 1 vs. 2"),
        (np.ones(1), "Expected output Tensor of DT_FLOAT.  Got: DT_DOUBLE"),
    ],
)
def test_outputs_that_are_no_numbers_are_refused(output: Any, text: str) -> None:
    with pytest.raises(InvalidInput, match=text):
        regress_answer({"outputs": output}, 1)
