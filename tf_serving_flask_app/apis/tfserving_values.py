"""JSON values as tensors by TensorFlow Serving's rules, and its words for what is wrong with them.

Values are turned into arrays at once. Only where that fails is the first wrong one looked for, to say what TensorFlow
Serving says of it (tensorflow/serving, util/json_tensor.cc); by halves, since a walk through millions takes too long.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import numpy as np

from tf_serving_flask_app.errors import InvalidInput, Unsupported
from tf_serving_flask_app.tensors import Array, TensorInfo, all_within, array_from_json, bytes_from_base64, dtype_name

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

INTEGERS = {
    name: range(int(np.iinfo(name).min), int(np.iinfo(name).max) + 1) for name in TYPES if np.dtype(name).kind in "iu"
}
MANTISSA_BITS = {"float32": 24, "float64": 53}
LARGEST = {name: float(np.finfo(name).max) for name in MANTISSA_BITS}


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
    try:
        array = array_from_json(value, info)
    except InvalidInput:
        explain()
        raise
    if dtype_name(info.dtype) not in TYPES or _loses_digits(value, array):
        explain()
    return array


def _loses_digits(value: Any, array: Array) -> bool:
    """Tell whether a number of a value is beyond what TensorFlow Serving puts into a float type."""
    bits = MANTISSA_BITS.get(dtype_name(array.dtype))
    if bits is None or all_within(value, 1 << bits) or not array.size or np.abs(array).max() < 1 << bits:
        return False
    numbers = np.asarray(value)
    return numbers.dtype.kind not in "iuf" or bool(wrong_numbers(numbers, array.dtype).any())


def fits(values: Any, shape: tuple[int, ...], info: TensorInfo) -> bool:
    """Tell whether each of several values is right for a tensor, and of that shape."""
    try:
        array = array_from_json(values, info)
    except InvalidInput:
        return False
    return dtype_name(info.dtype) in TYPES and array.shape == (len(values), *shape) and not _loses_digits(values, array)


def first_wrong(items: Any, all_fit: Callable[[Any], bool]) -> int:
    """Find the first item that does not fit, in the time of looking at all of them twice; if all do, the last."""
    low, high = 0, len(items)
    while high - low > 1:
        middle = (low + high) // 2
        if all_fit(items[low:middle]):
            low = middle
        else:
            high = middle
    return low


def shape_of(value: Any) -> tuple[int, ...]:
    """The shape that TensorFlow Serving takes a value to have: the length of the first list at each depth."""
    shape = []
    while is_list(value):
        shape.append(len(value))
        if not len(value):
            break
        value = value[0]
    return tuple(shape)


def check_value(value: Any, info: TensorInfo) -> None:
    """Look for what is wrong with a value as TensorFlow Serving does, from its beginning.

    It goes through the lists level by level, not through each to its end: however they are nested, each is looked at
    once. A list that does not fit ends all levels below it, since what is behind it is not what is found first.

    Raises:
        InvalidInput: in TensorFlow Serving's words.
        Unsupported: the same.
    """
    shape = shape_of(value)
    wrong: InvalidInput | None = None
    items: Any = [value]
    for level, size in enumerate(shape):
        if len(items) == 1 and isinstance(items[0], np.ndarray):
            items = items[0].reshape(-1)
            break
        fitting = next((at for at, item in enumerate(items) if not is_list(item) or len(item) != size), len(items))
        if fitting < len(items):
            wrong = _wrong_list(items[fitting], level, shape)
        items = list(chain.from_iterable(map(_plain_list, items[:fitting])))
    else:
        fitting = next((at for at, item in enumerate(items) if is_list(item)), len(items))
        if fitting < len(items):
            wrong = _wrong_list(items[fitting], len(shape), shape)
        items = items[:fitting]
    if len(items):
        _check_scalar(items[first_wrong(items, lambda part: fits(part, (), info))], info.dtype)
    if wrong is not None:
        raise wrong


def _plain_list(value: Any) -> list[Any]:
    plain: list[Any] = value.tolist() if isinstance(value, np.ndarray) else value
    return plain


def _wrong_list(value: Any, level: int, shape: tuple[int, ...]) -> InvalidInput:
    """What is wrong with a value that is no list of the right length, or is one where none belongs."""
    if not is_list(value):
        return InvalidInput(
            f"JSON Value: {quote(value)} found at incorrect level: {level + 1} in the JSON DOM. Expected at level:"
            f" {len(shape)}"
        )
    if level >= len(shape):
        return InvalidInput(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
    return InvalidInput(
        f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: {shape[level]}"
    )


def _check_scalar(value: Any, dtype: np.dtype[Any]) -> None:
    if isinstance(value, np.generic):
        value = value.item()
    name = dtype.name
    if name not in TYPES:
        raise Unsupported(f"Conversion of JSON Value: {quote(value)} to type: {type_name(dtype)}")
    if isinstance(value, bool):
        right = name == "bool"
    elif isinstance(value, int | float) and name in MANTISSA_BITS:
        if not _float_holds(value, name):
            raise InvalidInput(lossy(value, TYPES[name]))
        right = True
    elif isinstance(value, int) and name in INTEGERS:
        right = value in INTEGERS[name]
    elif name == "object" and isinstance(value, str):
        _check_text(value)
        right = True
    elif name == "object" and isinstance(value, dict):
        decode_base64(value)
        right = True
    else:
        right = False
    if not right:
        raise InvalidInput(
            f"JSON Value: {quote(value)} Type: {json_type(value)} is not of expected type: {TYPES[name]}"
        )


def _float_holds(number: float, name: str) -> bool:
    """Tell whether a float type takes a number: an integer to its last digit; one beyond uint64 is a real number."""
    if isinstance(number, int) and -(2**63) <= number < 2**64:
        return abs(number) < (1 << MANTISSA_BITS[name])
    return not -math.inf < number < math.inf or abs(number) <= LARGEST[name]


def wrong_numbers(numbers: Array, dtype: np.dtype[Any]) -> Array:
    """Mark the numbers, of int64, uint64 or float64, that a float type does not take."""
    if numbers.dtype.kind == "f":
        wrong: Array = np.isfinite(numbers) & (np.abs(numbers) > LARGEST[dtype.name])
    else:
        most = (1 << MANTISSA_BITS[dtype.name]) - 1
        wrong = (numbers > most) | (numbers < -most)
    return wrong


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        raise InvalidInput("JSON Parse error: The surrogate pair in string is invalid.") from exc


def lossy(number: Any, target: str) -> str:
    """The error for a number that the type cannot hold."""
    return f"Cannot convert JSON value: {quote(number)} to {target} without loss of precision."


def is_list(value: Any) -> bool:
    """Tell whether a value was a JSON list."""
    kind = type(value)
    return kind is list or (kind is np.ndarray and value.ndim > 0)


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
        return bytes_from_base64(value["b64"])
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
