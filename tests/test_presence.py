"""What Linux says of connections whose clients left in one way or another."""

from __future__ import annotations

import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from tests.live.server import wait_until
from tf_serving_flask_app.gunicorn.presence import has_gone

Pair = tuple[socket.socket, socket.socket]

CLIENT = """
import socket, sys
connection = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
connection.sendall(b"hello")
sys.stdin.read()
"""


@pytest.fixture
def pair() -> Iterator[Pair]:
    """The client's end of a connection, and the server's."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
        with client, server:
            yield client, server


def close_with_an_answer_unread(client: socket.socket, server: socket.socket) -> None:
    server.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    client.recv(1, socket.MSG_PEEK)
    client.close()


def reset(client: socket.socket, _server: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def close_with_a_request_unread(client: socket.socket, _server: socket.socket) -> None:
    client.sendall(b"GET / HTTP/1.1\r\n\r\n")
    client.close()


@pytest.mark.parametrize(
    "leave",
    [
        lambda client, _server: client.close(),
        lambda client, _server: client.shutdown(socket.SHUT_WR),
        close_with_an_answer_unread,
        close_with_a_request_unread,
        reset,
    ],
    ids=["closes", "half closes", "closes with an answer unread", "closes with a request unread", "resets"],
)
def test_a_client_has_gone_when_it(pair: Pair, leave: Callable[[socket.socket, socket.socket], None]) -> None:
    client, server = pair
    assert not has_gone(server)
    leave(client, server)

    wait_until(lambda: has_gone(server), "sign of the client's leaving")


def test_a_client_that_sends_its_next_request_early_is_still_there(pair: Pair) -> None:
    client, server = pair
    client.sendall(b"GET / HTTP/1.1\r\n\r\n")
    assert server.recv(1, socket.MSG_PEEK)

    assert not has_gone(server)


def test_a_client_whose_process_was_killed_has_gone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        with subprocess.Popen([sys.executable, "-c", CLIENT, port], stdin=subprocess.PIPE) as process:
            server, _ = listener.accept()
            with server:
                assert server.recv(5, socket.MSG_PEEK)
                assert not has_gone(server)
                process.send_signal(signal.SIGKILL)

                wait_until(lambda: has_gone(server), "sign of the client's end")
