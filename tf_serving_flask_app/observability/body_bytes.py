"""How long a request's body is: as the client announced it, else counted while it is read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import InputStream, WSGIEnvironment

_MAX_DIGITS = 18


def announced_length(environ: WSGIEnvironment) -> int | None:
    """Return the length of the body as the client told it, None if it told nothing usable."""
    length = environ.get("CONTENT_LENGTH") or ""
    return int(length) if len(length) <= _MAX_DIGITS and length.isascii() and length.isdecimal() else None


class CountedInput:
    """A request body that counts what is read of it; for those whose length no header tells."""

    def __init__(self, stream: InputStream) -> None:
        self._stream = stream
        self.bytes_read = 0

    def read(self, size: int = -1, /) -> bytes:
        return self._count(self._stream.read(size))

    def readline(self, size: int = -1, /) -> bytes:
        return self._count(self._stream.readline(size))

    def readlines(self, hint: int = -1, /) -> list[bytes]:
        return [self._count(line) for line in self._stream.readlines(hint)]

    def __iter__(self) -> Iterator[bytes]:
        return map(self._count, self._stream)

    def _count(self, data: bytes) -> bytes:
        self.bytes_read += len(data)
        return data
