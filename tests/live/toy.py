"""What tests of the workers use to start a toy application in each mode and to talk to it."""

from __future__ import annotations

import re
import socket
from pathlib import Path

from tests.live.conftest import GUNICORN
from tests.live.server import LiveServer, wait_until

KINDS = [name for name in GUNICORN if name != "multithreaded"]
CONCURRENT = [name for name in GUNICORN if name != "sync"]
HUBS = ["eventlet", "gevent"]


def address(server: LiveServer) -> tuple[str, int]:
    host, port = server.url.split("//")[1].split(":")
    return host, int(port)


def connect(server: LiveServer) -> socket.socket:
    return socket.create_connection(address(server), timeout=20)


def exchange(server: LiveServer, request: bytes) -> bytes:
    """Send bytes on a connection of its own and return all that comes back until the server closes."""
    with connect(server) as client:
        client.sendall(request)
        return receive_all(client)


def receive_all(client: socket.socket) -> bytes:
    """Receive all that comes until the server closes."""
    return b"".join(iter(lambda: client.recv(65536), b""))


def receive_answer(client: socket.socket) -> bytes:
    """Receive one answer of announced length from a connection that stays open."""
    answer = b""
    while len(answer.partition(b"\r\n\r\n")[2]) < int((re.findall(rb"Content-Length: (\d+)", answer) or [b"1"])[0]):
        data = client.recv(65536)
        assert data, answer
        answer += data
    return answer


def body_of(answer: bytes) -> bytes:
    return answer.partition(b"\r\n\r\n")[2]


def wait_sleeping(server: LiveServer, count: int) -> None:
    """Wait until so many requests run."""
    path = Path(server.main.environ()["TOY_STARTED"])
    wait_until(lambda: path.exists() and path.stat().st_size >= count, f"{count} running requests", 20)


def failure_file(server: LiveServer) -> Path:
    return Path(server.main.environ()["TOY_FAILURE"])


def error_lines(server: LiveServer) -> list[str]:
    return [line for line in server.lines if line.startswith(("ERROR", "CRITICAL"))]
