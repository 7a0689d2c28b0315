"""Green threads by eventlet; gunicorn 26 dropped its own worker for it."""

from __future__ import annotations

import ssl
import warnings
from collections.abc import Callable
from typing import Any

from tf_serving_flask_app.gunicorn.hub_worker import HubWorker

with warnings.catch_warnings():
    # Every import of it announces that eventlet is only maintained now: known, and nothing a user can act on.
    warnings.filterwarnings("ignore", message=r"\s*Eventlet is deprecated")
    import eventlet
    from eventlet.green.ssl import GreenSSLSocket
    from eventlet.greenio import GreenSocket
    from eventlet.hubs import get_hub, notify_opened, trampoline

# gunicorn forks with eventlet imported; there is no hub yet, which is what the warning is about.
warnings.filterwarnings("ignore", message=r"Using fork\(\) is a bad idea", category=DeprecationWarning)


class EventletWorker(HubWorker):
    """The default worker."""

    def spawn(self, function: Any, *args: Any) -> Any:
        """Run a function in a green thread."""
        return eventlet.spawn_n(function, *args)

    def current(self) -> Any:
        """The green thread that calls this."""
        return eventlet.getcurrent()

    def kill(self, green: Any) -> None:
        """End a green thread that waits."""
        eventlet.kill(green)

    def sleep(self, seconds: float) -> None:
        """Let other green threads run for so long."""
        eventlet.sleep(seconds)

    def park(self) -> None:
        """Let other green threads run until something switches to this one."""
        get_hub().switch()

    def watch(self, fd: int, callback: Callable[[int], None]) -> Any:
        """Call back, outside of any green thread, whenever there is something to read; returns what ends it."""
        hub = get_hub()
        return hub.add(hub.READ, fd, callback, lambda *_error: None, lambda: None)

    def unwatch(self, watcher: Any) -> None:
        """End a watch."""
        get_hub().remove(watcher)

    def wait_readable(self, fd: int, seconds: float | None) -> bool:
        """Let other green threads run until there is something to read; False if the time is over first."""
        try:
            trampoline(fd, read=True, timeout=seconds, timeout_exc=TimeoutError)
        except TimeoutError:
            return False
        return True

    def time_limit(self, seconds: float) -> Any:
        """A block that is left, without an exception, when the time is over."""
        return eventlet.Timeout(seconds, False)

    def green_socket(self, client: Any) -> Any:
        """Make an accepted socket wait without keeping other green threads waiting."""
        notify_opened(client.fileno())  # the number may have belonged to a connection that is gone
        return GreenSocket(client)

    def green_tls(self, client: Any, context: ssl.SSLContext) -> Any:
        """The same for TLS on top of a green socket, before the handshake."""
        return GreenSSLSocket(client, server_side=True, do_handshake_on_connect=False, _context=context)
