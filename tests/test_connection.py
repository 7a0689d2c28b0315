"""A connection's turns in the hub, with a hub of the test's own that is its own green thread."""

from __future__ import annotations

import select
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.live.server import ROOT
from tf_serving_flask_app.gunicorn.connection import Connection
from tf_serving_flask_app.gunicorn.native import HubCalls, NativeThreads
from tf_serving_flask_app.gunicorn.quick_io import Reader


class Hub:
    """Looks what has come each time that the green thread waits, and counts how often that is."""

    def __init__(self) -> None:
        self.calls = HubCalls()
        self.turns = 0
        self._watched: dict[int, Callable[[int], None]] = {self.calls.wake_up: self.calls.make}
        self._switched = False

    def park(self) -> None:
        self.turns += 1
        self._switched = False
        while not self._switched:
            readable, _, _ = select.select(list(self._watched), [], [], 20)
            assert readable, "nothing has come"
            for descriptor in readable:
                self._watched[descriptor](descriptor)

    def switch(self) -> None:
        self._switched = True

    def watch(self, fd: int, callback: Callable[[int], None]) -> Any:
        self._watched[fd] = callback
        return fd

    def unwatch(self, watcher: Any) -> None:
        del self._watched[watcher]


@pytest.fixture
def hub() -> Hub:
    return Hub()


@pytest.fixture
def client_and_connection(hub: Hub) -> Iterator[tuple[socket.socket, Connection]]:
    client, server = socket.socketpair()
    server.setblocking(False)
    connection = Connection(hub, server, Reader())
    connection.green = hub
    with client, server:
        yield client, connection


def test_a_client_that_answers_at_once_is_read_when_it_is_its_turn_again(
    hub: Hub, client_and_connection: tuple[socket.socket, Connection]
) -> None:
    client, connection = client_and_connection
    for number in range(1, 4):
        client.sendall(b"request")

        assert connection.receive_first() == b"request"
        assert hub.turns == number


def test_a_request_that_woke_the_connection_after_an_answer_is_read_at_once(
    hub: Hub, client_and_connection: tuple[socket.socket, Connection]
) -> None:
    client, connection = client_and_connection
    threads = NativeThreads(hub.calls, 1, "test")

    def answer() -> str:
        connection.idle = True
        client.sendall(b"next")
        return "answer"

    assert connection.run(answer, threads) == "answer"
    turns = hub.turns

    assert connection.receive_first() == b"next"
    assert hub.turns == turns


def test_the_end_of_a_connection_is_no_bytes(hub: Hub, client_and_connection: tuple[socket.socket, Connection]) -> None:
    client, connection = client_and_connection
    client.close()

    assert connection.receive_first() == b""


def test_nothing_is_sent_on_a_closed_connection_whose_descriptor_is_anothers_by_now(
    client_and_connection: tuple[socket.socket, Connection],
) -> None:
    client, connection = client_and_connection
    connection.close()
    other, taken = socket.socketpair()
    with other, taken:
        with pytest.raises(OSError, match="Bad file descriptor"):
            connection.send_now([b"answer"])
        assert connection.fileno() == -1
        assert select.select([other, client], [], [], 0)[0] == [client]
        assert client.recv(10) == b""


def test_a_request_that_comes_in_while_other_connections_are_closed_is_not_cut_off() -> None:
    # In a process of its own: once eventlet is imported, each fork warns.
    command = [sys.executable, "-m", "tests.idle_connections"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)

    assert (done.returncode, done.stdout) == (0, "cut off: [0], answered: [1]\n"), done.stderr
