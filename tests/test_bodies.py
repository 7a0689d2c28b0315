"""Where the bodies of requests are kept, without a server: real sockets, gunicorn's own reader, real files."""

from __future__ import annotations

import io
import os
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest
from gunicorn.http.body import Body, ChunkedReader, LengthReader
from gunicorn.http.unreader import SocketUnreader

from tf_serving_flask_app.gunicorn.bodies import LARGE, SMALL, Bodies, BrokenBody

DATA = os.urandom(1 << 16) * (LARGE // (1 << 16) + 1)


@contextmanager
def sent(data: bytes, early: int = 0) -> Iterator[SocketUnreader]:
    """What a client sends, as gunicorn reads it, the first bytes already taken along with the header."""
    client, server = socket.socketpair()
    with client, server:
        unreader = SocketUnreader(server)
        unreader.unread(data[:early])

        def send() -> None:
            client.sendall(data[early:])
            client.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        yield unreader
        sender.join()


def in_memory(body: IO[bytes]) -> bool:
    return isinstance(body, io.BytesIO) or not getattr(body, "_rolled", True)


@pytest.mark.parametrize("length", [0, 1, 5000, SMALL, SMALL + 1, 3 * SMALL + 7])
@pytest.mark.parametrize("early", [0, 1, 8192])
def test_a_body_is_read_to_its_end_and_no_further(length: int, early: int) -> None:
    with sent(DATA[:length] + b"GET / next request", early) as unreader:
        source = Body(LengthReader(unreader, length))
        with Bodies(None).receive(source, length) as body:
            assert body.read() == DATA[:length]

        assert source.read() == b""  # as gunicorn sees it, too
        assert unreader.read(4) == b"GET "


@pytest.mark.parametrize("length", [1, SMALL + 1, LARGE + 1])
def test_a_client_that_sends_less_than_it_announced_went_away(length: int) -> None:
    bodies = Bodies(None, room=LARGE)
    for _ in range(20):  # each gives its room back
        with sent(DATA[: length - 1]) as unreader, pytest.raises(ConnectionResetError):
            bodies.receive(Body(LengthReader(unreader, length)), length)
    with bodies.receive(io.BytesIO(DATA), LARGE) as body:
        assert in_memory(body)


def test_reading_all_of_a_body_in_memory_copies_nothing() -> None:
    with Bodies(None).receive(io.BytesIO(DATA), 2 * SMALL) as body:
        first = body.read(2 * SMALL)
        body.seek(0)

        assert first == DATA[: 2 * SMALL]
        assert body.read() is first


def test_large_bodies_and_those_for_which_there_is_no_room_are_in_files_without_a_name(tmp_path: Path) -> None:
    bodies = Bodies(tmp_path, room=3 * SMALL)
    lengths = {"large": LARGE + 1, "first": 2 * SMALL, "second": 2 * SMALL, "small": SMALL}
    kept = {name: bodies.receive(io.BytesIO(DATA), length) for name, length in lengths.items()}

    assert {name: in_memory(body) for name, body in kept.items()} == {
        "large": False,
        "first": True,
        "second": False,
        "small": True,
    }
    assert list(tmp_path.iterdir()) == []
    for name, body in kept.items():
        assert body.read() == DATA[: lengths[name]]
        body.close()


def test_a_closed_body_gives_its_room_back_once() -> None:
    bodies = Bodies(None, room=2 * SMALL)
    for _ in range(3):
        body = bodies.receive(io.BytesIO(DATA), 2 * SMALL)
        assert in_memory(body)
        body.close()
        body.close()
    with bodies.receive(io.BytesIO(DATA), 2 * SMALL), bodies.receive(io.BytesIO(DATA), 2 * SMALL) as second:
        assert not in_memory(second)


class Failing(io.RawIOBase):
    """A body whose connection breaks."""

    def read(self, size: int = -1) -> bytes:
        raise TimeoutError("silent")


@pytest.mark.parametrize("length", [1, 2 * SMALL, LARGE + 1])
def test_a_broken_connection_leaves_nothing_behind(length: int, tmp_path: Path) -> None:
    bodies = Bodies(tmp_path, room=2 * SMALL)
    for _ in range(3):
        with pytest.raises(BrokenBody, match="silent"):
            bodies.receive(Failing(), length)
    with pytest.raises(BrokenBody):
        bodies.receive_up_to(Failing(), length)
    with bodies.receive(io.BytesIO(DATA), 2 * SMALL) as body:
        assert in_memory(body)


class Request:
    """What gunicorn's reader of chunks asks of a request."""

    limit_request_field_size = 0
    max_buffer_headers = 0

    def parse_headers(self, data: bytes, from_trailer: bool) -> list[Any]:
        return []


@pytest.mark.parametrize(("most", "read"), [(10, 10), (4, 4), (99, 10)])
def test_a_chunked_body_is_read_up_to_a_bound(most: int, read: int) -> None:
    with sent(b"6\r\nchunks\r\n4\r\nmore\r\n0\r\n\r\n") as unreader:
        source = Body(ChunkedReader(Request(), unreader))
        with Bodies(None).receive_up_to(source, most) as body:
            assert body.tell() == read
            body.seek(0)
            assert body.read() == b"chunksmore"[:read]


def test_files_lie_in_the_systems_folder_where_none_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))

    with pytest.raises(FileNotFoundError):
        Bodies(None).receive(io.BytesIO(DATA), LARGE + 1)
    Bodies(tmp_path).receive(io.BytesIO(DATA), LARGE + 1).close()
