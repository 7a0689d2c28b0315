"""Reads and writes that keep Python's lock, on real sockets."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tf_serving_flask_app.gunicorn import quick_io
from tf_serving_flask_app.gunicorn.quick_io import MOST, Reader


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        yield ours, theirs


def fill(ours: socket.socket, data: bytes) -> int:
    """Write until nothing is taken any more; returns how many bytes were."""
    written = 0
    while True:
        try:
            written += quick_io.write(ours.fileno(), data)
        except BlockingIOError:
            return written


def test_what_has_arrived_is_read_whole_and_stays_what_it_was(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    reader = Reader()
    theirs.sendall(b"with a \0 inside")
    first = reader.read(ours.fileno())
    theirs.sendall(b"second")

    assert reader.read(ours.fileno()) == b"second"
    assert first == b"with a \0 inside"


def test_silence_and_the_end_are_told_apart(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    with pytest.raises(BlockingIOError):
        Reader().read(ours.fileno())
    theirs.close()

    assert Reader().read(ours.fileno()) == b""


def test_no_more_is_written_than_the_other_side_takes(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    data = bytes(range(256)) * (MOST // 256)
    written = fill(ours, data)
    ours.close()

    received = b"".join(iter(lambda: theirs.recv(1 << 20), b""))
    assert len(received) == written
    assert received[:MOST] == data


def test_a_client_that_has_gone_is_an_error(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    theirs.close()

    with pytest.raises(BrokenPipeError):
        quick_io.write(ours.fileno(), b"anybody there?")
