"""The outermost WSGI layer: gives each request its ids and deadline, counts it, and writes one access line for it."""

from __future__ import annotations

import ipaddress
import json
import logging
import math
import re
import sys
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tf_serving_flask_app.context import RequestContext, current_request
from tf_serving_flask_app.metrics import Metrics

if TYPE_CHECKING:
    from types import TracebackType

    from _typeshed.wsgi import InputStream, StartResponse, WSGIApplication, WSGIEnvironment

    ExcInfo = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]
    Headers = list[tuple[str, str]]

DATASET = "tf_serving_flask_app.access"
"""The logger's name and the ``event.dataset`` of access lines."""

_logger = logging.getLogger(__name__)
_access_logger = logging.getLogger(DATASET)

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
# Version ff is forbidden, ids of zeros only are invalid; versions later than 00 may add fields after the flags.
_TRACEPARENT = re.compile(
    r"(?!ff|00.{54})[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?"
)
_CONTENT_LENGTH = re.compile(r"[0-9]{1,18}")
_MAX_USER_AGENT = 512


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
        length = environ.get("CONTENT_LENGTH") or ""
        self._body_length = int(length) if _CONTENT_LENGTH.fullmatch(length) else None
        self._input = _CountedInput(environ["wsgi.input"])
        if self._body_length is None:
            environ["wsgi.input"] = self._input

    def begin(self, app: WSGIApplication) -> None:
        """Call the application."""
        if self._metrics is not None:
            self._metrics.begin_request(self._path)
        try:
            with self._current():
                self._body = app(self._environ, self._start_response)
                self._chunks = iter(self._body)
        except Exception as error:  # noqa: BLE001 - logged and answered there
            self._answer_failure(error)
        except BaseException:
            # The worker is being stopped: the server gets nothing that it could close.
            self._failed = True
            self.close()
            raise

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            with self._current():
                chunk = next(self._chunks)
        except StopIteration:
            raise
        except Exception as error:  # noqa: BLE001 - logged and answered there
            self._answer_failure(error)
            chunk = next(self._chunks)
        self._sent_bytes += len(chunk)
        return chunk

    def close(self) -> None:
        """Close the application's iterable and write the access line."""
        if self._closed:
            return
        self._closed = True
        try:
            with self._current():
                _close(self._body)
        finally:
            self._record()

    @contextmanager
    def _current(self) -> Iterator[None]:
        token = current_request.set(self._context)
        try:
            yield
        finally:
            current_request.reset(token)

    def _start_response(self, status: str, headers: Headers, exc_info: ExcInfo | None = None, /) -> Any:
        others = [(name, value) for name, value in headers if name.lower() != "x-request-id"]
        headers = [*others, ("X-Request-Id", self._context.request_id)]
        write = self._server_start_response(status, headers, *([exc_info] if exc_info else []))
        self._status = int(status[:3])

        def counted_write(data: bytes) -> None:
            self._sent_bytes += len(data)
            write(data)

        return counted_write

    def _answer_failure(self, error: Exception) -> None:
        """Log the application's exception and answer 500 in place of what it began.

        Raises:
            Exception: the same, where part of the answer is on its way already.
        """
        self._failed = True
        method, path = self._environ["REQUEST_METHOD"], request_path(self._environ)
        with self._current():
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
            which = self._context, self._environ["REQUEST_METHOD"], self._path
            self._metrics.end_request(*which, status, duration, received_bytes, self._sent_bytes)
        self._log(status, received_bytes, duration)

    def _log(self, status: int, received_bytes: int, duration: float) -> None:
        environ, context = self._environ, self._context
        address = environ.get("REMOTE_ADDR")
        agent = environ.get("HTTP_USER_AGENT")
        fields = {
            "event.kind": "event",
            "event.category": ["web"],
            "event.type": ["access"],
            "event.dataset": DATASET,
            "event.outcome": "failure" if self._failed or status >= 400 else "success",
            "event.duration": int(duration * 1e9),
            "http.request.method": environ["REQUEST_METHOD"],
            "url.path": request_path(environ),
            "http.version": environ.get("SERVER_PROTOCOL", "").removeprefix("HTTP/"),
            "http.request.body.bytes": received_bytes,
            "http.response.status_code": status,
            "http.response.body.bytes": self._sent_bytes,
            "client.address": address or None,
            "client.ip": address if address and _is_ip(address) else None,
            "user_agent.original": _decoded(agent)[:_MAX_USER_AGENT] if agent else None,
            "http.request.id": context.request_id,
            "trace.id": context.trace_id,
            "labels.model_name": context.model_name,
            "labels.model_version": context.model_version,
            **{f"model_server.{stage}.duration": spent for stage, spent in context.stages.items()},
        }
        extra = {name: value for name, value in fields.items() if value is not None}
        message = "%s %s %d"
        _access_logger.info(message, fields["http.request.method"], fields["url.path"], status, extra=extra)


class _CountedInput:
    """A request body that counts what is read of it; for those whose length no header tells."""

    def __init__(self, stream: InputStream) -> None:
        self._stream = stream
        self.bytes_read = 0

    def read(self, size: int = -1, /) -> bytes:
        return self._count(self._stream.read(size))

    def readline(self, size: int = -1, /) -> bytes:
        return self._count(self._stream.readline(size))

    def readlines(self, hint: int = -1, /) -> list[bytes]:
        return [self._count(line) for line in self._stream.readlines(hint)]

    def __iter__(self) -> Iterator[bytes]:
        return map(self._count, self._stream)

    def _count(self, data: bytes) -> bytes:
        self.bytes_read += len(data)
        return data


def sane_request_id(sent: str | None) -> str:
    """Return the id that the client sent, or a new one if it sent none that is fit for headers and logs."""
    return sent if sent and _REQUEST_ID.fullmatch(sent) else uuid.uuid4().hex


def request_path(environ: WSGIEnvironment) -> str:
    """Return the path that the client asked for, without the query string, which may hold secrets."""
    return _decoded(environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", ""))


def _request_context(environ: WSGIEnvironment, received: float, timeout_s: float) -> RequestContext:
    trace = _TRACEPARENT.fullmatch(environ.get("HTTP_TRACEPARENT", ""))
    asked_s = positive_seconds(environ.get("HTTP_X_REQUEST_TIMEOUT_MS", ""))
    already_spent = time.perf_counter() - received
    return RequestContext(
        request_id=sane_request_id(environ.get("HTTP_X_REQUEST_ID")),
        deadline=time.monotonic() - already_spent + min(timeout_s, asked_s),
        trace_id=trace[1] if trace else None,
        # What a later version adds is unknown, so version 00 is what is passed on.
        traceparent="00" + trace[0][2:55] if trace else None,
        client_gone=environ.get("tf_serving.client_gone", bool),
    )


def positive_seconds(milliseconds: str) -> float:
    """Return the header's value in seconds, infinity if there is no usable one."""
    try:
        seconds = float(milliseconds) / 1000
    except ValueError:
        return math.inf
    return seconds if seconds > 0 else math.inf


def _decoded(text: str) -> str:
    """Undo WSGI's latin-1 disguise of UTF-8 bytes."""
    return text.encode("latin-1", "replace").decode("utf-8", "replace")


def _is_ip(address: str) -> bool:
    try:
        return ipaddress.ip_address(address) is not None and "%" not in address
    except ValueError:
        return False


def _close(body: Iterable[bytes]) -> None:
    close = getattr(body, "close", None)
    if close is not None:
        close()
