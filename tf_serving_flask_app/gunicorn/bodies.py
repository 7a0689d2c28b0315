"""A request's body, read to its end: kept in memory where there is room, else in a file that has no name.

Such a file is gone with the process that holds it, so nothing is left behind, not even by a kill.
"""

from __future__ import annotations

import io
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, cast

from gunicorn.http.body import LengthReader

SMALL = 1 << 20
"""Bytes of a body that each connection may have in memory."""

LARGE = 8 << 20
"""Bytes of a body that may be in memory if there is room: tensors of pictures, also as JSON, but no large uploads."""

ROOM = 128 << 20
"""Bytes that a process has for bodies between the two."""

READ_SIZE = 1 << 18


class BrokenBody(ConnectionResetError):
    """A body did not come to its end: the client went away, or what it sent is no body."""


class Room:
    """Memory that is lent."""

    def __init__(self, size: int) -> None:
        self._left = size
        self._lock = threading.Lock()

    def take(self, size: int) -> bool:
        """Take so many bytes, or say that there is no room for them."""
        with self._lock:
            if size > self._left:
                return False
            self._left -= size
            return True

    def give_back(self, size: int) -> None:
        """Give back what was taken."""
        with self._lock:
            self._left += size


class BodyInMemory(io.BytesIO):
    """A body that gives its room back when it is closed; to read all of it at once copies nothing."""

    def __init__(self, data: bytes, give_back: Callable[[], object]) -> None:
        super().__init__(data)
        self._give_back: Callable[[], object] | None = give_back

    def close(self) -> None:
        """Close it, once or more often."""
        give_back, self._give_back = self._give_back, None
        if give_back is not None:
            give_back()
        super().close()


class Bodies:
    """Where a process keeps the bodies of its requests."""

    def __init__(self, spool_folder: Path | None, room: int = ROOM) -> None:
        """Keep bodies.

        Args:
            spool_folder: for the files; None for the system's temporary folder.
            room: bytes.
        """
        self._spool_folder = None if spool_folder is None else str(spool_folder)
        self._room = Room(room)

    def receive(self, source: Any, length: int) -> IO[bytes]:
        """Read a body of announced length, to be closed by the caller.

        Raises:
            BrokenBody: the client went away before it had sent all of it.
            OSError: there is no room for it in the spool folder.
        """
        if length <= SMALL:
            data = b"".join(pieces(source, length))
            if len(data) == length:
                return io.BytesIO(data)
        elif length > LARGE or not self._room.take(length):
            body = self.receive_up_to(source, length)
            if body.tell() == length:
                body.seek(0)
                return body
            body.close()
        else:
            try:
                collected = io.BytesIO()
                for piece in pieces(source, length):
                    collected.write(piece)
                if collected.tell() == length:
                    return BodyInMemory(collected.getvalue(), lambda: self._room.give_back(length))
            except BaseException:
                self._room.give_back(length)
                raise
            self._room.give_back(length)
        raise BrokenBody("the body ended early")

    def receive_up_to(self, source: Any, most: int) -> IO[bytes]:
        """Read up to ``most`` bytes, to be closed by the caller; its position is at the end.

        Raises:
            BrokenBody: the client went away before the end.
            OSError: there is no room for it in the spool folder.
        """
        body = tempfile.SpooledTemporaryFile(SMALL, dir=self._spool_folder)  # noqa: SIM115  # it is the result
        try:
            for piece in pieces(source, most):
                body.write(piece)
        except BaseException:
            body.close()
            raise
        return cast("IO[bytes]", body)


def pieces(source: Any, most: int) -> Iterator[bytes]:
    """A body's bytes as they arrive, up to ``most``.

    Raises:
        BrokenBody: the client went away before the end.
    """
    try:
        yield from _pieces(source, most)
    except OSError as error:
        raise BrokenBody(str(error)) from error


def _pieces(source: Any, most: int) -> Iterator[bytes]:
    reader = getattr(source, "reader", None)
    if not isinstance(reader, LengthReader):
        while most and (piece := source.read(min(READ_SIZE, most))):
            most -= len(piece)
            yield piece
        return
    # Past the buffers that gunicorn's reader and body have of their own: each is another copy.
    unreader = reader.unreader
    while reader.length and (piece := unreader.read(None, read_ahead=reader.length)):
        unreader.unread(piece[reader.length :])
        piece = piece[: reader.length]
        reader.length -= len(piece)
        yield piece
