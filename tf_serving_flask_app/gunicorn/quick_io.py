"""Reads and writes of sockets that do not wait, so short that Python's lock is kept meanwhile.

``os.read`` and ``os.write`` let another thread have the lock, and it is not given back before that thread waits for
something or has run for 5 ms. That is right for what may take long. A socket that does not block takes microseconds,
and the thread of the hub, which all connections need, would stand in line behind the requests for each call.
"""

from __future__ import annotations

import ctypes
import os

MOST = 1 << 16
"""Bytes that are copied at a time."""

_libc = ctypes.PyDLL(None, use_errno=True)  # unlike CDLL it keeps the lock
_read = _libc.read
_read.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t)
_read.restype = ctypes.c_ssize_t
_write = _libc.write
_write.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t)
_write.restype = ctypes.c_ssize_t


class Reader:
    """Reads from descriptors that do not block; for one thread."""

    def __init__(self) -> None:
        self._buffer = ctypes.create_string_buffer(MOST)
        self._bytes = memoryview(self._buffer)

    def read(self, descriptor: int) -> bytes:
        """Read what has arrived; nothing at the end.

        Raises:
            OSError: ``BlockingIOError`` if nothing has arrived.
        """
        count = _read(descriptor, self._buffer, MOST)
        if count < 0:
            raise _last_error()
        return bytes(self._bytes[:count])


def write(descriptor: int, data: bytes) -> int:
    """Write what a descriptor that does not block takes of at most ``MOST`` bytes; returns how many that were.

    Raises:
        OSError: ``BlockingIOError`` if it takes nothing now.
    """
    count: int = _write(descriptor, data, min(len(data), MOST))
    if count < 0:
        raise _last_error()
    return count


def _last_error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
