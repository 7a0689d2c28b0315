"""What is answered, or only logged, without the application: a JSON error, an id and one access line."""

from __future__ import annotations

import json
import logging
import time
import uuid
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from tf_serving_flask_app.observability.access import sane_request_id
from tf_serving_flask_app.observability.access_line import DATASET, request_path

access_log = logging.getLogger(DATASET)

CLIENT_CLOSED_REQUEST = 499


@dataclass(frozen=True)
class Refusal:
    """One request that the application does not get to see.

    Attributes:
        status: of the answer; 499 where the client has gone and nobody is likely to read one.
        message: for the client, one sentence that says what to change.
        method: as the client sent it, or None if it could not be read.
        path: the same, without the query, which may hold secrets.
        client: the peer's address.
        request_id: sent back and logged.
        received: when the request arrived, on the clock of ``time.perf_counter()``.
    """

    status: int
    message: str
    method: str | None = None
    path: str | None = None
    client: str | None = None
    request_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    received: float = field(default_factory=time.perf_counter)

    @classmethod
    def of_environ(cls, environ: dict[str, Any], status: int, message: str) -> Refusal:
        """Refuse a request that was read as far as its headers."""
        return cls(
            status,
            message,
            environ["REQUEST_METHOD"],
            request_path(environ),
            environ.get("REMOTE_ADDR"),
            sane_request_id(environ.get("HTTP_X_REQUEST_ID")),
            environ["tf_serving.received"],
        )

    @property
    def body(self) -> bytes:
        """The answer's JSON."""
        return json.dumps({"error": self.message}).encode() + b"\n"

    @property
    def headers(self) -> list[tuple[str, str]]:
        """The answer's headers; the connection is not used again, for the request may not have been read."""
        headers = [
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(self.body))),
            ("X-Request-Id", self.request_id),
            ("Connection", "close"),
        ]
        if self.status == HTTPStatus.SERVICE_UNAVAILABLE:
            headers.append(("Retry-After", "1"))
        return headers

    @property
    def status_line(self) -> str:
        """Code and phrase, as WSGI wants them."""
        if self.status == CLIENT_CLOSED_REQUEST:
            return f"{self.status} Client Closed Request"
        return f"{self.status} {HTTPStatus(self.status).phrase}"

    @property
    def raw(self) -> bytes:
        """The whole answer, for a connection that no application serves."""
        lines = [f"HTTP/1.1 {self.status_line}", *(f"{name}: {value}" for name, value in self.headers)]
        return "\r\n".join(lines).encode("ascii") + b"\r\n\r\n" + self.body

    def log(self) -> None:
        """Write the access line."""
        fields = {
            "event.kind": "event",
            "event.category": ["web"],
            "event.type": ["access"],
            "event.dataset": DATASET,
            "event.outcome": "failure",
            "http.request.method": self.method,
            "http.request.id": self.request_id,
            "http.response.status_code": self.status,
            "http.response.body.bytes": 0 if self.status == CLIENT_CLOSED_REQUEST else len(self.body),
            "url.path": self.path,
            "client.address": self.client,
            "event.duration": int((time.perf_counter() - self.received) * 1e9),
        }
        access_log.info(
            "%s %s %d: %s",
            self.method or "-",
            self.path or "-",
            self.status,
            self.message,
            extra={name: value for name, value in fields.items() if value is not None},
        )
