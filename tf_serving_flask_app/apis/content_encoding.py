"""Bodies that came compressed, inflated within bounds (RFC 9110, section 8.4)."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping

from werkzeug.exceptions import RequestEntityTooLarge, UnsupportedMediaType

from tf_serving_flask_app.errors import InvalidInput

MOST_CODINGS = 4
"""Nobody needs more than one, and each costs up to the bound again."""

MOST_MEMBERS = 100
"""Of a gzip body: nobody needs more than one, and behind each the rest of the body is copied."""


def decoded(body: bytes, codings: str, most: int | None) -> bytes:
    """Undo the codings of a body, the last one first.

    Args:
        body: as it was sent.
        codings: the value of ``Content-Encoding``.
        most: bytes that any of the steps may result in; None for no bound.

    Raises:
        UnsupportedMediaType: a coding is not known, or there are too many.
        RequestEntityTooLarge: it inflates to more than ``most``; no more than that has been inflated then.
        InvalidInput: it is not coded as it says, or ends early.
    """
    names = [name for name in (part.strip().lower() for part in codings.split(",")) if name not in ("", "identity")]
    unknown = [name for name in names if name not in CODINGS]
    if unknown or len(names) > MOST_CODINGS:
        raise UnsupportedMediaType(
            f"Content-Encoding {codings[:60]!r} is not taken; send gzip, deflate or identity, or at most"
            f" {MOST_CODINGS} of them."
        )
    for name in reversed(names):
        try:
            body = CODINGS[name](body, most)
        except zlib.error as exc:
            raise InvalidInput(f"The body is not {name}, as its Content-Encoding says: {exc}.") from exc
    return body


def _gunzip(body: bytes, most: int | None) -> bytes:
    """Inflate one gzip member or several, one after the other."""
    parts: list[bytes] = []
    left = most
    while body or not parts:
        if len(parts) == MOST_MEMBERS:
            raise zlib.error(f"it has more than {MOST_MEMBERS} members")
        part, body = _inflate(body, zlib.MAX_WBITS | 16, left)
        parts.append(part)
        left = None if left is None else left - len(part)
        body = body.lstrip(b"\0")  # padding, as gzip itself takes it
    return b"".join(parts)


def _inflate_either(body: bytes, most: int | None) -> bytes:
    """Inflate ``deflate``: zlib's format, as the standard has it, or bare, as some clients send it."""
    try:
        inflated, rest = _inflate(body, zlib.MAX_WBITS, most)
    except zlib.error:
        inflated, rest = _inflate(body, -zlib.MAX_WBITS, most)
    if rest:
        raise zlib.error("something follows its end")
    return inflated


def _inflate(body: bytes, format: int, most: int | None) -> tuple[bytes, bytes]:
    """Inflate what is of a format; return it, and what follows it."""
    inflater = zlib.decompressobj(format)
    inflated = inflater.decompress(body, 0 if most is None else most + 1)
    if most is not None and len(inflated) > most:
        raise RequestEntityTooLarge
    if not inflater.eof:
        raise zlib.error("it ends early")
    return inflated, inflater.unused_data


CODINGS: Mapping[str, Callable[[bytes, int | None], bytes]] = {
    "gzip": _gunzip,
    "x-gzip": _gunzip,
    "deflate": _inflate_either,
}
