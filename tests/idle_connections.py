"""Two idle connections that eventlet's worker closes; while it closes the first, a request comes in on the second.

A program for ``test_connection``: it prints which were cut off and which got their request.
"""

from __future__ import annotations

import math
import socket
import time

from tf_serving_flask_app.gunicorn.connection import Connection
from tf_serving_flask_app.gunicorn.eventlet_worker import EventletWorker
from tf_serving_flask_app.gunicorn.quick_io import Reader


def main() -> None:
    """Let both wait in green threads, and close what is idle."""
    worker = object.__new__(EventletWorker)
    worker.connections = {}
    reader = Reader()
    clients: list[socket.socket] = []
    cut_off: list[int] = []
    answered: list[int] = []

    def serve(connection: Connection, number: int) -> None:
        try:
            while connection.receive_first():
                connection.idle = False
                answered.append(number)
        except BaseException:
            cut_off.append(number)
            for client in clients:
                client.sendall(b"request")
            raise

    for number in range(2):
        client, end = socket.socketpair()
        clients.append(client)
        connection = Connection(worker, worker.green_socket(end), reader)
        connection.deadline = time.monotonic()
        connection.green = worker.spawn(serve, connection, number)
        worker.connections[connection.green] = connection
    worker.sleep(0)
    worker._close_idle(math.inf)
    worker.sleep(0)
    print(f"cut off: {cut_off}, answered: {answered}")


if __name__ == "__main__":
    main()
