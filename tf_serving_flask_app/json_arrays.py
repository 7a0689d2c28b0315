"""JSON text → Python values, in which large lists of numbers are NumPy arrays, made without an object per number.

orjson parses everything but long lists that hold only numbers. These are cut out of the text and parsed by simdjson,
whose ``as_buffer`` hands all numbers of a nested list over in one piece; their place is held by a mark, so that
orjson still judges the document as a whole. For a ``[1, 299, 299, 3]`` tensor (5.6 MB of text, 17 digits a number,
one core) that takes 16 ms; orjson and ``np.array`` take 45, ``json`` and ``np.array`` 90. orjson alone is fastest
below a few kB, and reports where a fault is, which simdjson does not; so simdjson does not get whole documents. Its
lists and objects are not used as Python objects either: a list of more than 2**24 elements would be cut short.
``NaN`` and its like, which orjson refuses, are replaced by numbers once it has refused a text, and put back afterwards.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from tf_serving_flask_app.number_lists import VALUES, Array, array_of_list

SHORTEST_BYTES = 4096
"""From this length on a list of numbers becomes an array; it is where that begins to be faster."""

BYTES_PER_STRING = 100
"""Where strings are closer together than this, there is little to cut out, and the search for it is given up."""

TOKENS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|-?Infinity|NaN', re.DOTALL)
"""Strings, and outside them the names of numbers that JSON does not have."""

MARK = b'["%s"]'
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
    value: Array


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
    marked, marks = _with_marks(text, cuts)
    try:
        return _with_values(orjson.loads(marked), marks, {})
    except orjson.JSONDecodeError as exc:
        error = exc
    if non_finite and (b"NaN" in marked or b"Infinity" in marked):
        stand_ins = _stand_ins()
        named = TOKENS.sub(lambda token: stand_ins.get(token[0], token[0]), marked)
        try:
            parsed = orjson.loads(named)
        except orjson.JSONDecodeError as exc:
            raise _located(exc, text, cuts, marks, _replaced(marked, stand_ins)) from None
        return _with_values(parsed, marks, {float(stand_ins[name]): VALUES[name] for name in stand_ins})
    raise _located(error, text, cuts, marks, ())


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


def _with_marks(text: bytes, cuts: list[Cut]) -> tuple[bytes, dict[str, Array]]:
    """Put a mark in the place of each value that is known already; return what the marks stand for, too.

    A mark is a list, as a string would also pass for a key, and holds what no client can guess.
    """
    if not cuts:
        return text, {}
    nonce = secrets.token_hex(8)
    marks = {f"{nonce}{number}": cut.value for number, cut in enumerate(cuts)}
    parts, end = [], 0
    for mark, cut in zip(marks, cuts, strict=True):
        parts += [text[end : cut.start], MARK % mark.encode()]
        end = cut.stop
    return b"".join([*parts, text[end:]]), marks


def _stand_ins() -> dict[bytes, bytes]:
    """Numbers to take the place of the names of those that are not finite; no client can guess them.

    They cost far less than marks where there are millions. In blanks, so that ``1NaN`` makes no number.
    """
    return {name: b" %d.%017de-300 " % (first, secrets.randbelow(10**17)) for first, name in enumerate(VALUES, start=1)}


def _replaced(text: bytes, stand_ins: Mapping[bytes, bytes]) -> Iterator[tuple[int, int, int]]:
    """Where names of numbers are in a text, from where to where, and how long what takes their place is."""
    for token in TOKENS.finditer(text):
        if token[0] in stand_ins:
            yield token.start(), token.end(), len(stand_ins[token[0]])


def _with_values(parsed: Any, marks: Mapping[str, Array], numbers: Mapping[float, float]) -> Any:
    """Put the known values in the place of marks and stand-ins; not recursive, so as to bear any depth."""
    if not marks and not numbers:
        return parsed
    root = [parsed]
    containers: list[Any] = [root]
    while containers:
        container = containers.pop()
        for place, value in container.items() if type(container) is dict else enumerate(container):
            if type(value) is list and len(value) == 1 and type(value[0]) is str and value[0] in marks:
                container[place] = marks[value[0]]
            elif type(value) is list or type(value) is dict:
                containers.append(value)
            elif type(value) is float and value in numbers:
                container[place] = numbers[value]
    return root[0]


def _located(
    error: orjson.JSONDecodeError,
    text: bytes,
    cuts: list[Cut],
    marks: Mapping[str, Array],
    replaced: Iterable[tuple[int, int, int]],
) -> JsonError:
    """Say where in the client's text an error is that is in what marks and stand-ins made of it."""
    if not text.strip():
        return JsonError("The document is empty", None)
    try:
        text.decode()
    except UnicodeDecodeError as exc:
        return JsonError("The text is not UTF-8", exc.start)
    offset = _before(len(error.doc[: error.pos].encode()), replaced)
    marked = ((cut.start, cut.stop, len(MARK % mark.encode())) for mark, cut in zip(marks, cuts, strict=True))
    return JsonError(error.msg, _before(offset, marked))


def _before(offset: int, replaced: Iterable[tuple[int, int, int]]) -> int:
    """Turn a place in a text some of whose parts were replaced into the place in what it was before."""
    for start, stop, length in replaced:
        if offset < start + length:
            return min(offset, start)
        offset += stop - start - length
    return offset


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
    # Only where it ends is asked for: the numbers become small ones, of which Python has one object each.
    decoder = json.JSONDecoder(parse_int=len, parse_float=len)
    try:
        _, end = decoder.raw_decode(decoded, begin)
    except json.JSONDecodeError as exc:
        raise JsonError(exc.msg, _bytes_before(decoded, exc.pos)) from None
    except RecursionError:
        raise JsonError("nested too deeply", None) from None
    return _bytes_before(decoded, end)


def _bytes_before(decoded: str, position: int) -> int:
    return len(decoded[:position].encode("utf-8", "surrogateescape"))
