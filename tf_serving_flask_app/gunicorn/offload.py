"""Between gunicorn and the application: the request is read to its end, then answered in a thread of its own.

The application so sees complete requests only, and never a slow client. Who hands in ``run`` decides what a thread
is: with green workers a native thread that the green one waits for, with threaded workers the thread itself.
"""

from __future__ import annotations

import errno
import io
import os
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol

from tf_serving_flask_app.context import CLIENT_LOOK_S
from tf_serving_flask_app.errors import ClientGone, Overloaded
from tf_serving_flask_app.gunicorn.answer import Answer
from tf_serving_flask_app.gunicorn.bodies import Bodies, BrokenBody
from tf_serving_flask_app.gunicorn.presence import has_gone
from tf_serving_flask_app.gunicorn.refusal import CLIENT_CLOSED_REQUEST, Refusal
from tf_serving_flask_app.gunicorn.turns import Turns, kind_of
from tf_serving_flask_app.observability.access import positive_seconds

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

OPERATIONS = frozenset({"/livez", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready"})
"""Paths that are answered also when every thread is busy and the queue is full."""


FULL = "Too many requests wait already; try again after the seconds that Retry-After names."
LATE = "The deadline passed while the request waited for a thread; allow more time or send fewer at once."


class Run(Protocol):
    """Runs a function in a thread and returns, or raises, what it did."""

    def __call__(self, work: Callable[[], list[bytes]], environ: WSGIEnvironment, /) -> list[bytes]:
        """Wait for ``work``, the answer to a request, without keeping other connections waiting."""


class Send(Protocol):
    """Sends an answer, in the thread that it was made in."""

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse, answer: Answer, /) -> list[bytes]:
        """Send it, or as much as can be sent without waiting for the client; returns what is left."""


def leave_to_the_server(environ: WSGIEnvironment, start_response: StartResponse, answer: Answer) -> list[bytes]:
    """Send nothing: the server takes the body from the WSGI application and sends it."""
    start_response(answer.status, answer.headers)
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [b"".join(answer.chunks)]


class InFlight:
    """Counts the requests that wait for a thread or run in one."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._now = 0
        self._lock = threading.Lock()

    @property
    def full(self) -> bool:
        """Whether one more would be too many."""
        return self._now >= self._most

    def enter(self) -> bool:
        """Take a place, or say that there is none."""
        with self._lock:
            if self.full:
                return False
            self._now += 1
            return True

    def leave(self) -> None:
        """Give the place back."""
        with self._lock:
            self._now -= 1


class Offload:
    """The application as gunicorn sees it."""

    def __init__(
        self,
        app: WSGIApplication,
        *,
        run: Run,
        run_operation: Run,
        turns: Turns,
        most_in_flight: int,
        request_timeout_s: float,
        max_content_length: int,
        upload_folder: Path | None = None,
        on_refusal: Callable[[Refusal], None] = Refusal.log,
        send: Send = leave_to_the_server,
    ) -> None:
        """Wrap an application.

        Args:
            app: called in a thread, with a request whose body is at hand.
            run: runs it there.
            run_operation: the same for ``OPERATIONS``, which must not wait behind model calls.
            turns: says when a request may take a thread; not asked for ``OPERATIONS``.
            most_in_flight: more requests than these, waiting or running, are answered 503.
            request_timeout_s: how long a request waits for a thread, if it asks for no shorter time.
            max_content_length: no more of a body than this is kept; it is the application that answers 413.
            upload_folder: where large bodies are spooled, in files without a name that vanish with the process.
            on_refusal: told of each request that is not handed to the application.
            send: what is done with an answer.
        """
        self._app = app
        self._run = run
        self._run_operation = run_operation
        self._turns = turns
        self._in_flight = InFlight(most_in_flight)
        self._request_timeout_s = request_timeout_s
        self._max_content_length = max_content_length
        self._on_refusal = on_refusal
        self._send = send
        self._bodies = Bodies(upload_folder)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        """Answer one request."""
        environ["tf_serving.received"] = time.perf_counter()
        # These write to the connection, which belongs to the server's thread.
        environ["tf_serving.client_gone"] = partial(has_gone, environ.pop("gunicorn.socket"))
        environ.pop("wsgi.early_hints", None)
        if environ["PATH_INFO"] in OPERATIONS:
            environ["wsgi.input"] = self._receive(environ)
            environ["tf_serving.queued"] = time.perf_counter()
            return self._run_operation(lambda: self._answer(environ, start_response), environ)
        # A slow upload takes no place, else a few slow clients could take all; but none is begun in vain.
        if self._in_flight.full:
            return self._refuse(environ, start_response)
        environ["wsgi.input"] = body = self._receive(environ)
        if not self._in_flight.enter():
            body.close()
            return self._refuse(environ, start_response)
        environ["tf_serving.queued"] = time.perf_counter()
        return self._answer_in_turn(environ, start_response)

    def _receive(self, environ: WSGIEnvironment) -> IO[bytes]:
        """Read the body to its end, or not at all, or one byte beyond the limit, so that the limit can be seen.

        Raises:
            ConnectionResetError: the client went away before it had sent what it announced.
            RuntimeError: there is no room for it.
        """
        announced = environ.get("CONTENT_LENGTH")
        if announced is None and "HTTP_TRANSFER_ENCODING" not in environ:
            return io.BytesIO()
        if announced is not None and int(announced) > self._max_content_length:
            return io.BytesIO()
        source = environ["wsgi.input"]
        try:
            if announced is not None:
                return self._bodies.receive(source, int(announced))
            body = self._bodies.receive_up_to(source, self._max_content_length + 1)
        except BrokenBody as error:
            text = "The client went away before its request was complete."
            self._on_refusal(Refusal.of_environ(environ, CLIENT_CLOSED_REQUEST, text))
            raise _reset() from error
        except OSError as error:  # which would be taken for the connection's
            raise RuntimeError("a request's body cannot be spooled; see UPLOAD_FOLDER") from error
        # The application sees a body of known length.
        del environ["HTTP_TRANSFER_ENCODING"]
        environ["CONTENT_LENGTH"] = str(body.tell())
        body.seek(0)
        return body

    def _answer_in_turn(self, environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        """Answer a request that has come in, when it may take a thread."""
        kind = kind_of(environ) if self._turns.shared else ""
        refused: tuple[int, str] | None = None
        try:
            turn = self._turns.take(kind)
            if turn is not None and not self._turns.wait(turn, self._seconds_left(environ)):
                refused = HTTPStatus.GATEWAY_TIMEOUT, LATE
        except Overloaded:
            refused = HTTPStatus.SERVICE_UNAVAILABLE, FULL
        if refused is not None:
            environ["wsgi.input"].close()
            self._in_flight.leave()
            return self._refuse(environ, start_response, *refused)

        def leave() -> None:
            self._turns.give_back(kind)
            self._in_flight.leave()

        return self._run(lambda: self._answer(environ, start_response, leave), environ)

    def _seconds_left(self, environ: WSGIEnvironment) -> float:
        """How long a request can wait until it is too late."""
        asked_s = positive_seconds(environ.get("HTTP_X_REQUEST_TIMEOUT_MS", ""))
        spent_s: float = time.perf_counter() - environ["tf_serving.received"]
        return max(0.0, min(self._request_timeout_s, asked_s, threading.TIMEOUT_MAX) - spent_s)

    def _answer(
        self, environ: WSGIEnvironment, start_response: StartResponse, leave: Callable[[], None] = lambda: None
    ) -> list[bytes]:
        """Let the application answer, and send it, in a thread.

        Raises:
            ConnectionResetError: the client went away while its request waited, so nothing is answered.
        """
        try:
            with environ["wsgi.input"]:
                answer = self._call(environ)
        except ClientGone as error:
            self._on_refusal(Refusal.of_environ(environ, CLIENT_CLOSED_REQUEST, str(error)))
            raise _reset() from error
        finally:
            leave()
        if answer.status.startswith(str(CLIENT_CLOSED_REQUEST)):
            raise _reset()
        if int(environ.get("CONTENT_LENGTH") or 0) > self._max_content_length:
            # The rest of the body is not worth reading only to use the connection again.
            answer.headers.append(("Connection", "close"))
        return self._send(environ, start_response, answer)

    def _call(self, environ: WSGIEnvironment) -> Answer:
        """Run the application to the end of its answer, in a thread.

        Raises:
            ClientGone: it has not begun, as the client went away while its request waited for the thread.
        """
        waited_s = time.perf_counter() - environ["tf_serving.queued"]
        if waited_s > CLIENT_LOOK_S and environ["tf_serving.client_gone"]():
            raise ClientGone
        answer = Answer()
        try:
            chunks: Iterable[bytes] = self._app(environ, answer.start)
            try:
                for chunk in chunks:  # not extend(): the application may write() in between
                    answer.chunks.append(chunk)
            finally:
                close = getattr(chunks, "close", None)
                if close is not None:
                    close()
        except SystemExit as error:
            raise RuntimeError("the application tried to end the process") from error
        if not answer.status:
            raise AssertionError("the application did not call start_response")
        return answer

    def _refuse(
        self,
        environ: WSGIEnvironment,
        start_response: StartResponse,
        status: int = HTTPStatus.SERVICE_UNAVAILABLE,
        text: str = FULL,
    ) -> list[bytes]:
        refusal = Refusal.of_environ(environ, status, text)
        self._on_refusal(refusal)
        return self._send(environ, start_response, Answer(refusal.status_line, refusal.headers, [refusal.body]))


def _reset() -> ConnectionResetError:
    """What gunicorn takes as the end of a connection, without an answer."""
    return ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
