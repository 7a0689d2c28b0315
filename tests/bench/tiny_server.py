"""A real HTTP server in a few lines, which answers each request as a test says."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from tf_serving_flask_app.bench.exchange import Address

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
LAST = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
REQUEST = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello"

Answer = Callable[[int, int], bytes | None]
"""From the connection's number and the request's number on it, both from 0, to the answer; None: close without one."""


class TinyServer:
    """What it got, and where it listens."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address: Address = self._listener.getsockname()
        self.connections = 0
        self.bodies: list[bytes] = []
        self._lock = threading.Lock()
        self._clients: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            number, self.connections = self.connections, self.connections + 1
            self._clients.append(client)
            self._threads.append(threading.Thread(target=self._serve, args=(client, number)))
            self._threads[-1].start()

    def _serve(self, client: socket.socket, connection: int) -> None:
        with client, suppress(OSError), client.makefile("rb") as stream:
            for number in range(1_000_000):
                header = b""
                while (line := stream.readline()) not in (b"\r\n", b""):
                    header += line
                length = re.search(rb"Content-Length: (\d+)", header)
                if length is None:
                    return
                body = stream.read(int(length[1]))
                with self._lock:
                    self.bodies.append(body)
                answer = self._answer(connection, number)
                if answer is None:
                    return
                client.sendall(answer)
                if b"Connection: close" in answer:
                    return

    def close(self) -> None:
        """Stop listening, end all connections, and wait for the threads."""
        with suppress(OSError):  # closed before
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join()
        for client in self._clients:
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()


@contextmanager
def tiny_server(answer: Answer = lambda connection, number: OK) -> Iterator[TinyServer]:
    """A server for the length of a block."""
    server = TinyServer(answer)
    try:
        yield server
    finally:
        server.close()
