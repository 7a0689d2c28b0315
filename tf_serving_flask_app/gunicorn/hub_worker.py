"""What eventlet's and gevent's workers share: green threads that read and write, native ones that run the application.

Nothing is monkey-patched. A green thread touches its connection and nothing else, so it is enough to make those
sockets green; locks, sleeps and libraries stay what they are for the threads that run the application.
"""

from __future__ import annotations

import errno
import math
import os
import ssl
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import TYPE_CHECKING, Any

from gunicorn import sock, util
from gunicorn.workers.base_async import AsyncWorker

from tf_serving_flask_app.gunicorn.balance import STEP_S, TICK_S
from tf_serving_flask_app.gunicorn.connection import Connection
from tf_serving_flask_app.gunicorn.native import Flag, HubCalls, NativeThreads
from tf_serving_flask_app.gunicorn.offload import Run
from tf_serving_flask_app.gunicorn.quick import QuickRequests
from tf_serving_flask_app.gunicorn.quick_io import Reader
from tf_serving_flask_app.gunicorn.request import KnownLines, get_parser
from tf_serving_flask_app.gunicorn.workers import (
    CLIENT_TIMEOUT_S,
    FIRST_BYTE_S,
    ServingWorker,
    SlowHeader,
    has_arrived,
    linger,
)

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

END_OF_HEADER = b"\r\n\r\n"

OPERATION_THREADS = 2
"""Threads for what must be answered while all others are busy."""


class GreenFlag:
    """What the green thread that made it waits for, until any thread sets it."""

    def __init__(self, worker: HubWorker) -> None:
        self._worker = worker
        self._green = worker.current()
        self._is_set = False
        self._is_waited_for = False

    def set(self) -> None:
        """Wake the green thread; from any thread."""
        self._is_set = True
        self._worker.hub_calls.add(self._wake)

    def wait(self, timeout: float | None = None, /) -> None:
        """Let other green threads run until it is set, or so many seconds are over."""
        self._is_waited_for = True
        try:
            with nullcontext() if timeout is None else self._worker.time_limit(timeout):
                while not self._is_set:
                    self._worker.park()
        finally:
            self._is_waited_for = False

    def _wake(self) -> None:
        if self._is_waited_for:
            self._green.switch()


class HubWorker(ServingWorker, AsyncWorker):
    """Accepts, reads and writes in green threads. HTTP/1.1 only."""

    def spawn(self, function: Any, *args: Any) -> Any:
        """Run a function in a green thread."""
        raise NotImplementedError

    def current(self) -> Any:
        """The green thread that calls this."""
        raise NotImplementedError

    def kill(self, green: Any) -> None:
        """End a green thread that waits."""
        raise NotImplementedError

    def sleep(self, seconds: float) -> None:
        """Let other green threads run for so long."""
        raise NotImplementedError

    def park(self) -> None:
        """Let other green threads run until something switches to this one."""
        raise NotImplementedError

    def watch(self, fd: int, callback: Callable[[int], None]) -> Any:
        """Call back, outside of any green thread, whenever there is something to read; returns what ends it."""
        raise NotImplementedError

    def unwatch(self, watcher: Any) -> None:
        """End a watch."""
        raise NotImplementedError

    def wait_readable(self, fd: int, seconds: float | None) -> bool:
        """Let other green threads run until there is something to read; False if the time is over first."""
        raise NotImplementedError

    def time_limit(self, seconds: float) -> AbstractContextManager[object, bool]:
        """A block that is left, without an exception, when the time is over."""
        raise NotImplementedError

    def green_socket(self, client: Any) -> Any:
        """Make an accepted socket wait without keeping other green threads waiting."""
        raise NotImplementedError

    def green_tls(self, client: Any, context: ssl.SSLContext) -> Any:
        """The same for TLS on top of a green socket, before the handshake."""
        raise NotImplementedError

    def make_runs(self) -> tuple[Run, Run]:
        """Requests run in native threads, ``cfg.threads`` at once, but for quick ones."""
        self.connections: dict[Any, Connection] = {}
        self.reader = Reader()
        self.hub_calls = HubCalls()
        self.known_lines = KnownLines(self.cfg)
        self.watch(self.hub_calls.wake_up, self.hub_calls.make)
        self.tls = sock.ssl_context(self.cfg) if self.cfg.is_ssl else None
        run = QuickRequests(self._make_run(self.cfg.threads, "request"))
        return run, self._make_run(OPERATION_THREADS, "operation")

    def _make_run(self, count: int, name: str) -> Run:
        threads = NativeThreads(self.hub_calls, count, name)

        def run(work: Callable[[], list[bytes]], environ: WSGIEnvironment) -> list[bytes]:
            return self.connections[self.current()].run(work, threads)

        return run

    def flag(self) -> Flag:
        """Make something that the green thread which calls this can wait for."""
        return GreenFlag(self)

    def write(self, response: Any, pieces: list[bytes]) -> list[bytes]:
        """Send an answer from the thread it was made in, as far as the client takes it at once."""
        connection: Connection = response.sock
        left = pieces if self.tls is not None else connection.send_now(pieces)
        if not left and not response.should_close() and not response.req.unreader.buf.getbuffer().nbytes:
            self._rests(connection, self.cfg.keepalive)
        return left

    def _rests(self, connection: Connection, seconds: float) -> None:
        """Give a connection so long for its next request; from any thread."""
        connection.deadline = time.monotonic() + seconds
        connection.idle = True
        self.share.ends(connection)

    def serve(self) -> None:
        """Accept and serve until told to stop, then finish what has been accepted."""
        acceptors = [self.spawn(self._accept, listener, listener.getsockname()) for listener in self.sockets]
        while self.alive and self.ppid == os.getppid():
            self.notify()
            self._close_idle(time.monotonic())
            self.share.tick(accepts=len(self.connections) < self.worker_connections)
            if self.wait_readable(self.PIPE[0], TICK_S):  # a signal came in
                os.read(self.PIPE[0], 4096)
        self.alive = False
        self.share.leave()
        self.application.drain()
        for acceptor in acceptors:
            self.kill(acceptor)
        self._take_backlog()
        self._finish()

    def _accept(self, listener: Any, name: Any) -> None:
        """A green thread for each listener: take connections while there is room."""
        listener.setblocking(False)
        is_shared = self.is_shared(listener)
        while True:
            if len(self.connections) >= self.worker_connections:
                self.sleep(0.01)
            elif self.wait_readable(listener.fileno(), None) and (not is_shared or self._is_left(listener)):
                try:
                    self._accept_one(listener, name)
                except OSError as error:
                    if error.errno not in (errno.EAGAIN, errno.ECONNABORTED):
                        self.log.error("A connection could not be accepted: %s", error)
                        self.sleep(0.1)  # out of file descriptors, most likely: it will not be better at once

    def _is_left(self, listener: Any) -> bool:
        """Let less loaded workers accept first; True if they did not."""
        began = time.monotonic()
        while time.monotonic() - began < self.share.patience_s():
            self.sleep(STEP_S)
            if not has_arrived(listener.fileno()):
                return False
        return True

    def _accept_one(self, listener: Any, name: Any) -> None:
        client, address = listener.accept()
        connection = Connection(self, self.green_socket(client), self.reader)
        connection.green = self.spawn(self._serve_connection, connection, address, name)
        self.connections[connection.green] = connection
        self.share.opened(connection)

    def _take_backlog(self) -> None:
        """Take what the kernel has accepted already, which else would be reset (gunicorn #3397), and stop listening."""
        for listener in self.sockets:
            name = listener.getsockname()
            with suppress(OSError):
                while len(self.connections) < self.worker_connections:
                    self._accept_one(listener, name)
            listener.close()

    def _finish(self) -> None:
        """Wait until the last answer is out; connections without a request wait but a moment."""
        now = time.monotonic()
        idle_deadline, deadline = now + self.idle_linger_s, now + self.cfg.graceful_timeout
        while self.connections:
            now = time.monotonic()
            if now > deadline:
                self.log.warning("%d requests were cut off by --graceful-timeout.", len(self.connections))
                return
            if now > idle_deadline:
                self._close_idle(math.inf)
            self.notify()
            self.sleep(0.02)

    def _serve_connection(self, connection: Connection, address: Any, name: Any) -> None:
        """A green thread for each connection: answer its requests one after the other."""
        request = None
        try:
            connection.settimeout(CLIENT_TIMEOUT_S)
            if self.tls is not None:
                connection.socket = self.green_tls(connection.socket, self.tls)
                if not self._shake_hands(connection):
                    return
            self._rests(connection, FIRST_BYTE_S)
            parser = get_parser(self.cfg, connection, address, self.known_lines)
            proxy: dict[str, Any] = {}
            while self._request_begins(connection, parser.unreader):
                request = None
                with self._header_limit(parser.unreader):
                    request = next(parser)
                if request is None:
                    raise SlowHeader
                proxy = request.proxy_protocol_info = request.proxy_protocol_info or proxy
                try:
                    self.handle_request(name, request, connection, address)
                except StopIteration:  # the answer said that it is the connection's last
                    linger(request, connection)
                    return
                if not connection.idle:
                    self._rests(connection, self.cfg.keepalive)
        except (StopIteration, OSError) as error:
            self.log.debug("A connection ended: %r", error)
        except Exception as error:  # noqa: BLE001  # a connection's fault is logged and answered, and goes no further
            self.handle_error(request, connection, address, error)
            util.close_graceful(connection)
        finally:
            del self.connections[connection.green]
            self.share.closed(connection)
            connection.close()

    def _shake_hands(self, connection: Connection) -> bool:
        """Make the TLS handshake, unless the client takes too long for it."""
        with self.time_limit(self.header_timeout_s):
            connection.do_handshake()
            return True
        return False

    def _request_begins(self, connection: Connection, unreader: Any) -> bool:
        """Wait for the first bytes of the next request, unless they were read along with the last one."""
        if not unreader.buf.getbuffer().nbytes:
            if self.tls is None:
                data = connection.receive_first()
                if not data:
                    return False
                unreader.unread(data)
            elif not connection.pending():
                connection.wait_first()
        connection.idle = False
        self.share.begins(connection)
        return True

    def _header_limit(self, unreader: Any) -> AbstractContextManager[object, bool | None]:
        """Limit the time that the rest of a header may take, if there is a rest."""
        return nullcontext() if END_OF_HEADER in unreader.buf.getvalue() else self.time_limit(self.header_timeout_s)

    def _close_idle(self, deadline: float) -> None:
        """Close the connections that were given time for a request until then, and did not use it."""
        for connection in list(self.connections.values()):
            # Each is looked at when it is its turn: others run while one is closed, and may have a request by now.
            if connection.idle and connection.deadline < deadline and not has_arrived(connection.descriptor):
                self.kill(connection.green)
