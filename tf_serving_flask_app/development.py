"""Serves while somebody works on it: Werkzeug's server, a thread for each request, and a restart on a change."""

from __future__ import annotations

import logging
import select
import signal
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler, is_running_from_reloader, run_simple

from tf_serving_flask_app.errors import ConfigurationError

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from tf_serving_flask_app.gunicorn.server import Application
    from tf_serving_flask_app.settings import Settings

logger = logging.getLogger(__name__)


def serve_development(
    settings: Settings,
    load: Callable[[], Application],
    *,
    extra_files: Iterable[Path] = (),
    on_exit: Callable[[], None] = lambda: None,
) -> int:
    """Serve until told to stop; with ``settings.debug`` restart whenever a source file changes.

    Args:
        settings: what the environment says.
        load: makes the application.
        extra_files: restart when one of these changes, too.
        on_exit: runs once, last of all; with the reloader in both of its processes.

    Returns:
        the exit code: 0 after a stop that was asked for, 2 if a setting, a spec or a model file is wrong, 1 for
        anything else.
    """
    try:
        return serve_reloading(settings, load, extra_files) if settings.debug else serve_once(settings, load)
    except ConfigurationError as error:
        logger.error("%s", error)
        return 2
    except SystemExit as end:  # how Werkzeug says that the port is taken, and what its reloader ended with
        return end.code if isinstance(end.code, int) else 0
    except Exception:
        logger.exception("The application failed to load.")
        return 1
    finally:
        on_exit()


def serve_reloading(settings: Settings, load: Callable[[], Application], extra_files: Iterable[Path]) -> int:
    """Let Werkzeug's reloader run this very command in a child, which it ends at a change and at a signal."""
    if not settings.on_loopback and not is_running_from_reloader():
        logger.warning(
            "The debugger is off: it lets whoever reaches the port run code, and HOST=%s is not only this machine. Set"
            " HOST=127.0.0.1 to have it.",
            settings.host,
        )
    run_simple(
        settings.host,
        settings.port,
        load().wsgi if is_running_from_reloader() else no_application,
        use_reloader=True,
        extra_files=[str(file.resolve()) for file in extra_files],
        threaded=True,
        request_handler=QuietRequestHandler,
        ssl_context=tls_files(settings),
    )
    return 0


def serve_once(settings: Settings, load: Callable[[], Application]) -> int:
    """Serve until a signal, then answer what has begun."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    application = load()
    server = DevelopmentServer(settings, application.wsgi)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="accept")
    thread.start()
    scheme = "https" if server.ssl_context else "http"
    logger.info("Serving on %s://%s:%d, for development.", scheme, settings.host, server.port)
    # A signal that another thread gets does not wake this one, so it looks by itself.
    while not stop.wait(0.2):
        continue
    application.drain()
    server.shutdown()
    thread.join()
    server.server_close()
    application.close()
    return 0


def tls_files(settings: Settings) -> tuple[str, str] | None:
    """Certificate and key as Werkzeug takes them, or None to serve without TLS."""
    return (str(settings.tls_cert), str(settings.tls_key)) if settings.tls_cert and settings.tls_key else None


def no_application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Stands for the application in the reloader's parent, which serves nothing."""
    raise AssertionError("the reloader's parent does not serve")


class QuietRequestHandler(WSGIRequestHandler):
    """Leaves the access lines to the application."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Log nothing."""


class PatientRequestHandler(QuietRequestHandler):
    """Waits for a request without holding up the end of the server."""

    server: DevelopmentServer

    def handle(self) -> None:
        """Answer the connection's request, once it comes."""
        while not self.server.stopping:
            readable, _, _ = select.select([self.connection], [], [], 0.1)
            if readable:
                super().handle()
                return


class DevelopmentServer(ThreadedWSGIServer):
    """Werkzeug's server, which waits at its end for the requests that it has begun."""

    daemon_threads = False
    stopping = False

    def __init__(self, settings: Settings, app: WSGIApplication) -> None:
        """Listen."""
        super().__init__(settings.host, settings.port, app, PatientRequestHandler, ssl_context=tls_files(settings))

    def shutdown(self) -> None:
        """Accept no more connections, and let those go that have sent nothing."""
        self.stopping = True
        super().shutdown()
