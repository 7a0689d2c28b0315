"""One HTTP/1.1 connection of a load generator: bytes of a request out, the status of its answer in, and no more."""

from __future__ import annotations

import re
import socket
import time
from contextlib import suppress

Address = tuple[str, int]

CONNECT_TIMEOUT_S = 5.0
READ_BYTES = 1 << 18

CROSSED_S = 0.01
"""A connection that ends so soon after a request was sent was closed before the server saw the request."""

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection:[ \t]*close", re.IGNORECASE)
_HEADER_END = b"\r\n\r\n"
_LAST_CHUNK = b"0\r\n\r\n"


class BrokenConnection(Exception):
    """The connection ended, or what came over it is no HTTP, before the answer was complete."""


class Exchange:
    """One connection, used for one request after the other.

    It is opened when it is first needed, and again when the server has closed it: also politely, by
    ``Connection: close``. A server may close an idle connection at any moment, so a request that meets the end of a
    used connection at once is sent once more, on a new one, as every HTTP client does it. One that the server had for
    longer was dropped.

    Attributes:
        begun: the time from which the request's latency counts; the caller's clock.
        connections: how many were opened.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self._socket: socket.socket | None = None
        self._request = b""
        self._unsent = memoryview(b"")
        self._answer = bytearray()
        self._used = False
        self._sent = 0.0
        self.begun = 0.0
        self.connections = 0

    def fileno(self) -> int:
        """The descriptor to wait for, which changes with each connection; -1 while there is none."""
        return -1 if self._socket is None else self._socket.fileno()

    @property
    def sending(self) -> bool:
        """Whether a part of the request waits until the server reads on."""
        return bool(self._unsent)

    def send(self, request: bytes) -> None:
        """Begin a request.

        Raises:
            BrokenConnection: there is no connection to be had.
        """
        self._request = request
        self._used = self._socket is not None
        if self._socket is None:
            self._connect()
        self._start()

    def send_on(self) -> None:
        """Send what the connection takes now."""
        assert self._socket is not None
        try:
            while self._unsent:
                self._unsent = self._unsent[self._socket.send(self._unsent) :]
        except BlockingIOError:
            return
        except OSError:
            # The server may have answered and closed before it read everything: what it answered is still to be read.
            self._unsent = memoryview(b"")

    def receive(self) -> int | None:
        """Read what has come; the answer's status when it is complete, else None.

        Raises:
            BrokenConnection: the answer will never be complete.
        """
        assert self._socket is not None
        try:
            data = self._socket.recv(READ_BYTES)
        except BlockingIOError:
            return None
        except OSError as exc:
            return self._ended(exc.strerror or str(exc))
        if not data:
            return self._ended("closed by the server")
        self._answer += data
        return self._complete()

    def close(self) -> None:
        """End the connection."""
        if self._socket is not None:
            with suppress(OSError):
                self._socket.close()
        self._socket = None

    def _connect(self) -> None:
        try:
            self._socket = socket.create_connection(self._address, CONNECT_TIMEOUT_S)
        except OSError as exc:
            raise BrokenConnection(f"no connection: {exc.strerror or exc}") from exc
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connections += 1

    def _start(self) -> None:
        self._answer.clear()
        self._sent = time.perf_counter()
        self._unsent = memoryview(self._request)
        self.send_on()

    def _ended(self, reason: str) -> int | None:
        """Send the request once more, if all that is wrong is that an idle connection was closed."""
        self.close()
        if not self._used or self._answer or time.perf_counter() - self._sent > CROSSED_S:
            raise BrokenConnection(reason if not self._answer else f"{reason} amid an answer")
        self._used = False
        self._connect()
        self._start()
        return None

    def _complete(self) -> int | None:
        end = self._answer.find(_HEADER_END)
        if end < 0:
            return None
        header = bytes(self._answer[:end])
        if not header.startswith(b"HTTP/1.") or not header[9:12].isdigit():
            self.close()
            raise BrokenConnection("no HTTP answer")
        length = _LENGTH.search(header)
        if length is not None:
            complete = len(self._answer) >= end + len(_HEADER_END) + int(length[1])
        elif _CHUNKED.search(header):
            complete = self._answer.endswith(_LAST_CHUNK)
        else:
            self.close()
            raise BrokenConnection("an answer without Content-Length")
        if not complete:
            return None
        if self._unsent or _CLOSE.search(header):
            self.close()
        return int(header[9:12])
