"""The text of one list of numbers → one NumPy array, made without an object per number.

simdjson's ``as_buffer`` hands all numbers of a nested list over in one piece, but not its shape. That is told by the
first rows, and then compared with what is left of the text when all that makes numbers is taken out of it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import simdjson

Array = np.ndarray[Any, Any]

MOST_DIMENSIONS = 64

VALUES = {b"NaN": math.nan, b"Infinity": math.inf, b"-Infinity": -math.inf}
STAND_INS = {
    b"-Infinity": b"-1.3417085162349213e-207",
    b"Infinity": b"1.8640293175520834e-219",
    b"NaN": b"2.719338e-231",
}
"""Numbers that take the place of what simdjson does not know; the longer name is before the one that it ends in."""

IN_NUMBERS = b"0123456789.eE+- \t\r\n"
BLOCK = 1 << 16


def array_of_list(text: memoryview, non_finite: bool) -> Array | None:
    """Parse a list of numbers.

    Args:
        text: from the opening bracket to the closing one.
        non_finite: take ``NaN``, ``Infinity`` and ``-Infinity``.

    Returns:
        int64 where all are integers, uint64 where some of them are beyond int64, else float64. None where the text is
        something else, the list has no numbers, its rows are not of equal length, or integers fit no one type.
    """
    parser = simdjson.Parser()
    try:
        parsed = parser.parse(text)
    except RuntimeError:  # nested too deep
        return None
    except ValueError:
        return _array_with_stand_ins(bytes(text)) if non_finite else None
    shape, first = [], parsed
    while isinstance(first, simdjson.Array):
        if not len(first):
            return None
        shape.append(len(first))
        first = first[0]
    flat = _flat(parsed)
    if flat is None or len(shape) > MOST_DIMENSIONS:
        return None
    # Not as it was: simdjson does not count beyond 2**24.
    shape[0] = flat.size // math.prod(shape[1:])
    if math.prod(shape) != flat.size or _skeleton(text) != _skeleton_of(shape):
        return None
    return flat.reshape(shape)


def _flat(numbers: Any) -> Array | None:
    """All numbers of a list; None where one is something else, or integers fit no one type."""
    try:
        return np.frombuffer(numbers.as_buffer(of_type="i"), np.int64)
    except TypeError:
        of_type, dtype = "d", "float64"
    except ValueError:
        of_type, dtype = "u", "uint64"
    try:
        return np.frombuffer(numbers.as_buffer(of_type=of_type), dtype)
    except (TypeError, ValueError):
        return None


def _skeleton(text: memoryview) -> bytes:
    """What is left of a list's text when all that makes numbers is taken away."""
    blocks = (text[at : at + BLOCK] for at in range(0, len(text), BLOCK))  # small ones, which stay in the cache
    return b"".join([bytes(block).translate(None, IN_NUMBERS) for block in blocks])


def _skeleton_of(shape: list[int]) -> bytes:
    """What is left of the text of any list of that shape."""
    inner = b""
    for size in reversed(shape):
        inner = b"[" + ((inner + b",") * size)[:-1] + b"]"
    return inner


def _array_with_stand_ins(text: bytes) -> Array | None:
    """Parse a list of numbers of which some are not finite."""
    if b"NaN" not in text and b"Infinity" not in text:
        return None
    wanted = {}
    for name, stand_in in STAND_INS.items():
        wanted[float(stand_in)] = VALUES[name], text.count(name)
        # In blanks, so that what it joined to is not a number either now.
        text = text.replace(name, b" " + stand_in + b" ")
    array = array_of_list(memoryview(text), non_finite=False)
    if array is None:
        return None
    for number, (value, count) in wanted.items():
        places = array == number
        if np.count_nonzero(places) != count:  # the client uses that number, too
            return None
        array[places] = value
    return array
