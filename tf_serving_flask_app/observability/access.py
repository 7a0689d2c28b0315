"""The outermost WSGI layer: gives each request its ids and deadline, counts it, and writes one access line for it."""

from __future__ import annotations

import json
import logging
import math
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from tf_serving_flask_app.context import RequestContext, current_request
from tf_serving_flask_app.metrics import Metrics
from tf_serving_flask_app.observability.access_line import access_logger, request_path, write_access_line
from tf_serving_flask_app.observability.body_bytes import CountedInput, announced_length

if TYPE_CHECKING:
    from types import TracebackType

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    ExcInfo = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]
    Headers = list[tuple[str, str]]

_logger = logging.getLogger(__name__)

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
# Version ff is forbidden, ids of zeros only are invalid; versions later than 00 may add fields after the flags.
_TRACEPARENT = re.compile(
    r"(?!ff|00.{54})[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?"
)


class AccessLog:
    """WSGI middleware around the whole application: request context, X-Request-Id and the access line.

    The context goes into ``environ["tf_serving.request"]`` and, while the application runs, ``current_request``.
    Where the server put the ``time.perf_counter()`` of the request's arrival into
    ``environ["tf_serving.received"]``, the duration and the deadline count from there; from
    ``environ["tf_serving.queued"]`` on, where there is that, the request waited for a thread. A callable in
    ``environ["tf_serving.client_gone"]`` tells whether the client has closed its connection.

    Args:
        app: the application; must run in one thread per request, as native threads do.
        request_timeout_s: the deadline of a request that asks for no shorter one.
        metrics: where each request is counted, if anywhere.
    """

    def __init__(self, app: WSGIApplication, request_timeout_s: float, metrics: Metrics | None = None) -> None:
        self._app = app
        self._request_timeout_s = request_timeout_s
        self._metrics = metrics

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Run the application for one request; its access line is written when the answer is closed."""
        received = environ.setdefault("tf_serving.received", time.perf_counter())
        context = _request_context(environ, received, self._request_timeout_s)
        environ["tf_serving.request"] = context
        if "tf_serving.queued" in environ:
            context.stages["queue"] = int((time.perf_counter() - environ["tf_serving.queued"]) * 1e9)
        exchange = _Exchange(environ, start_response, context, received, self._metrics)
        exchange.begin(self._app)
        return exchange


class _Exchange:
    """One request and its answer: the iterable that the server sends and closes."""

    def __init__(
        self,
        environ: WSGIEnvironment,
        start_response: StartResponse,
        context: RequestContext,
        received: float,
        metrics: Metrics | None,
    ) -> None:
        self._environ = environ
        self._server_start_response = start_response
        self._context = context
        self._received = received
        self._metrics = metrics
        self._path = environ.get("PATH_INFO", "")
        self._status: int | None = None
        self._failed = False
        self._sent_bytes = 0
        self._body: Iterable[bytes] = ()
        self._chunks: Iterator[bytes] = iter(())
        self._closed = False
        self._body_length = announced_length(environ)
        self._input = CountedInput(environ["wsgi.input"])
        if self._body_length is None:
            environ["wsgi.input"] = self._input

    def begin(self, app: WSGIApplication) -> None:
        """Call the application."""
        if self._metrics is not None:
            self._metrics.begin_request(self._path)
        token = current_request.set(self._context)
        try:
            self._body = app(self._environ, self._start_response)
            self._chunks = iter(self._body)
        except Exception as error:  # noqa: BLE001 - logged and answered there
            self._answer_failure(error)
        except BaseException:
            # The worker is being stopped: the server gets nothing that it could close.
            self._failed = True
            self.close()
            raise
        finally:
            current_request.reset(token)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        token = current_request.set(self._context)
        try:
            chunk = next(self._chunks)
        except StopIteration:
            raise
        except Exception as error:  # noqa: BLE001 - logged and answered there
            self._answer_failure(error)
            chunk = next(self._chunks)
        finally:
            current_request.reset(token)
        self._sent_bytes += len(chunk)
        return chunk

    def close(self) -> None:
        """Close the application's iterable and write the access line."""
        if self._closed:
            return
        self._closed = True
        token = current_request.set(self._context)
        try:
            _close(self._body)
        finally:
            current_request.reset(token)
            self._record()

    def _start_response(self, status: str, headers: Headers, exc_info: ExcInfo | None = None, /) -> Any:
        headers = [header for header in headers if header[0].lower() != "x-request-id"]
        headers.append(("X-Request-Id", self._context.request_id))
        if exc_info is None:
            write = self._server_start_response(status, headers)
        else:
            write = self._server_start_response(status, headers, exc_info)
        self._status = int(status[:3])

        def counted_write(data: bytes) -> None:
            self._sent_bytes += len(data)
            write(data)

        return counted_write

    def _answer_failure(self, error: Exception) -> None:
        """Log the exception of the application, which ran as the current request, and answer 500 in its place.

        Raises:
            Exception: the same, where part of the answer is on its way already.
        """
        self._failed = True
        method, path = self._environ["REQUEST_METHOD"], request_path(self._environ)
        _logger.error("The application failed on %s %s", method, path, exc_info=error)
        if self._sent_bytes:
            raise error
        request_id = self._context.request_id
        text = f"Internal server error; the log has the details under request id {request_id}"
        body = json.dumps({"error": text}).encode()
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        # With exc_info a server takes a second start_response, or raises if it has sent the first one's headers.
        exc_info = None if self._status is None else sys.exc_info()
        self._start_response("500 Internal Server Error", headers, exc_info)
        self._chunks = iter([body])

    def _record(self) -> None:
        """Count the request and write its access line."""
        status = 500 if self._status is None else self._status
        received_bytes = self._input.bytes_read if self._body_length is None else self._body_length
        duration = time.perf_counter() - self._received
        if self._metrics is not None:
            method = self._environ["REQUEST_METHOD"]
            self._metrics.end_request(
                self._context, method, self._path, status, duration, received_bytes, self._sent_bytes
            )
        if access_logger.isEnabledFor(logging.INFO):
            failed = self._failed or status >= 400
            write_access_line(self._environ, self._context, status, failed, duration, received_bytes, self._sent_bytes)


def sane_request_id(sent: str | None) -> str:
    """Return the id that the client sent, or a new one if it sent none that is fit for headers and logs."""
    return sent if sent and _REQUEST_ID.fullmatch(sent) else os.urandom(16).hex()


def _request_context(environ: WSGIEnvironment, received: float, timeout_s: float) -> RequestContext:
    if asked := environ.get("HTTP_X_REQUEST_TIMEOUT_MS"):
        timeout_s = min(timeout_s, positive_seconds(asked))
    already_spent = time.perf_counter() - received
    context = RequestContext(
        request_id=sane_request_id(environ.get("HTTP_X_REQUEST_ID")),
        deadline=time.monotonic() - already_spent + timeout_s,
        client_gone=environ.get("tf_serving.client_gone", bool),
    )
    if (sent := environ.get("HTTP_TRACEPARENT")) and (trace := _TRACEPARENT.fullmatch(sent)):
        context.trace_id = trace[1]
        # What a later version adds is unknown, so version 00 is what is passed on.
        context.traceparent = f"00{sent[2:55]}"
    return context


def positive_seconds(milliseconds: str) -> float:
    """Return the header's value in seconds, infinity if there is no usable one."""
    try:
        seconds = float(milliseconds) / 1000
    except ValueError:
        return math.inf
    return seconds if seconds > 0 else math.inf


def _close(body: Iterable[bytes]) -> None:
    close = getattr(body, "close", None)
    if close is not None:
        close()
