"""One request at a time; for models that do not stand threads, and for comparison."""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from gunicorn.workers import sync

from tf_serving_flask_app.gunicorn.offload import Run
from tf_serving_flask_app.gunicorn.workers import FIRST_BYTE_S, IDLE_LINGER_S, ServingWorker, linger

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment


class SyncWorker(ServingWorker, sync.SyncWorker):
    """gunicorn's worker, but no silent client can keep it, and it leaves nobody waiting when it stops."""

    def make_runs(self) -> tuple[Run, Run]:
        """There is one thread, and it works on everything."""
        return run_here, run_here

    def wait(self, timeout: float) -> Any:
        """Look each second whether the master is still there."""
        return super().wait(min(timeout, 1.0))

    def accept(self, listener: Any) -> None:
        """Take the next connection, if its request comes soon: nobody else is served meanwhile."""
        client, address = listener.accept()
        readable, _, _ = select.select([client], [], [], FIRST_BYTE_S if self.alive else IDLE_LINGER_S)
        if not readable:
            client.close()
            return
        client.setblocking(True)
        self.handle(listener, client, address)

    def handle_request(self, listener: Any, req: Any, client: Any, addr: Any) -> None:
        """Answer, and end the connection of a request that was not read."""
        super().handle_request(listener, req, client, addr)
        linger(req, client)

    def serve(self) -> None:
        """Serve; at the end answer also the connections that the kernel has accepted already."""
        super().serve()
        self.application.drain()
        deadline = time.monotonic() + self.cfg.graceful_timeout
        for listener in self.sockets:
            with suppress(BlockingIOError):
                while time.monotonic() < deadline:
                    self.notify()
                    self.accept(listener)
            listener.close()


def run_here(work: Callable[[], list[bytes]], environ: WSGIEnvironment) -> list[bytes]:
    """Run a request in the calling thread."""
    return work()
