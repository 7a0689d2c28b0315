"""What the application answered, and the bytes in which a client gets it: header and body in one piece."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from gunicorn import util

if TYPE_CHECKING:
    from _typeshed import OptExcInfo

SMALL = 1 << 16
"""Bytes of an answer that are rather copied than sent one by one."""


@dataclass
class Answer:
    """What the application answered, collected: it is complete before the first byte is sent."""

    status: str = ""
    headers: list[tuple[str, str]] = field(default_factory=list)
    chunks: list[bytes] = field(default_factory=list)

    def start(
        self, status: str, headers: list[tuple[str, str]], exc_info: OptExcInfo | None = None, /
    ) -> Callable[[bytes], object]:
        """WSGI's ``start_response``: as nothing is sent yet, an error can still replace the whole answer."""
        if self.status and exc_info is None:
            raise AssertionError("start_response was called twice without exc_info")
        self.status = status
        self.headers = list(headers)
        self.chunks.clear()
        return self.chunks.append

    @property
    def closes(self) -> bool:
        """Whether the application asks for the end of the connection."""
        return any(name.lower() == "connection" and value.lower() == "close" for name, value in self.headers)

    def encode(self, response: Any) -> list[bytes]:
        """Write header and body as gunicorn does, but in one piece where that is small, so that it is one packet.

        Args:
            response: gunicorn's ``Response`` to the request; nothing of it is sent yet.

        Raises:
            gunicorn.http.errors.InvalidResponseHeader: a header has characters that could make it two.
            gunicorn.http.errors.InvalidResponseHeaderName: its name has.
        """
        pieces = Pieces()
        connection, response.sock = response.sock, pieces
        try:
            response.start_response(self.status, self.headers)
            body = b"".join(self.chunks)
            if response.chunked:  # gunicorn does not know that this is all
                response.chunked, response.response_length = False, len(body)
                response.headers.append(("Content-Length", str(len(body))))
            pieces.append(head_of(response))
            response.headers_sent = True
            if body and response.req.method != "HEAD":
                response.write(body)
        except BaseException:
            response.headers_sent = False  # they are not: there can be another answer
            raise
        finally:
            response.sock = connection
        return pieces if sum(map(len, pieces)) > SMALL else [b"".join(pieces)]


class Pieces(list[bytes]):
    """Takes what gunicorn writes to a connection."""

    sendall = list.append


def head_of(response: Any) -> bytes:
    """The head of an answer that is not chunked, byte for byte as gunicorn's ``Response`` would send it."""
    connection = "upgrade" if response.upgrade else "close" if response.should_close() else "keep-alive"
    major, minor = response.req.version
    lines = [
        f"HTTP/{major}.{minor} {response.status}",
        f"Server: {response.version}",
        f"Date: {date(int(time.time()))}",
        f"Connection: {connection}",
        *[f"{name}: {value}" for name, value in response.headers],
        "\r\n",
    ]
    return "\r\n".join(lines).encode("latin-1")


@lru_cache(maxsize=2)
def date(second: int) -> str:
    """A second since 1970 as HTTP writes it, put together once for all answers of that second."""
    written: str = util.http_date(second)
    return written
