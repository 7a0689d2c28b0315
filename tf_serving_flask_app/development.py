"""Serves while somebody works on it: one process, a thread for each request, and a restart when a file changes."""

from __future__ import annotations

import ipaddress
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from werkzeug.debug import DebuggedApplication
from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler, is_running_from_reloader

from tf_serving_flask_app.errors import ConfigurationError

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

    from tf_serving_flask_app.gunicorn.server import Application
    from tf_serving_flask_app.settings import Settings

RESTART = 3
"""Exit code by which the serving process asks its parent to start it again."""

WATCH_INTERVAL_S = 0.2
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

logger = logging.getLogger(__name__)


def serve_development(settings: Settings, load: Callable[[], Application], *, extra_files: Iterable[Path] = ()) -> int:
    """Serve until told to stop.

    Args:
        settings: what the environment says; with ``debug`` the server restarts when a source file changes.
        load: makes the application.
        extra_files: restart when one of these changes, too.

    Returns:
        the exit code: 0 after a stop that was asked for, 2 if a setting, a spec or a model file is wrong, 1 for
        anything else.
    """
    watch = SourceWatch(extra_files) if settings.debug else None
    stop = StopRequest()
    try:
        with listen(settings) as listener:
            if watch is not None and not is_running_from_reloader():
                return keep_running(listener, watch)
            application = load()
            server = DevelopmentServer(settings, application.wsgi, listener.fileno())
    except ConfigurationError as error:
        logger.error("%s", error)
        return 2
    except Exception:
        logger.exception("The application failed to load.")
        return 1
    except SystemExit as end:
        return int(end.code or 0)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="accept")
    thread.start()
    scheme = "https" if server.ssl_context else "http"
    logger.info("Serving on %s://%s:%d, for development.", scheme, settings.host, server.port)
    changed = stop.wait(watch)
    application.drain()
    server.shutdown()
    thread.join()
    application.close()
    if changed is None:
        return 0
    logger.info("%s has changed, reloading.", changed)
    return RESTART


def listen(settings: Settings) -> socket.socket:
    """Make the socket, or in a child take its parent's.

    Raises:
        ConfigurationError: the address cannot be used.
    """
    if is_running_from_reloader():
        return socket.socket(fileno=int(os.environ["WERKZEUG_SERVER_FD"]))
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=128)
    except OSError as error:
        raise ConfigurationError(
            f"HOST={settings.host} PORT={settings.port}: the server cannot listen there: {error.strerror}."
        ) from error


def keep_running(listener: socket.socket, watch: SourceWatch) -> int:
    """Run this command again in a child, and again each time it asks for it; signals are passed on to it.

    The parent listens all the time, so that a request that comes in between waits and is not refused.
    """
    os.set_inheritable(listener.fileno(), True)
    environ = {**os.environ, "WERKZEUG_RUN_MAIN": "true", "WERKZEUG_SERVER_FD": str(listener.fileno())}
    command = [sys.executable, *sys.orig_argv[1:]]
    stopped = False
    while True:
        child = subprocess.Popen(command, env=environ, close_fds=False)

        def pass_on(number: int, _frame: object, child: subprocess.Popen[bytes] = child) -> None:
            nonlocal stopped
            stopped = True
            child.send_signal(number)

        for number in STOP_SIGNALS:
            signal.signal(number, pass_on)
        code = child.wait()
        if code in (1, 2) and not stopped:
            logger.info("Waiting for a file to change.")
            stop = StopRequest(at_once=False)
            if stop.wait(watch) is None:
                return code
        elif code != RESTART or stopped:
            return max(code, 0)


class StopRequest:
    """SIGTERM or Ctrl-C; a second one ends the process at once."""

    def __init__(self, *, at_once: bool = True) -> None:
        """Listen for signals from now on; until ``wait`` one ends the process if ``at_once``."""
        self._at_once = at_once
        self._asked = False
        for number in STOP_SIGNALS:
            signal.signal(number, self._on_signal)

    def wait(self, watch: SourceWatch | None) -> Path | None:
        """Wait for a signal, then return None, or for a change, and return the file."""
        self._at_once = False
        # Asleep for a moment at a time: a signal that another thread gets does not wake this one.
        while not self._asked:
            time.sleep(WATCH_INTERVAL_S)
            changed = watch.changed() if watch is not None else None
            if changed is not None:
                return changed
        return None

    def _on_signal(self, _number: int, _frame: object) -> None:
        if self._at_once:
            sys.exit(0)
        if self._asked:
            os._exit(1)
        self._asked = True


class SourceWatch:
    """Notices changes of the imported source files, those of Python and of installed packages left out."""

    def __init__(self, extra_files: Iterable[Path]) -> None:
        self._extra_files = [Path(file).resolve() for file in extra_files]
        self._times: dict[Path, int] = {}
        self.changed()

    def changed(self) -> Path | None:
        """Return a file that has changed since the last call, if there is one."""
        changed = None
        for file in [*self._extra_files, *self._sources()]:
            try:
                modified = file.stat().st_mtime_ns
            except OSError:  # an editor may replace the file at this very moment
                continue
            if self._times.setdefault(file, modified) != modified:
                self._times[file] = modified
                changed = file
        return changed

    @staticmethod
    def _sources() -> Iterable[Path]:
        installed = (sys.prefix, sys.base_prefix)
        files = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
        return [Path(file) for file in files if file and not file.startswith(installed)]


class RequestHandler(WSGIRequestHandler):
    """Waits for a request without holding up the end of the server."""

    server: DevelopmentServer

    def handle(self) -> None:
        """Answer the connection's request, once it comes."""
        while not self.server.stopping:
            readable, _, _ = select.select([self.connection], [], [], 0.1)
            if readable:
                super().handle()
                return

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Nothing: the application writes the access lines."""


class DevelopmentServer(ThreadedWSGIServer):
    """Werkzeug's server, which waits at its end for the requests that it has begun."""

    daemon_threads = False
    stopping = False

    def __init__(self, settings: Settings, app: WSGIApplication, fd: int) -> None:
        """Serve on a listening socket, with the debugger in front if that is safe."""
        tls = (str(settings.tls_cert), str(settings.tls_key)) if settings.tls_cert and settings.tls_key else None
        if settings.debug and is_loopback(settings.host):
            debugged = DebuggedApplication(app, evalex=True)
            debugged.trusted_hosts.append(settings.host)
            app = debugged
        elif settings.debug:
            logger.warning(
                "The debugger is off: it lets whoever reaches the port run code, and HOST=%s is not only this machine."
                " Set HOST=127.0.0.1 to have it.",
                settings.host,
            )
        super().__init__(settings.host, settings.port, app, RequestHandler, ssl_context=tls, fd=fd)

    def shutdown(self) -> None:
        """Accept no more connections, and let those go that have sent nothing."""
        self.stopping = True
        super().shutdown()


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that is bound to ``host``."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
