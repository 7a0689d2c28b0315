"""Threads that each hold one connection while it has a request; no green threads, no native pool behind them."""

from __future__ import annotations

import os
import selectors
import socket
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

from gunicorn import util
from gunicorn.workers import gthread

from tf_serving_flask_app.gunicorn.balance import STEP_S, TICK_S
from tf_serving_flask_app.gunicorn.offload import Run
from tf_serving_flask_app.gunicorn.sync_worker import run_here
from tf_serving_flask_app.gunicorn.workers import FIRST_BYTE_S, ServingWorker, SlowHeader, has_arrived, linger

SPARE_THREADS = 8
"""Threads beyond those that may work or wait: they read uploads, answer 503, and answer what must not wait."""


FAILED_ACCEPT_S = 0.1
"""How long to wait until a connection that could not be accepted is tried again."""


class ThreadWorker(ServingWorker, gthread.ThreadWorker):
    """gunicorn's worker, but a client holds a thread only from its first byte on, and stopping is quick and complete.

    A request waits in its thread, so there are threads for all that may wait; ``cfg.threads`` of them work at once.
    """

    def get_thread_pool(self) -> ThreadPoolExecutor:
        """Make the pool; it starts threads only as they are needed."""
        most = self.cfg.threads + self.app.settings.max_queue
        return ThreadPoolExecutor(min(most, self.worker_connections) + SPARE_THREADS, "request")

    def make_runs(self) -> tuple[Run, Run]:
        """A request runs in the thread that it has."""
        return run_here, run_here

    def serve(self) -> None:
        """Serve; a signal wakes the poller also if another thread gets it."""
        self.shared = frozenset(listener for listener in self.sockets if self.is_shared(listener))
        self.held: dict[Any, float] = {}
        self.begun: dict[Any, float] = {}
        self.poller.register(self.PIPE[0], selectors.EVENT_READ, lambda pipe: os.read(pipe, 4096))
        super().serve()

    def accept(self, listener: Any) -> None:
        """Take a connection, or let less loaded workers do it first: then the poller forgets the listener for a while.

        It would report the same connection again and again.
        """
        if self.alive and listener in self.shared and self.share.patience_s():
            self.poller.unregister(listener)
            self.held[listener] = time.monotonic()
        else:
            self._take(listener)

    def _take(self, listener: Any) -> None:
        """Take a connection to the poller, where it waits for its first byte without a thread."""
        try:
            client, address = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:
            self.log.error("A connection could not be accepted: %s", error)
            if self.alive:  # out of file descriptors, most likely: it will not be better at once
                self.poller.unregister(listener)
                self.held[listener] = time.monotonic() + FAILED_ACCEPT_S
            return
        self.nr_conns += 1
        connection = gthread.TConn(self.cfg, client, address, listener.getsockname())
        connection.timeout = time.monotonic() + FIRST_BYTE_S
        self.pending_conns.append(connection)
        self.share.opened(connection)
        self.poller.register(client, selectors.EVENT_READ, partial(self.on_pending_socket_readable, connection))

    def is_parent_alive(self) -> bool:
        """Stop as on a signal if the master has gone."""
        if not super().is_parent_alive():
            self.alive = False
        return self.alive

    def handle(self, conn: Any) -> object:
        """Serve a request, and close the connection here if it is over: closing may take seconds."""
        self.begun[conn] = time.monotonic()
        try:
            keep = super().handle(conn)
        finally:
            self.begun.pop(conn, None)
        if not keep:
            util.close_graceful(conn.sock, 1.0)
        return keep

    def handle_request(self, req: Any, conn: Any) -> bool:
        """Answer, and end the connection of a request that was not read."""
        self.begun.pop(conn, None)
        keep: bool = super().handle_request(req, conn)
        linger(req, conn.sock)
        return keep

    def handle_http2(self, conn: Any) -> object:
        """Serve a connection that has many requests, whose headers are frames."""
        self.begun.pop(conn, None)
        return super().handle_http2(conn)

    def _give_up_slow_headers(self) -> None:
        """End the connections whose header, or handshake, does not come to an end: each of them holds a thread."""
        latest = time.monotonic() - self.header_timeout_s
        for connection in [each for each, begun in list(self.begun.items()) if begun < latest]:
            if self.begun.pop(connection, None) is None:
                continue  # it came to its end just now
            if not self.cfg.is_ssl:
                self.handle_error(None, connection.sock, connection.client, SlowHeader())
            with suppress(OSError):
                # Not ``SSLSocket``'s own method: it would take from the thread what that reads with.
                socket.socket.shutdown(connection.sock, socket.SHUT_RD)

    def _look_after_held(self) -> None:
        """Take what less loaded workers have left for long enough, or what could not be taken before."""
        for listener, since in list(self.held.items()):
            left = has_arrived(listener.fileno())
            if not left or time.monotonic() - since >= self.share.patience_s():
                self._release(listener)
                if left:
                    self._take(listener)

    def _release(self, listener: Any) -> None:
        del self.held[listener]
        self.poller.register(listener, selectors.EVENT_READ, self.accept)

    def enqueue_req(self, conn: Any) -> None:
        """Give a connection on which something has come in to a thread."""
        self.share.begins(conn)
        super().enqueue_req(conn)

    def finish_request(self, conn: Any, fs: Future[object]) -> None:
        """Keep the connection or forget it, in the main thread."""
        if fs.cancelled() or fs.exception() is not None or fs.result():
            self.share.ends(conn)
            super().finish_request(conn, fs)
            if not self.alive:
                self._cap_keepalive(0.0)
        else:
            self.nr_conns -= 1
            self.share.closed(conn)

    def set_accept_enabled(self, enabled: bool) -> None:
        """Stop accepting; for good, when the worker stops: what the kernel has accepted already is still served."""
        if not enabled:
            for listener in list(self.held):
                self._release(listener)
        if self.alive:
            super().set_accept_enabled(enabled)
            return
        self.share.leave()
        self.application.drain()
        for listener in self.sockets:
            before = -1
            while before < self.nr_conns < self.worker_connections:
                before = self.nr_conns
                self.accept(listener)
        super().set_accept_enabled(False)
        for listener in self.sockets:
            listener.close()

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """Look more often while stopping, so that silent connections do not hold up the end."""
        self.share.tick(accepts=self._accepting)
        longest = TICK_S if self.alive else 0.1
        super().wait_for_and_dispatch_events(min(timeout, STEP_S if self.held else longest))
        self._look_after_held()
        self._give_up_slow_headers()

    def murder_keepalived(self, force: bool = False) -> None:
        """Close what has been idle for too long, but first see what has come in a moment ago."""
        if self.keepalived_conns and self.keepalived_conns[0].timeout <= time.monotonic():
            super().wait_for_and_dispatch_events(0.0)
        super().murder_keepalived(force)

    def _cap_keepalive(self, deadline: float) -> None:
        """Wait as long as ``idle_linger_s`` says, whatever gunicorn asks for, also for silent new connections."""
        deadline = time.monotonic() + self.idle_linger_s
        super()._cap_keepalive(deadline)
        for connection in self.pending_conns:
            connection.timeout = min(connection.timeout, deadline)
