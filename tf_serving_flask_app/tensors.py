"""Tensors by name: what a signature takes and gives, checked; and JSON values ↔ NumPy arrays.

Strings are arrays of dtype ``object`` that hold ``bytes``, as TensorFlow gives and takes them.
"""

from __future__ import annotations

import base64
import math
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Any

import numpy as np

from tf_serving_flask_app.errors import InvalidInput

Tensors = dict[str, np.ndarray[Any, Any]]
Array = np.ndarray[Any, Any]

NUMBERS = {bool, int, float, list, np.ndarray}
"""The types of what an array of numbers is made of. Of texts NumPy would make one that is as wide as the longest."""

TAKEN = {"O": "O", "b": "b", "i": "iu", "u": "iu", "f": "iuf", "c": "iufc"}
"""A tensor's kind of type -> NumPy's kinds of what a client may send for it; of floats those that NumPy lacks, too."""

FEW = 64
"""Up to so many numbers Python is faster than NumPy at looking at each."""

HALF_BYTES = 2
LARGE = 1e38
"""What all floats hold that are longer than two bytes."""

PLAIN = "?bBhHiIlLefd"
"""NumPy's characters of the types that the encoder writes as they are."""

PREDICT_METHOD = "tensorflow/serving/predict"
CLASSIFY_METHOD = "tensorflow/serving/classify"
REGRESS_METHOD = "tensorflow/serving/regress"
"""Names that SavedModels give to what their signatures are for."""


@lru_cache(64)
def dtype_name(dtype: np.dtype[Any]) -> str:
    """``dtype.name``, which NumPy puts together anew each time."""
    return dtype.name


@dataclass(frozen=True)
class TensorInfo:
    """One input or output of a signature.

    Attributes:
        name: the name that clients use.
        dtype: NumPy's type; ``object`` for strings.
        shape: None where the rank is unknown; None as a size means any length.
        tensor: its name in the model's graph, ``x:0``; empty where the model has no graph.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | None, ...] | None
    tensor: str = ""

    def __str__(self) -> str:
        return f"{self.name}: {self.type_name}{self.shape_text}"

    @property
    def type_name(self) -> str:
        """The type as users name it: ``string`` for object arrays."""
        return "string" if self.dtype == object else dtype_name(self.dtype)

    @property
    def shape_text(self) -> str:
        """The shape as users write it, -1 for any length: ``[-1, 224, 224, 3]``."""
        return "[...]" if self.shape is None else str([-1 if size is None else size for size in self.shape])

    def accepts_shape(self, shape: tuple[int, ...]) -> bool:
        """Tell whether an array of that shape fits."""
        if self.shape is None or len(shape) != len(self.shape):
            return self.shape is None
        wanted = [size if want is None else want for want, size in zip(self.shape, shape, strict=True)]
        return wanted == list(shape)


@dataclass(frozen=True)
class Signature:
    """One way to call a model: named inputs to named outputs.

    Attributes:
        name: the name that clients use.
        inputs: by the name that clients use.
        outputs: by the name that clients use.
        method: what it is for, in TensorFlow Serving's words; a SavedModel says it.
    """

    name: str
    inputs: Mapping[str, TensorInfo]
    outputs: Mapping[str, TensorInfo]
    method: str = PREDICT_METHOD

    def check(self, tensors: Tensors, *, any_shape: bool = False) -> None:
        """Refuse tensors that do not fit this signature.

        Args:
            tensors: by input name.
            any_shape: leave their shapes to the model.

        Raises:
            InvalidInput: names, a type or a shape differ; the text says which and what is expected.
        """
        if tensors.keys() != self.inputs.keys():
            raise InvalidInput(
                f"This model takes the inputs {_names(self.inputs)}, but got {_names(tensors)}; send exactly those."
            )
        for name, info in self.inputs.items():
            array = tensors[name]
            if array.dtype != info.dtype:
                got = TensorInfo(name, array.dtype, None).type_name
                raise InvalidInput(f"Input {name!r} is {got}, but this model takes {info.type_name}.")
            if not any_shape and not info.accepts_shape(array.shape):
                raise InvalidInput(
                    f"Input {name!r} has shape {list(array.shape)}, but this model takes {info.shape_text}."
                )


def _names(tensors: Mapping[str, Any]) -> str:
    return ", ".join(repr(name) for name in sorted(tensors)) or "none"


def array_from_json(value: Any, info: TensorInfo) -> Array:
    """Turn a JSON number, string, true, false or nested list into an array of the tensor's type.

    In place of any list of numbers an array will do, as ``parse_json`` makes them; it is copied only where its type is
    another. Strings may come as ``{"b64": "..."}``. Integers are taken only where nothing is lost: 1.5 is no int64,
    300 no uint8, and true is no number. Floats are rounded from float64 to the tensor's type.

    Raises:
        InvalidInput: rows of unequal length, or an element that is not of the type.
    """
    kind = info.dtype.kind if info.dtype.kind in "Obiuc" else "f"
    types = _types_in(value)
    if kind != "O" and not types <= NUMBERS:
        raise InvalidInput(f"Input {info.name!r} takes {info.type_name} values; got {_beginning(value)!r}.")
    try:
        array = np.asarray(_decode_bytes(value) if kind == "O" else value)
    except (ValueError, RecursionError) as exc:
        raise InvalidInput(
            f"Input {info.name!r}: the rows of a list must be of equal length, in at most 64 dimensions."
        ) from exc
    given = array.dtype.kind
    if kind in "iu" and given in "fO" and array.size and types <= {int, list}:
        # NumPy makes floats or objects of integers when some are beyond int64.
        array, given = np.array(value, dtype=object), "i"
    if given not in TAKEN[kind] and array.size:
        raise InvalidInput(f"Input {info.name!r} takes {info.type_name} values; got {_beginning(value)!r}.")
    if kind == "O":
        return _object_array(array)
    if bool in types and kind != "b" and array.size:
        raise InvalidInput(f"Input {info.name!r} takes {info.type_name} values; got true or false among them.")
    if kind in "iu" and array.size:
        limits = np.iinfo(info.dtype)
        if int(array.min()) < limits.min or int(array.max()) > limits.max:
            raise InvalidInput(f"Input {info.name!r} takes {info.type_name}, {limits.min} to {limits.max}.")
    if kind in "iub" or (info.dtype.itemsize > HALF_BYTES and all_within(value, LARGE)):
        return array.astype(info.dtype, copy=False)
    with np.errstate(over="ignore"):  # which takes longer than all the rest does for a few numbers
        return array.astype(info.dtype, copy=False)


def all_within(value: Any, bound: float) -> bool:
    """Tell of numbers, in lists of equal length, whether all are below a bound in size, where there are but few.

    Returns:
        True if they are; False if one is not or is NaN, if there are none, or if NumPy is faster to tell.
    """
    while type(value) is list and 0 < len(value) <= FEW:
        if isinstance(value[0], int | float):
            return bool(-bound < min(value) and max(value) < bound)
        if type(value[0]) is not list:
            return False
        value = list(chain.from_iterable(value))
    return False


def _types_in(value: Any) -> set[type]:
    """The types of a value and of what its lists hold, at any depth."""
    level, here = value, {type(value)}
    types = here
    while list in here:
        here = set(map(type, level))
        types = types | here
        if list in here:
            lists = level if len(here) == 1 else [item for item in level if type(item) is list]
            level = list(chain.from_iterable(lists))
    return types


def _beginning(value: Any) -> str:
    """A value as an error quotes it."""
    if isinstance(value, np.ndarray):
        value = value.reshape(-1)[:8].tolist()
    return (value if isinstance(value, str) else reprlib.repr(value))[:60]


def _decode_bytes(value: Any) -> Any:
    """Replace strings and ``{"b64": ...}`` by bytes, at any depth."""
    if isinstance(value, list):
        return [_decode_bytes(item) for item in value]
    if isinstance(value, str):
        return _Bytes(value.encode("utf-8", "surrogateescape"))
    if isinstance(value, dict) and value.keys() == {"b64"} and isinstance(value["b64"], str):
        try:
            return _Bytes(bytes_from_base64(value["b64"]))
        except ValueError as exc:
            raise InvalidInput(f"'b64' does not hold base64: {exc}.") from exc
    return value


def bytes_from_base64(text: str) -> bytes:
    """Decode base64, whose lines may be broken and whose padding may be left out, as TensorFlow Serving takes it too.

    Raises:
        ValueError: it is no base64.
    """
    digits = "".join(text.split()).rstrip("=")
    return base64.b64decode(digits + "=" * (-len(digits) % 4), validate=True)


class _Bytes:
    """Keeps NumPy from making an ``S`` array, which would cut trailing zero bytes off."""

    def __init__(self, value: bytes) -> None:
        self.value = value


def _object_array(array: Array) -> Array:
    flat = [item.value for item in array.reshape(-1) if isinstance(item, _Bytes)]
    if len(flat) != array.size:
        raise InvalidInput("A string input takes strings or {'b64': ...} only.")
    result = np.empty(len(flat), dtype=object)
    result[:] = flat
    return result.reshape(array.shape)


def array_to_json(array: Array) -> Any:
    """Make an array ready for the encoder, which writes numbers of NumPy arrays as their own type prints them.

    Bytes become text, or ``{"b64": ...}`` where they are no UTF-8.
    """
    if array.dtype.char not in PLAIN:
        if array.dtype == object:
            return _encode_bytes(array.tolist())
        if dtype_name(array.dtype) == "bfloat16":
            array = array.astype(np.float32)
        if array.dtype.char in "qQ":  # C's long long, of which the encoder does not know single numbers
            array = array.view(array.dtype.name)
        if array.dtype.kind not in "fiub":
            return array.astype(str).tolist()
    return np.ascontiguousarray(array) if array.ndim else array[()]


def _encode_bytes(value: Any) -> Any:
    if isinstance(value, list):
        return [_encode_bytes(item) for item in value]
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return {"b64": base64.b64encode(value).decode()}
    return value


def zeros(info: TensorInfo, any_length: int = 1) -> Array:
    """Make an array of zeros (empty strings) that fits, ``any_length`` long where the shape is free."""
    shape = tuple(any_length if size is None else size for size in info.shape or ())
    if info.dtype == object:
        result = np.empty(math.prod(shape), dtype=object)
        result[:] = b""
        return result.reshape(shape)
    return np.zeros(shape, info.dtype)
