"""Examples: the protocol buffers that classify and regress signatures parse."""

from __future__ import annotations

import pytest

from tf_serving_flask_app.backends.examples import serialized_example

pytestmark = pytest.mark.tensorflow


def test_features_are_of_the_type_of_their_first_value() -> None:
    from tensorflow.core.example.example_pb2 import Example

    features = {"i": [1, -2], "f": [0.5], "b": [b"\xff", b""], "none": []}
    example = Example.FromString(serialized_example(features))  # type: ignore[arg-type]
    found = example.features.feature

    assert set(found) == {"i", "f", "b", "none"}
    assert list(found["i"].int64_list.value) == [1, -2]
    assert list(found["f"].float_list.value) == [0.5]
    assert list(found["b"].bytes_list.value) == [b"\xff", b""]
    assert found["none"].WhichOneof("kind") is None


def test_two_records_one_after_the_other_have_the_features_of_both_and_the_later_wins() -> None:
    from tensorflow.core.example.example_pb2 import Example

    both = Example.FromString(serialized_example({"a": [1], "b": [1]}) + serialized_example({"b": [2]}))

    assert {name: list(feature.int64_list.value) for name, feature in both.features.feature.items()} == {
        "a": [1],
        "b": [2],
    }
