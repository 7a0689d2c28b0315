"""Answers HTTP in a loop with nothing but work for the processor: no model, no framework, no logs.

``python -m tests.benchmarks.bare_loop PORT PROCESSES CONNECTIONS DOCUMENTS``: each process takes its part of so many
kept-alive connections, and parses so many small JSON documents before an answer.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys

DOCUMENT = b'{"predictions": [2.5, 3.0, 4.5, 4.0]}'
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(DOCUMENT) + DOCUMENT


def answer_all(listener: socket.socket, most: int, documents: int) -> None:
    """Answer until the process is ended; each request is small, and comes in one piece."""
    poll = select.epoll()
    poll.register(listener, select.EPOLLIN)
    connections: dict[int, socket.socket] = {}
    while True:
        for descriptor, _ in poll.poll():
            if descriptor == listener.fileno():
                try:
                    connection, _ = listener.accept()
                except BlockingIOError:  # the other process was quicker
                    continue
                connections[connection.fileno()] = connection
                poll.register(connection, select.EPOLLIN)
                if len(connections) == most:
                    poll.unregister(listener)
            elif connections[descriptor].recv(65536):
                parse(documents)
                connections[descriptor].sendall(ANSWER)
            else:
                if len(connections) == most:
                    poll.register(listener, select.EPOLLIN)
                connections.pop(descriptor).close()


def parse(documents: int) -> None:
    """Do the work of an answer."""
    for _ in range(documents):
        json.loads(DOCUMENT)


def main() -> None:
    """Listen, and answer in as many processes."""
    port, processes, connections, documents = map(int, sys.argv[1:])
    signal.signal(signal.SIGTERM, lambda number, frame: os.killpg(0, signal.SIGKILL))  # the others too
    with socket.create_server(("127.0.0.1", port), backlog=128) as listener:
        listener.setblocking(False)
        for _ in range(processes - 1):
            if not os.fork():
                break
        answer_all(listener, connections // processes, documents)


if __name__ == "__main__":
    main()
