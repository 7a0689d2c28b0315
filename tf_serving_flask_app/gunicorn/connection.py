"""One client's connection to a worker with green threads: who waits for what, and who wakes whom."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from tf_serving_flask_app.gunicorn import quick_io
from tf_serving_flask_app.gunicorn.native import Job, NativeThreads
from tf_serving_flask_app.gunicorn.quick_io import Reader

T = TypeVar("T")

CLOSED = -1
"""In place of a descriptor."""


class Hub(Protocol):
    """What is needed of eventlet or gevent."""

    def park(self) -> None:
        """Let other green threads run until something switches to this one."""

    def watch(self, fd: int, callback: Callable[[int], None]) -> Any:
        """Call back, outside of any green thread, whenever there is something to read; returns what ends it."""

    def unwatch(self, watcher: Any) -> None:
        """End a watch."""


class Connection:
    """A green socket, the green thread that serves it, and what that waits for.

    The connection is watched from one request to the next, also while the answer is made in a native thread. So the
    hub has nothing to do for an answer that was sent whole: what wakes the green thread is the client's next request.
    """

    def __init__(self, hub: Hub, socket: Any, reader: Reader) -> None:
        """Make it for a green socket that no other green thread uses, and the reader of the hub's thread."""
        self.socket = socket
        self.green: Any = None
        self.idle = True
        """Between two requests, or before the first."""
        self.deadline = math.inf
        """When an idle connection is closed, on the clock of ``time.monotonic()``."""
        self.descriptor: int = socket.fileno()
        self._hub = hub
        self._reader = reader
        self._watcher: Any = None
        self._parked = False
        self._has_come = False
        self._job: Job[Any] | None = None

    def __getattr__(self, name: str) -> Any:
        """The green socket's other methods."""
        return getattr(self.socket, name)

    def recv(self, size: int) -> bytes:
        """Receive, in the green thread."""
        self._unwatch()  # the green socket watches by itself
        data: bytes = self.socket.recv(size)
        return data

    def close(self) -> None:
        """Close it; nothing is sent any more, as the descriptor may soon be another connection's."""
        self._unwatch()
        self.idle, self.descriptor = False, CLOSED
        self.socket.close()

    def receive_first(self) -> bytes:
        """Receive the first bytes of a request; none if the client has closed the connection.

        Nothing is read before the hub has said that there is something: the hub says so to every connection in turn,
        while one whose client answers at once would else be served again and again before all others.
        """
        while True:
            if not self._has_come:
                self._park()
            self._has_come = False
            try:
                return self._reader.read(self.descriptor)
            except BlockingIOError:
                continue

    def wait_first(self) -> None:
        """Wait for the first bytes of a request."""
        self._park()

    def send_now(self, pieces: list[bytes]) -> list[bytes]:
        """Send, from any thread, what the client takes at once; returns what is left."""
        for number, piece in enumerate(pieces):
            write = quick_io.write if len(piece) <= quick_io.MOST else os.write
            try:
                sent = write(self.descriptor, piece)
            except BlockingIOError:
                sent = 0
            if sent < len(piece):
                return [piece[sent:], *pieces[number + 1 :]]
        return []

    def run(self, function: Callable[[], T], threads: NativeThreads) -> T:
        """Run a function in one of the threads; only the calling green thread waits.

        If the function leaves the connection idle, the wait may last until its client's next request.

        Raises:
            BaseException: whatever the function raised.
        """
        self._job = job = threads.start(function, self)
        try:
            self._park()
        finally:
            self._job = None
        if job.error is not None:
            raise job.error
        return job.result  # type: ignore[return-value]  # set when there is no error

    def notices(self, job: Job[Any]) -> bool:
        """Tell, in the job's thread, whether the client's next request will wake the green thread."""
        return self.idle and self._watcher is not None

    def wake(self, job: Job[Any]) -> None:
        """Go on, in the hub's thread, if that job is still what the green thread waits for."""
        if self._job is job:
            self.green.switch()

    def _park(self) -> None:
        if self._watcher is None:
            self._watcher = self._hub.watch(self.descriptor, self._came_in)
        self._parked = True
        try:
            self._hub.park()
        finally:
            self._parked = False

    def _came_in(self, _descriptor: int = 0) -> None:
        """There is something to read; called by the hub."""
        self._has_come = True
        if self._job is not None and not self._job.done:
            self._unwatch()  # it would be told again and again; the thread sees this, or we see that it is done
        if self._parked and (self._job is None or self._job.done):
            self.green.switch()
        else:
            self._unwatch()

    def _unwatch(self) -> None:
        if self._watcher is not None:
            watcher, self._watcher = self._watcher, None
            self._hub.unwatch(watcher)
