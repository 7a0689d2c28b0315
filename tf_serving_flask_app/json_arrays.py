"""JSON text → Python values, in which large lists of numbers are NumPy arrays, made without an object per number.

orjson parses everything but long lists that hold only numbers. These are cut out of the text and parsed by simdjson,
whose ``as_buffer`` hands all numbers of a nested list over in one piece; their place is held by a mark, so that
orjson still judges the document as a whole. For a ``[1, 299, 299, 3]`` tensor (5.6 MB of text, 17 digits a number,
one core) that takes 16 ms; orjson and ``np.array`` take 45, ``json`` and ``np.array`` 90. orjson alone is fastest
below a few kB, and reports where a fault is, which simdjson does not; so simdjson does not get whole documents. Its
lists and objects are not used as Python objects either: a list of more than 2**24 elements would be cut short.
"""

from __future__ import annotations

import json
import re
import secrets
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import orjson

from tf_serving_flask_app.number_lists import VALUES, Array, array_of_list

SHORTEST_BYTES = 4096
"""From this length on a list of numbers becomes an array; it is where that begins to be faster."""

BYTES_PER_STRING = 100
"""Where strings are closer together than this, there is little to cut out, and the search for it is given up."""

NOT_FINITE = re.compile(rb"-?Infinity|NaN")
BACKSLASH = ord("\\")


class JsonError(ValueError):
    """The text is no JSON.

    Attributes:
        reason: what is wrong.
        offset: where, in bytes from the text's begin; None for an empty text, and one that is nested too deeply.
    """

    def __init__(self, reason: str, offset: int | None) -> None:
        super().__init__(reason if offset is None else f"{reason} at offset {offset}")
        self.reason = reason
        self.offset = offset


@dataclass
class Cut:
    """A part of the text that is a value of its own, and that value."""

    start: int
    stop: int
    value: Array | float


def parse_json(text: bytes, *, non_finite: bool = True) -> Any:
    """Parse a JSON document.

    Args:
        text: in UTF-8.
        non_finite: take ``NaN``, ``Infinity`` and ``-Infinity``, which JSON does not have but many programs write.

    Returns:
        Python values, as orjson gives them: integers beyond 64 bits are floats, and of equal keys the last one counts.
        A list that holds nothing but numbers, at whatever depth, in rows of equal length, is an array where its text
        is long and else a list, so callers must take both; the array is int64 where all are integers, uint64
        where some of them are beyond int64, and else float64.

    Raises:
        JsonError: it is none.
    """
    cuts = list(_long_lists(text, non_finite)) if len(text) >= SHORTEST_BYTES else []
    try:
        return _parse_around(text, cuts)
    except JsonError:
        names = list(_not_finite(text, cuts)) if non_finite else []
        if not names:
            raise
    return _parse_around(text, sorted(cuts + names, key=lambda cut: cut.start))


def parse_json_prefix(text: bytes) -> Any:
    """Parse the first JSON document of a text and ignore what follows, as TensorFlow Serving does; see ``parse_json``.

    Raises:
        JsonError: it does not begin with one; the reason is in the words of Python's parser, which tells more.
    """
    try:
        return parse_json(text)
    except JsonError as exc:
        if exc.offset is None:
            raise
        end = _end_of_first_document(text)
        if end == len(text):
            raise
        return parse_json(text[:end])


def _parse_around(text: bytes, cuts: list[Cut]) -> Any:
    """Parse a text with some of its values known already."""
    if not cuts:
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError as exc:
            raise _located(exc, text, []) from None
    # A mark must be a list, as a string would also pass for a key, and no client can guess it.
    nonce = secrets.token_hex(8)
    marks = {f"{nonce}{number}": cut.value for number, cut in enumerate(cuts)}
    parts, end = [], 0
    for mark, cut in zip(marks, cuts, strict=True):
        parts += [text[end : cut.start], b'["%s"]' % mark.encode()]
        end = cut.stop
    try:
        parsed = orjson.loads(b"".join([*parts, text[end:]]))
    except orjson.JSONDecodeError as exc:
        raise _located(exc, text, [(cut, len(mark) + 4) for mark, cut in zip(marks, cuts, strict=True)]) from None
    return _with_values(parsed, marks)


def _with_values(parsed: Any, marks: dict[str, Array | float]) -> Any:
    """Put the known values in the place of their marks; not recursive, so as to bear any depth."""
    root = [parsed]
    containers: list[Any] = [root]
    while containers:
        container = containers.pop()
        for place, value in container.items() if type(container) is dict else enumerate(container):
            if type(value) is list and len(value) == 1 and type(value[0]) is str and value[0] in marks:
                container[place] = marks[value[0]]
            elif type(value) is list or type(value) is dict:
                containers.append(value)
    return root[0]


def _located(error: orjson.JSONDecodeError, text: bytes, marked: list[tuple[Cut, int]]) -> JsonError:
    """Say where in the whole text an error is; ``marked`` tells how long the mark of each cut was."""
    if not text.strip():
        return JsonError("The document is empty", None)
    try:
        text.decode()
    except UnicodeDecodeError as exc:
        return JsonError("The text is not UTF-8", exc.start)
    offset = len(error.doc[: error.pos].encode())
    for cut, length in marked:
        if offset < cut.start + length:
            return JsonError(error.msg, min(offset, cut.start))
        offset += cut.stop - cut.start - length
    return JsonError(error.msg, offset)


def _outside_strings(text: bytes) -> Iterator[tuple[int, int]]:
    """Where the text is no string; ends where a string does not."""
    start = 0
    while (quote := text.find(b'"', start)) >= 0:
        yield start, quote
        end = text.find(b'"', quote + 1)
        while end >= 0 and _is_escaped(text, end):
            end = text.find(b'"', end + 1)
        if end < 0:
            return
        start = end + 1
    yield start, len(text)


def _is_escaped(text: bytes, position: int) -> bool:
    before = position
    while text[before - 1] == BACKSLASH:
        before -= 1
    return (position - before) % 2 == 1


def _not_finite(text: bytes, cuts: list[Cut]) -> Iterator[Cut]:
    """The names of numbers that orjson does not know, as far as they are not in one of the cuts."""
    if b"NaN" not in text and b"Infinity" not in text:
        return
    to_come = deque(cuts)
    for start, stop in _outside_strings(text):
        spans = [(start, stop)]
        if to_come and to_come[0].start < stop:  # there is one at most
            cut = to_come.popleft()
            spans = [(start, cut.start), (cut.stop, stop)]
        for found in chain.from_iterable(NOT_FINITE.finditer(text, *span) for span in spans):
            yield Cut(found.start(), found.end(), VALUES[found[0]])


def _long_lists(text: bytes, non_finite: bool) -> Iterator[Cut]:
    """The long lists that are the only ones between two strings or objects, which is where tensors are."""
    for strings, (start, stop) in enumerate(_outside_strings(text)):
        if strings > BYTES_PER_STRING + start // BYTES_PER_STRING:
            return
        if stop - start < SHORTEST_BYTES:
            continue
        begin = text.find(b"[", start, stop)
        if begin < 0:
            continue
        for brace in (b"{", b"}"):
            found = text.find(brace, begin, stop)
            stop = found if found >= 0 else stop
        end = text.rfind(b"]", begin, stop) + 1
        if end - begin < SHORTEST_BYTES:
            continue
        array = array_of_list(memoryview(text)[begin:end], non_finite)
        if array is not None:
            yield Cut(begin, end, array)


def _end_of_first_document(text: bytes) -> int:
    decoded = text.decode("utf-8", "surrogateescape")
    begin = len(decoded) - len(decoded.lstrip(" \t\r\n"))
    try:
        _, end = json.JSONDecoder(parse_int=float).raw_decode(decoded, begin)
    except json.JSONDecodeError as exc:
        raise JsonError(exc.msg, _bytes_before(decoded, exc.pos)) from None
    except RecursionError:
        raise JsonError("nested too deeply", None) from None
    return _bytes_before(decoded, end)


def _bytes_before(decoded: str, position: int) -> int:
    return len(decoded[:position].encode("utf-8", "surrogateescape"))
