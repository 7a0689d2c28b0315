"""TensorFlow Serving's classify and regress: examples in, scores or numbers out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from werkzeug.exceptions import RequestEntityTooLarge

from tf_serving_flask_app.apis.tfserving_json import shape_text
from tf_serving_flask_app.apis.tfserving_metadata import data_type
from tf_serving_flask_app.apis.tfserving_types import ExamplesRequest
from tf_serving_flask_app.apis.tfserving_values import decode_base64, is_base64, is_list, json_type, lossy, quote
from tf_serving_flask_app.backends.examples import Feature, serialized_example
from tf_serving_flask_app.errors import InvalidInput
from tf_serving_flask_app.tensors import Array, Signature, Tensors, array_to_json

INPUTS = "inputs"
CLASSES, SCORES = "classes", "scores"
OUTPUTS = "outputs"
"""The names that such signatures have (tensorflow/cc/saved_model/signature_constants.h)."""

MIN_INT64, MAX_INT64, MAX_UINT64 = -(2**63), 2**63 - 1, 2**64 - 1
MAX_FLOAT = float(np.finfo(np.float32).max)
KINDS = {int: "int64", float: "float", bytes: "bytes"}


def read_examples(asked: ExamplesRequest, document: dict[str, Any], most: int | None) -> Array:
    """Make the input of a classify or regress signature: a serialized ``tf.train.Example`` for each example.

    Args:
        asked: the request.
        document: what it was made of, for errors.
        most: bytes of the context that all examples may hold together; None for no bound.

    Raises:
        InvalidInput: in TensorFlow Serving's words.
        RequestEntityTooLarge: each example holds the context, and that makes too much of it.
    """
    context = b""
    if "context" in document:
        context = serialized_example(features_from_json(asked.context))
    if "examples" not in document:
        raise InvalidInput(
            f"JSON Value: {quote(document)} When method is classify, key 'examples' is expected and was not found"
        )
    if not is_list(asked.examples):
        raise InvalidInput(f"JSON Value: {quote(document)} Expecting 'examples' value to be an list/array")
    if not len(asked.examples):
        raise InvalidInput(f"JSON Value: {quote(document)} 'examples' value is an empty array")
    if most is not None and len(context) * len(asked.examples) > most:
        raise RequestEntityTooLarge
    examples = np.empty(len(asked.examples), dtype=object)
    examples[:] = [context + serialized_example(features_from_json(example)) for example in asked.examples]
    return examples


def features_from_json(value: Any) -> dict[str, Feature]:
    """Read an example: integers, true and false are int64 features, other numbers float, strings bytes.

    Raises:
        InvalidInput: in TensorFlow Serving's words.
    """
    if not isinstance(value, dict):
        raise InvalidInput(f"Example must be JSON object but got JSON {json_type(value)}")
    return {name: _feature(name, content) for name, content in value.items()}


def _feature(name: str, content: Any) -> Feature:
    items = content if is_list(content) else [content]
    values = [_feature_value(name, item) for item in items]
    kinds = list(dict.fromkeys(map(type, values)))
    if len(kinds) > 1:
        raise InvalidInput(f"Unexpected element type in feature: {name} expecting type: {KINDS[kinds[0]]}")
    feature: Any = values
    return feature  # type: ignore[no-any-return]


def _feature_value(name: str, value: Any) -> int | float | bytes:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, int) and value > MAX_INT64 and value <= MAX_UINT64:
        raise InvalidInput(f"Feature: {name} has uint64 element. Only int64 is supported.")
    if isinstance(value, int) and MIN_INT64 <= value <= MAX_INT64:
        return int(value)
    if isinstance(value, int | float):
        if not -math.inf < value < math.inf or abs(value) <= MAX_FLOAT:
            return float(value)
        raise InvalidInput(lossy(value, "float"))
    if isinstance(value, str):
        return value.encode(errors="replace")
    if is_base64(value):
        return decode_base64(value)
    raise InvalidInput(f"Feature: {name} has element with unexpected JSON type: {json_type(value)}")


def check_classify(signature: Signature) -> None:
    """Refuse a signature that cannot classify examples.

    Raises:
        InvalidInput: in TensorFlow Serving's words.
    """
    _check_input(signature, "classification")
    if len(signature.outputs) not in (1, 2):
        raise InvalidInput(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    if not signature.outputs.keys() & {CLASSES, SCORES}:
        raise InvalidInput(
            f'Expected classification signature outputs to contain at least one of "{CLASSES}" or "{SCORES}". Signature'
            f" was: {signature.name}"
        )


def check_regress(signature: Signature) -> None:
    """Refuse a signature that makes no number of an example.

    Raises:
        InvalidInput: in TensorFlow Serving's words.
    """
    _check_input(signature, "regression")
    if len(signature.outputs) != 1:
        raise InvalidInput("Expected one output Tensor.")
    if OUTPUTS not in signature.outputs:
        raise InvalidInput(f"No regression outputs found in SignatureDef: {signature.name}")


def _check_input(signature: Signature, what: str) -> None:
    if len(signature.inputs) != 1:
        raise InvalidInput("Expected one input Tensor.")
    if INPUTS not in signature.inputs:
        raise InvalidInput(f"No {what} inputs found in SignatureDef: {signature.name}")
    info = signature.inputs[INPUTS]
    if info.dtype != object:
        raise InvalidInput(f"Expects arg[0] to be {info.type_name} but string is provided")


def classify_answer(outputs: Tensors, count: int) -> dict[str, Any]:
    """Make the answer of a classify signature's outputs.

    Raises:
        InvalidInput: they are not [examples, classes].
    """
    found = {name: outputs[name] for name in (CLASSES, SCORES) if name in outputs}
    for name, array in found.items():
        if array.ndim != 2:
            raise InvalidInput(f"Expected Tensor shape: [batch_size num_classes] but got {shape_text(array.shape)}")
        wanted = np.dtype(object if name == CLASSES else np.float32)
        if array.dtype != wanted:
            raise InvalidInput(f"Expected {name} Tensor of {data_type(wanted)}. Got: {data_type(array.dtype)}")
        if len(array) != count:
            raise InvalidInput(f"Expected {name} output batch size of {count}. Got: {len(array)}")
    shapes = {array.shape for array in found.values()}
    if len(shapes) > 1:
        raise InvalidInput(
            f"Tensors class and score should match in dim_size(1). Got {found[CLASSES].shape[1]} vs."
            f" {found[SCORES].shape[1]}"
        )
    shape = shapes.pop()
    labels = array_to_json(found[CLASSES]) if CLASSES in found else np.full(shape, "").tolist()
    scores = found.get(SCORES, np.zeros(shape, np.float32))
    return {"results": [[list(pair) for pair in zip(*row, strict=True)] for row in zip(labels, scores, strict=True)]}


def regress_answer(outputs: Tensors, count: int) -> dict[str, Any]:
    """Make the answer of a regress signature's output.

    Raises:
        InvalidInput: it is not one number for each example.
    """
    array = outputs[OUTPUTS]
    if not (array.ndim == 1 or (array.ndim == 2 and array.shape[1] == 1)):
        raise InvalidInput(
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got"
            f" {shape_text(array.shape)}"
        )
    if len(array) != count:
        raise InvalidInput(f"Input batch size did not match output batch size: {count} vs. {len(array)}")
    if array.dtype != np.float32:
        raise InvalidInput(f"Expected output Tensor of DT_FLOAT.  Got: {data_type(array.dtype)}")
    return {"results": array_to_json(array.reshape(-1))}
