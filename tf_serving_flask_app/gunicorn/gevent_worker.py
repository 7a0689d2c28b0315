"""Green threads by gevent."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any

import gevent
import gevent.socket
import gevent.ssl

from tf_serving_flask_app.gunicorn.hub_worker import HubWorker

READABLE = 1
"""The event of libev's that a watch is for."""


class GeventWorker(HubWorker):
    """The alternative to eventlet that is still developed."""

    def spawn(self, function: Any, *args: Any) -> Any:
        """Run a function in a green thread."""
        return gevent.spawn(function, *args)

    def current(self) -> Any:
        """The green thread that calls this."""
        return gevent.getcurrent()

    def kill(self, green: Any) -> None:
        """End a green thread that waits."""
        green.kill()

    def sleep(self, seconds: float) -> None:
        """Let other green threads run for so long."""
        gevent.sleep(seconds)

    def park(self) -> None:
        """Let other green threads run until something switches to this one."""
        gevent.get_hub().switch()

    def watch(self, fd: int, callback: Callable[[int], None]) -> Any:
        """Call back, outside of any green thread, whenever there is something to read; returns what ends it."""
        watcher = gevent.get_hub().loop.io(fd, READABLE)
        watcher.start(callback, fd)
        return watcher

    def unwatch(self, watcher: Any) -> None:
        """End a watch."""
        watcher.stop()
        watcher.close()

    def wait_readable(self, fd: int, seconds: float | None) -> bool:
        """Let other green threads run until there is something to read; False if the time is over first."""
        try:
            gevent.socket.wait_read(fd, timeout=seconds)
        except TimeoutError:
            return False
        return True

    def time_limit(self, seconds: float) -> Any:
        """A block that is left, without an exception, when the time is over."""
        return gevent.Timeout(seconds, False)

    def green_socket(self, client: Any) -> Any:
        """Make an accepted socket wait without keeping other green threads waiting."""
        return gevent.socket.socket(client.family, client.type, client.proto, fileno=client.detach())

    def green_tls(self, client: Any, context: ssl.SSLContext) -> Any:
        """The same for TLS on top of a green socket, before the handshake."""
        return gevent.ssl.SSLSocket(client, server_side=True, do_handshake_on_connect=False, _context=context)
