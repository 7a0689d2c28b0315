"""What all four kinds of worker share, and where each is found."""

from __future__ import annotations

import copy
import os
import select
import signal
import ssl
import sys
import threading
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar

from gunicorn import util
from gunicorn.http import errors as http_errors
from gunicorn.workers.base import Worker

from tf_serving_flask_app.gunicorn.answer import Answer
from tf_serving_flask_app.gunicorn.balance import Share
from tf_serving_flask_app.gunicorn.boot import STOP_SIGNALS, BootFailure, BootReport, LoadingWatch
from tf_serving_flask_app.gunicorn.native import Flag
from tf_serving_flask_app.gunicorn.offload import OPERATIONS, Offload, Run, leave_to_the_server
from tf_serving_flask_app.gunicorn.refusal import Refusal
from tf_serving_flask_app.gunicorn.turns import Turns
from tf_serving_flask_app.observability.access import sane_request_id

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

    from tf_serving_flask_app.gunicorn.server import Application

WORKER_CLASSES = {
    "eventlet": "tf_serving_flask_app.gunicorn.eventlet_worker.EventletWorker",
    "gevent": "tf_serving_flask_app.gunicorn.gevent_worker.GeventWorker",
    "gthread": "tf_serving_flask_app.gunicorn.thread_worker.ThreadWorker",
    "sync": "tf_serving_flask_app.gunicorn.sync_worker.SyncWorker",
}
"""Name in the settings -> class, in the dotted form that gunicorn wants."""

CLIENT_TIMEOUT_S = 60.0
"""A client that neither sends what it announced nor takes its answer for so long is given up."""

LINGER_S = 5.0
"""How long an unread body is read and thrown away, so that its sender sees the answer and not a reset."""

FIRST_BYTE_S = 5.0
"""How long a new connection may stay silent."""

IDLE_LINGER_S = 0.3
"""How long a worker of a stopping server waits for a request that may be under way on a kept-alive connection."""


class SlowHeader(http_errors.ParseException):
    """A request began, but its header did not come to an end."""

    def __str__(self) -> str:
        """Say it to the client."""
        return "its header did not come to an end in time"


STATUS_OF_ERROR: tuple[tuple[type[Exception], HTTPStatus], ...] = (
    (http_errors.InvalidResponseHeader, HTTPStatus.INTERNAL_SERVER_ERROR),
    (http_errors.InvalidResponseHeaderName, HTTPStatus.INTERNAL_SERVER_ERROR),
    (http_errors.ConfigurationProblem, HTTPStatus.INTERNAL_SERVER_ERROR),
    (http_errors.LimitRequestLine, HTTPStatus.REQUEST_URI_TOO_LONG),
    (http_errors.LimitRequestHeaders, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE),
    (http_errors.UnsupportedTransferCoding, HTTPStatus.NOT_IMPLEMENTED),
    (http_errors.ExpectationFailed, HTTPStatus.EXPECTATION_FAILED),
    (http_errors.ForbiddenProxyRequest, HTTPStatus.FORBIDDEN),
    (SlowHeader, HTTPStatus.REQUEST_TIMEOUT),
    (http_errors.ParseException, HTTPStatus.BAD_REQUEST),
    (ssl.SSLError, HTTPStatus.BAD_REQUEST),
)
"""What may go wrong outside the application -> status; the first that fits counts, and 500 where none does."""


class ServingWorker(Worker):
    """A worker whose application is loaded after the fork, drained before the end and closed at the end.

    Comes before gunicorn's own class among the bases.
    """

    alive: bool
    application: Application
    cfg: Any

    header_timeout_s: ClassVar[float] = 20.0
    """How long the header of a request may take from its first byte on, the TLS handshake of a connection likewise."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Called in the master, before the fork."""
        super().__init__(*args, **kwargs)
        self.report = BootReport()
        self.share = Share(self.app.loads)

    def init_process(self) -> None:
        """Start the worker; a failure to load is handed to the master, which decides what it means."""
        self.cfg = settled(self.cfg)
        try:
            super().init_process()
        except Exception as error:
            if self.booted:
                raise
            self.report.fail(BootFailure.of(error))
            sys.exit(0)  # the report says more than a code, and gunicorn would log the code as well

    def init_signals(self) -> None:
        """Ctrl-C reaches the workers as well as the master: it means the same as the master's SIGTERM."""
        super().init_signals()
        signal.signal(signal.SIGINT, self.handle_exit)
        signal.siginterrupt(signal.SIGINT, False)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)  # blocked by the master before the fork

    def handle_quit(self, sig: int, frame: object) -> None:
        """Stop at once; an ordinary exit would wait for the threads."""
        self.cfg.worker_int(self)
        leave(0)

    def load_wsgi(self) -> None:
        """Load the application and put it behind ``Offload``."""
        with LoadingWatch(self):
            self.application = self.app.wsgi()
        settings = self.app.settings
        run, run_operation = self.make_runs()
        self.offload = Offload(
            self.application.wsgi,
            run=run,
            run_operation=run_operation,
            turns=Turns(self.cfg.threads, settings.max_queue, self.flag, shared=self.application.serves_several),
            request_timeout_s=settings.request_timeout_s,
            most_in_flight=self.cfg.threads + settings.max_queue,
            max_content_length=settings.max_content_length,
            upload_folder=settings.upload_folder,
            on_refusal=self.report_refusal,
            send=self.send,
        )
        self.wsgi = self.answer
        self.report.ready()

    @property
    def idle_linger_s(self) -> float:
        """How long the worker, when told to stop, waits for requests on kept-alive connections.

        Where others serve in its place, nobody waits for its end: then as long as it promised. Closing earlier would
        meet requests that are under way, and not every client sends those again.
        """
        return float(self.cfg.keepalive) if self.report.is_replaced else IDLE_LINGER_S

    def flag(self) -> Flag:
        """Make something that a request can wait for."""
        return threading.Event()

    def make_runs(self) -> tuple[Run, Run]:
        """Say where requests are worked on, and where those that must not wait behind them."""
        raise NotImplementedError

    def answer(self, environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        """Answer one request; the application as gunicorn sees it."""
        response = start_response.__self__  # type: ignore[attr-defined]  # gunicorn's Response
        response.sock.settimeout(CLIENT_TIMEOUT_S)
        rest = self.offload(environ, start_response)
        if not response.headers_sent:
            return rest
        for piece in rest:
            response.sock.sendall(piece)
        return []

    def send(self, environ: WSGIEnvironment, start_response: StartResponse, answer: Answer) -> list[bytes]:
        """Send an answer, and say whether the connection is closed after it.

        It is where the answer asks for it, or is given while the worker stops or has too many connections. gunicorn
        drops an application's ``Connection`` header, and looks whether the worker stops when a request begins, which
        is too early for one that takes long.
        """
        response = start_response.__self__  # type: ignore[attr-defined]  # gunicorn's Response
        if answer.closes or not self.alive or self.gives_up(environ, response):
            response.force_close()
        if response.req.version >= (2, 0):
            return leave_to_the_server(environ, start_response, answer)
        return self.write(response, answer.encode(response))

    def write(self, response: Any, pieces: list[bytes]) -> list[bytes]:
        """Send a whole answer; returns what is left because a thread must not wait for the client."""
        for piece in pieces:
            response.sock.sendall(piece)
        return []

    def gives_up(self, environ: WSGIEnvironment, response: Any) -> bool:
        """Tell whether a connection is to be closed after its answer because other workers have less to do.

        Not where the client has sent more already: it would be lost, and could cost it the answer too.
        """
        return (
            self.share.surplus > 0
            and environ["PATH_INFO"] not in OPERATIONS
            and response.req.version < (2, 0)
            and not response.must_close
            and not response.req.should_close()
            and not response.req.unreader.buf.getbuffer().nbytes
            and not has_arrived(response.sock.fileno())
            and self.share.give_up_one()
        )

    def is_shared(self, listener: Any) -> bool:
        """Tell whether other workers can accept from a socket, and it is not the one where metrics are scraped."""
        name = listener.getsockname()
        port = name[1] if isinstance(name, tuple) else None
        return not self.cfg.reuse_port and (port is None or port != self.app.settings.metrics_port)

    def run(self) -> None:
        """Serve until told to stop, then close the application."""
        self.serve()
        self.application.close()

    def serve(self) -> None:
        """Serve until told to stop, and answer what has been accepted by then."""
        super().run()

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Answer what never reached the application, or broke on the way back, as JSON."""
        status = next((code for kind, code in STATUS_OF_ERROR if isinstance(exc, kind)), None)
        if status is None or status == HTTPStatus.INTERNAL_SERVER_ERROR:
            self.log.error("A request failed outside the application.", exc_info=exc)
            message, status = "The server failed on this request; its log says why.", HTTPStatus.INTERNAL_SERVER_ERROR
        else:
            message = f"The request cannot be read: {str(exc)[:200] or type(exc).__name__}."
        headers = dict(req.headers) if req is not None else {}
        refusal = Refusal(
            status,
            message,
            method=getattr(req, "method", None),
            path=getattr(req, "path", None),
            client=addr[0] if addr else None,
            request_id=sane_request_id(headers.get("X-REQUEST-ID")),
        )
        self.report_refusal(refusal)
        with suppress(OSError):  # the client may be gone
            client.settimeout(1.0)
            client.sendall(refusal.raw)

    def report_refusal(self, refusal: Refusal) -> None:
        """Log and count a request that the application does not get to see."""
        refusal.log()
        self.application.count_refusal(refusal.method, refusal.status)


def settled(cfg: Any) -> Any:
    """Copy gunicorn's configuration with each value as a plain attribute; a request looks at thirty of them.

    gunicorn's own looks for the setting, and asks that, each time. A worker's configuration does not change.
    """
    made = copy.copy(cfg)
    vars(made).update((name, setting.get()) for name, setting in cfg.settings.items())
    return made


def has_arrived(descriptor: int) -> bool:
    """Tell whether there is something to read, or to accept, of which its green thread may not know yet."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


def linger(request: Any, client: Any) -> None:
    """Close the connection of a request that was answered before it was read, so that its sender sees the answer.

    What is still sent is thrown away for a while: closing at once would be a reset, which eats the answer.
    """
    reader = request.body.reader
    if getattr(reader, "length", 0) or getattr(reader, "parser", None) is not None:
        util.close_graceful(client, LINGER_S, sys.maxsize)


def leave(code: int) -> None:
    """End this process now: without waiting for threads, and without the exit handlers of the process it came from."""
    with suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)
