"""Python values and NumPy arrays → JSON text, without a Python object per number."""

from __future__ import annotations

import math
from itertools import chain
from typing import Any

import numpy as np
import orjson

OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS


def encode_json(data: Any, *, non_finite: bool = False) -> bytes:
    """Encode a value whose arrays are contiguous and of numbers, as ``tensors.array_to_json`` makes them.

    Each float is written with the fewest digits that its own type needs, a float16 as float32.

    Args:
        data: the value.
        non_finite: write ``NaN``, ``Infinity`` and ``-Infinity``, which JSON does not have but TensorFlow Serving
            reads and writes; else they are null.
    """
    text = orjson.dumps(data, option=OPTIONS)
    # The encoder has null for what is not finite, so that where there is none, nothing has to be looked for.
    return orjson.dumps(_with_names(data), option=OPTIONS) if non_finite and b"null" in text else text


def _with_names(value: Any) -> Any:
    """Encode what is not finite, and leave the rest to the encoder."""
    if isinstance(value, np.ndarray):
        return value if value.dtype.kind != "f" or np.isfinite(value).all() else orjson.Fragment(_named(value))
    if isinstance(value, float | np.floating):
        return value if math.isfinite(value) else orjson.Fragment(_name(float(value)))
    if isinstance(value, dict):
        return {key: _with_names(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_with_names(item) for item in value]
    return value


def _named(array: np.ndarray[Any, Any]) -> bytes:
    """Encode an array, in which the encoder has null for each number that is not finite."""
    first, *others = orjson.dumps(array, option=OPTIONS).split(b"null")
    names = map(_name, array[~np.isfinite(array)].tolist())
    return b"".join([first, *chain.from_iterable(zip(names, others, strict=True))])


def _name(value: float) -> bytes:
    return b"NaN" if math.isnan(value) else b"Infinity" if value > 0 else b"-Infinity"
