"""TensorFlow Serving's JSON: a request as tensors, by rows or by columns, and tensors as its answer."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
from pydantic import ValidationError

from tf_serving_flask_app.apis.tfserving_types import PredictRequest, Request
from tf_serving_flask_app.apis.tfserving_values import (
    TYPES,
    check_value,
    first_wrong,
    fits,
    is_base64,
    is_list,
    is_object,
    quote,
    shape_of,
    tensor_from_json,
    type_name,
)
from tf_serving_flask_app.errors import InvalidInput, ServingError, Unsupported
from tf_serving_flask_app.json_arrays import JsonError, parse_json_prefix
from tf_serving_flask_app.tensors import Array, Signature, TensorInfo, Tensors, array_to_json, dtype_name

AnyRequest = TypeVar("AnyRequest", bound=Request)
TakesPictures = Callable[[str], bool]

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
REASONS = (
    ("Expecting property name", "Missing a name for object member."),
    ("Expecting ':'", "Missing a colon after a name of object member."),
    ("Expecting ','", "Missing a comma after a member or an element."),
    ("Unterminated string", "Missing a closing quotation mark in string."),
    ("Invalid \\u", "Incorrect hex digit after \\u escape in string."),
    ("Invalid \\", "Invalid escape character in string."),
    ("Invalid control character", "Invalid encoding in string."),
    ("The text is not UTF-8", "Invalid encoding in string."),
    ("no low surrogate", "The surrogate pair in string is invalid."),
    ("invalid low surrogate", "The surrogate pair in string is invalid."),
    ("invalid high surrogate", "The surrogate pair in string is invalid."),
    ("number is infinity", "Number too big to be stored in double."),
)
"""What a parser says of a document, and what RapidJSON, which is TensorFlow Serving's, says of it."""


def parse_document(text: bytes) -> dict[str, Any]:
    """Parse a body: one JSON object; what follows it does not matter.

    Raises:
        InvalidInput: it is something else.
    """
    text = text.removeprefix(BYTE_ORDER_MARK)
    if not text or text.isspace():
        raise InvalidInput("JSON Parse error: The document is empty")
    try:
        document = parse_json_prefix(text)
    except JsonError as exc:
        raise InvalidInput(f"JSON Parse error: {_reason(exc)}") from exc
    if not isinstance(document, dict):
        raise InvalidInput(f"JSON Value: {quote(document)} Is not object")
    return document


def _reason(error: JsonError) -> str:
    """Say it as RapidJSON does, with the place where the parser tells it."""
    said = next((said for beginning, said in REASONS if error.reason.startswith(beginning)), "Invalid value.")
    return f"{said} ({error.reason})" if error.offset is None else f"{said} at offset: {error.offset}"


def validate(kind: type[AnyRequest], document: dict[str, Any]) -> AnyRequest:
    """Validate a parsed body.

    Raises:
        InvalidInput: the signature's name is no string.
    """
    try:
        return kind.model_validate(document)
    except ValidationError as exc:
        raise InvalidInput(
            f"JSON Value: {quote(document)} not formatted correctly. 'signature_name' key must be a string value."
        ) from exc


def read_inputs(
    asked: PredictRequest, document: dict[str, Any], signature: Signature, takes_pictures: TakesPictures
) -> tuple[bool, Tensors]:
    """Turn a request into tensors.

    Args:
        asked: the request.
        document: what it was made of, for errors.
        signature: what is called.
        takes_pictures: tells of an input whether ``{"b64": ...}`` may stand for an encoded picture in it.

    Returns:
        Whether the request is by rows, and the inputs.

    Raises:
        InvalidInput: in TensorFlow Serving's words.
        Unsupported: an input is of a type that has no form in JSON.
    """
    infos = signature.inputs
    if not infos:
        raise InvalidInput(f"Failed to get input map for signature: {asked.signature_name or 'DEFAULT'}")
    match ("instances" in document, "inputs" in document):
        case (True, True):
            raise InvalidInput(
                f"JSON Value: {quote(document)} Not formatted correctly expecting only one of 'inputs' or 'instances'"
                " keys to exist"
            )
        case (False, False):
            raise InvalidInput("Missing 'inputs' or 'instances' key")
        case (False, True):
            return False, _columns(asked.inputs, infos, takes_pictures)
    if not is_list(asked.instances):
        raise InvalidInput(f"JSON Value: {quote(document)} Expecting 'instances' to be an list/array")
    if not len(asked.instances):
        raise InvalidInput(f"JSON Value: {quote(document)} No values in 'instances' array")
    return True, _rows(asked.instances, infos, takes_pictures)


def _columns(value: Any, infos: Mapping[str, TensorInfo], takes_pictures: TakesPictures) -> Tensors:
    if not is_object(value):
        if len(infos) > 1:
            raise InvalidInput(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as per"
                " tensorinfo_map"
            )
        value = dict.fromkeys(infos, value)
    inputs = {}
    for name, info in infos.items():
        if name not in value:
            raise InvalidInput(f"Missing named input: {name} in 'inputs' object.")
        taken = _as_picture(value[name], info, takes_pictures)
        inputs[name] = tensor_from_json(value[name], taken, partial(check_value, value[name], taken))
    return inputs


def _rows(instances: Any, infos: Mapping[str, TensorInfo], takes_pictures: TakesPictures) -> Tensors:
    if not isinstance(instances[0], dict) and len(infos) > 1:
        raise InvalidInput(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per"
            " tensorinfo_map"
        )
    named = is_object(instances[0])
    if len(infos) == 1 and not named and not _any_object(instances):
        [(only, info)] = infos.items()
        info = _as_picture(instances, info, takes_pictures)
        return {only: tensor_from_json(instances, info, partial(_check_rows, instances, {only: info}, named))}
    columns: dict[str, Any] = {}
    if named and all(is_object(row) and row.keys() == infos.keys() for row in instances):
        columns = {name: [row[name] for row in instances] for name in infos}
    elif not named and not _any_object(instances):
        columns = {next(iter(infos)): instances}
    taken = {name: _as_picture(column, infos[name], takes_pictures) for name, column in columns.items()}

    def explain() -> None:
        _check_rows(instances, {**infos, **taken}, named)

    if not columns:
        explain()
    inputs = {name: tensor_from_json(column, taken[name], explain) for name, column in columns.items()}
    if len(inputs) < len(infos):
        missing = infos.keys() - inputs.keys()
        raise InvalidInput(
            f"input size does not match signature: {len(inputs)}!={len(infos)} len({{{','.join(sorted(inputs))}}}) !="
            f" len({{{','.join(sorted(infos))}}}). Sent extra: {{}}. Missing but required:"
            f" {{{','.join(sorted(missing))}}}."
        )
    return inputs


def _any_object(rows: Any) -> bool:
    """Tell whether one of several values is an object; most have none, so their types are looked at first."""
    return isinstance(rows, list) and dict in set(map(type, rows)) and any(map(is_object, rows))


def _as_picture(value: Any, info: TensorInfo, takes_pictures: TakesPictures) -> TensorInfo:
    """The tensor that a value is read as: one of strings, where an encoded picture stands for an input's numbers."""
    while is_list(value) and len(value):
        value = value[0]
    if isinstance(value, dict) and is_base64(value) and takes_pictures(info.name):
        return replace(info, dtype=np.dtype(object), shape=None)
    return info


def _check_rows(instances: Any, infos: Mapping[str, TensorInfo], named: bool) -> None:
    """Look for what is wrong with rows as TensorFlow Serving does, from the first.

    Raises:
        InvalidInput: in its words.
    """
    first = instances[0] if named else {next(iter(infos)): instances[0]}
    shapes = {name: shape_of(value) for name, value in first.items()}

    def all_fit(rows: Any) -> bool:
        if not named:
            ((name, shape),) = shapes.items()
            return not _any_object(rows) and fits(rows, shape, infos[name])
        return all(is_object(row) and row.keys() == infos.keys() for row in rows) and all(
            fits([row[name] for row in rows], shapes.get(name, ()), info) for name, info in infos.items()
        )

    index = first_wrong(instances, all_fit)
    row = instances[index]
    if is_object(row) != named:
        got = "Expecting object but got list" if named else "Expecting value/list but got object"
        raise InvalidInput(f"{got} at item {index} of input list")
    for name, value in row.items() if named else [(next(iter(infos)), row)]:
        try:
            _check_item(name, value, infos, shapes)
        except ServingError as exc:
            code = "UNIMPLEMENTED" if isinstance(exc, Unsupported) else "INVALID_ARGUMENT"
            key = f" key: {name}" if named else ""
            raise InvalidInput(
                f"Failed to process element: {index}{key} of 'instances' list. Error: {code}: {exc}"
            ) from exc
    if named and row.keys() != infos.keys():
        raise InvalidInput(
            f"Failed to process element: {index} of 'instances' list. JSON object: {quote(row)} must only have"
            f" keys: {','.join(sorted(infos))}"
        )


def _check_item(name: str, value: Any, infos: Mapping[str, TensorInfo], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Check one value of one row; ``shapes`` are those of the first."""
    if name not in infos:
        raise InvalidInput(f"JSON object: does not have named input: {name}")
    check_value(value, infos[name])
    shape, first = shape_of(value), shapes[name]
    if math.prod(shape) != math.prod(first):
        raise InvalidInput(f"Expecting tensor size: {math.prod(first)} but got: {math.prod(shape)}")
    if shape != first:
        raise InvalidInput(f"Expecting shape {shape_text(first)} but got: {shape_text(shape)}")


def shape_text(shape: tuple[int, ...]) -> str:
    """A shape as TensorFlow Serving writes it."""
    return f"[{','.join(map(str, shape))}]"


def row_answer(outputs: Tensors) -> dict[str, Any]:
    """Make the answer to a request by rows.

    Raises:
        InvalidInput: the outputs have no batch dimension, or not the same.
    """
    size = 0
    for name, array in outputs.items():
        if not array.ndim:
            raise InvalidInput(f"Tensor name: {name} has no shape information")
        if not len(array):
            raise InvalidInput(f"Tensor name: {name} has invalid batch size: 0")
        if size not in (0, len(array)):
            raise InvalidInput(f"Tensor name: {name} has inconsistent batch size: {len(array)} expecting: {size}")
        size = len(array)
    values = {name: _value(name, array) for name, array in outputs.items()}
    if len(values) == 1:
        return {"predictions": values[name]}
    return {"predictions": [{name: value[row] for name, value in values.items()} for row in range(size)]}


def columnar_answer(outputs: Tensors) -> dict[str, Any]:
    """Make the answer to a request by columns.

    Raises:
        InvalidInput: an output is of a type that has no form in JSON.
    """
    values = {name: _value(name, array) for name, array in outputs.items()}
    return {"outputs": next(iter(values.values())) if len(values) == 1 else values}


def _value(name: str, array: Array) -> Any:
    if dtype_name(array.dtype) not in TYPES:
        raise InvalidInput(f"Failed to write JSON value for tensor type: {type_name(array.dtype)}")
    if array.dtype == object and name.endswith("_bytes"):
        return _as_base64(array.tolist())
    return array_to_json(array)


def _as_base64(value: Any) -> Any:
    if isinstance(value, list):
        return [_as_base64(item) for item in value]
    return {"b64": base64.b64encode(value).decode()}
