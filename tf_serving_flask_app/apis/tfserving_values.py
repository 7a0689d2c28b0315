"""JSON values as tensors by TensorFlow Serving's rules, and its words for what is wrong with them.

Values are turned into arrays at once. Only where that fails are they walked through, one by one, as TensorFlow Serving
does (tensorflow/serving, util/json_tensor.cc), to say what it says.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tf_serving_flask_app.errors import InvalidInput, Unsupported
from tf_serving_flask_app.tensors import Array, TensorInfo, array_from_json

QUOTED_BYTES = 256
"""Of a client's JSON, in an error."""

TYPES = {
    "float32": "float",
    "float64": "double",
    "int8": "int8",
    "int16": "int16",
    "int32": "int32",
    "int64": "int64",
    "uint8": "uint8",
    "uint32": "uint32",
    "uint64": "uint64",
    "bool": "bool",
    "object": "string",
}
"""The types that have a form in TensorFlow Serving's JSON: NumPy's name -> TensorFlow's."""

MANTISSA_BITS = {"float32": 24, "float64": 53}


def type_name(dtype: np.dtype[Any]) -> str:
    """TensorFlow's name of a type."""
    return {**TYPES, "float16": "half"}.get(dtype.name, dtype.name)


def tensor_from_json(value: Any, info: TensorInfo, explain: Callable[[], object]) -> Array:
    """Turn a JSON value into an array of the tensor's type, of whatever shape.

    Args:
        value: as it was parsed; a list of numbers may be an array.
        info: the tensor.
        explain: raises the error that TensorFlow Serving has for this value, if it has one.

    Raises:
        InvalidInput: the value does not fit the type, or its lists are of unequal length.
        Unsupported: numbers of this type have no form in JSON.
    """
    if info.dtype.name not in TYPES:
        explain()
    try:
        array = array_from_json(value, info)
    except InvalidInput:
        explain()
        raise
    bits = MANTISSA_BITS.get(info.dtype.name)
    if bits is not None and array.size and not np.abs(array).max() < 2**bits:
        explain()
    return array


def check_value(value: Any, dtype: np.dtype[Any]) -> tuple[int, ...]:
    """Walk through a value as TensorFlow Serving does.

    Returns:
        Its shape.

    Raises:
        InvalidInput: in TensorFlow Serving's words.
        Unsupported: the same.
    """
    shape = _shape(value)
    try:
        _check(value, 0, shape, dtype)
    except RecursionError as exc:
        raise InvalidInput("The lists are nested too deeply.") from exc
    return shape


def _shape(value: Any) -> tuple[int, ...]:
    """The length of the first list at each depth."""
    shape = []
    while is_list(value):
        shape.append(len(value))
        if not len(value):
            break
        value = value[0]
    return tuple(shape)


def _check(value: Any, level: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    if isinstance(value, np.ndarray) and value.shape == shape[level:]:
        _check_numbers(value, dtype)
        return
    if not is_list(value):
        if level != len(shape):
            raise InvalidInput(
                f"JSON Value: {quote(value)} found at incorrect level: {level + 1} in the JSON DOM. Expected at level:"
                f" {len(shape)}"
            )
        _check_scalar(value, dtype)
        return
    if level >= len(shape):
        raise InvalidInput(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
    if len(value) != shape[level]:
        raise InvalidInput(
            f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: {shape[level]}"
        )
    for item in value:
        _check(item, level + 1, shape, dtype)


def _check_scalar(value: Any, dtype: np.dtype[Any]) -> None:
    if dtype.name not in TYPES:
        raise Unsupported(f"Conversion of JSON Value: {quote(value)} to type: {type_name(dtype)}")
    if isinstance(value, bool):
        fits = dtype.kind == "b"
    elif isinstance(value, int | float | np.number):
        _check_numbers(_as_parsed(value), dtype)
        return
    elif dtype.kind == "O" and isinstance(value, str):
        _check_text(value)
        return
    elif dtype.kind == "O" and isinstance(value, dict):
        decode_base64(value)
        return
    else:
        fits = False
    if not fits:
        raise wrong_type(value, dtype)


def _check_numbers(numbers: Array, dtype: np.dtype[Any]) -> None:
    """Refuse the first number of an array of int64, uint64 or float64 that does not fit the type."""
    if dtype.name not in TYPES and numbers.size:
        raise Unsupported(f"Conversion of JSON Value: {quote(numbers.flat[0])} to type: {type_name(dtype)}")
    if dtype.kind in "iu" and numbers.dtype.kind in "iu":
        limits = np.iinfo(dtype)
        wrong = (numbers < limits.min) | (numbers > limits.max)
    elif dtype.kind == "f":
        most = 2 ** MANTISSA_BITS[dtype.name] - 1 if numbers.dtype.kind in "iu" else float(np.finfo(dtype).max)
        wrong = np.isfinite(numbers) & ((numbers > most) | (numbers < -most))
    else:
        wrong = np.ones(numbers.shape, bool)
    if not wrong.any():
        return
    first = numbers[wrong].flat[0]
    if dtype.kind == "f":
        raise InvalidInput(lossy(first, type_name(dtype)))
    raise wrong_type(first, dtype)


def _as_parsed(number: Any) -> Array:
    """A number as an array of int64, uint64 or float64, the last also for an integer that is none of the others."""
    try:
        array = np.asarray(number)
        return array.astype(float) if array.dtype == object else array
    except OverflowError:
        return np.asarray(np.inf)


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        raise InvalidInput("JSON Parse error: The surrogate pair in string is invalid.") from exc


def wrong_type(value: Any, dtype: np.dtype[Any]) -> InvalidInput:
    """The error for a value that is not of the tensor's type."""
    return InvalidInput(
        f"JSON Value: {quote(value)} Type: {json_type(value)} is not of expected type: {type_name(dtype)}"
    )


def lossy(number: Any, target: str) -> str:
    """The error for a number that the type cannot hold."""
    return f"Cannot convert JSON value: {quote(number)} to {target} without loss of precision."


def is_list(value: Any) -> bool:
    """Tell whether a value was a JSON list."""
    return isinstance(value, list) or (isinstance(value, np.ndarray) and value.ndim > 0)


def is_base64(value: Any) -> bool:
    """Tell whether a value stands for bytes."""
    return isinstance(value, dict) and value.keys() == {"b64"} and isinstance(value["b64"], str)


def is_object(value: Any) -> bool:
    """Tell whether a value is an object that does not stand for bytes."""
    return isinstance(value, dict) and not is_base64(value)


def decode_base64(value: Any) -> bytes:
    """Decode an object that stands for bytes.

    Raises:
        InvalidInput: it does not, or what it holds is not base64.
    """
    if not is_base64(value):
        raise InvalidInput(f"JSON Value: {quote(value)} not formatted correctly for base64 data")
    try:
        return base64.b64decode(value["b64"], validate=True)
    except ValueError as exc:
        raise InvalidInput("Unable to base64 decode") from exc


def json_type(value: Any) -> str:
    """The type of a value, as RapidJSON names it."""
    match value:
        case None:
            return "Null"
        case bool():
            return str(value)
        case dict():
            return "Object"
        case str():
            return "String"
    return "Array" if is_list(value) else "Number"


def quote(value: Any) -> str:
    """Write a value as JSON, indented by 4 as TensorFlow Serving does, as far as it is quoted."""
    written = bytearray()
    for part in json.JSONEncoder(indent=4, ensure_ascii=False, default=_plain).iterencode(value):
        written += part.encode(errors="replace")
        if len(written) >= QUOTED_BYTES:
            break
    return written[:QUOTED_BYTES].decode(errors="ignore")


def _plain(value: Any) -> Sequence[Any] | float:
    """What the encoder can write of an array: no more than is quoted."""
    number: float | Sequence[Any] = value.item() if value.ndim == 0 else list(value[:QUOTED_BYTES])
    return number
