"""How requests are read and answers written, the same for every protocol."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from typing import IO, TYPE_CHECKING, Any, cast

from flask import Request, Response
from flask import request as flask_request
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge

from tf_serving_flask_app.apis.content_encoding import decoded
from tf_serving_flask_app.context import RequestContext
from tf_serving_flask_app.errors import InvalidInput
from tf_serving_flask_app.json_arrays import parse_json
from tf_serving_flask_app.json_encoder import encode_json

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

SPOOL_OVER_BYTES = 1 << 20

BODILESS = frozenset({204, 304, *range(100, 200)})
"""Statuses of which HTTP wants no body, and Werkzeug fewer headers."""

TAKEN_APART = frozenset({"scheme", "server", "root_path", "path", "query_string", "headers", "remote_addr"})
"""What Werkzeug reads for each request when it is made."""

LOCATIONS = ("location", "content-location")
"""Headers that Werkzeug encodes."""

this_request: Callable[[], Request] = flask_request._get_current_object  # type: ignore[attr-defined]
"""The current request itself; each look at Flask's stand-in for it costs as much as reading a small body."""


class ServingRequest(Request):
    """A request whose large uploads are spooled in the upload folder, as files that have no name.

    Such a file is gone with the process that holds it, so that nothing is left behind, not even by a kill. What the
    server says of the request is not taken apart before somebody asks for it; for a model call nobody does.
    """

    upload_folder: str | None = None

    def __init__(self, environ: WSGIEnvironment, populate_request: bool = True, shallow: bool = False) -> None:
        self.environ = environ
        self.shallow = shallow
        self.method = environ.get("REQUEST_METHOD", "GET").upper()
        if populate_request and not shallow:
            environ["werkzeug.request"] = self

    def __getattr__(self, name: str) -> Any:
        if name not in TAKEN_APART:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)
        super().__init__(self.environ, populate_request=False, shallow=self.shallow)
        return self.__dict__[name]

    def _get_file_stream(
        self,
        total_content_length: int | None,
        content_type: str | None,
        filename: str | None = None,
        content_length: int | None = None,
    ) -> IO[bytes]:
        return cast("IO[bytes]", tempfile.SpooledTemporaryFile(SPOOL_OVER_BYTES, dir=self.upload_folder))


class ServingResponse(Response):
    """A response that goes out as it is, where its body is one piece."""

    def get_wsgi_response(self, environ: WSGIEnvironment) -> tuple[Iterable[bytes], str, list[tuple[str, str]]]:
        """See ``Response.get_wsgi_response``; that looks for more than an answer to a model call has."""
        body = self.response
        if (
            type(body) is not list
            or len(body) != 1
            or type(body[0]) is not bytes
            or self._on_close
            or self.status_code in BODILESS
            or environ["REQUEST_METHOD"] == "HEAD"
        ):
            return super().get_wsgi_response(environ)
        headers = self.headers.to_wsgi_list()
        names = {name.lower() for name, _ in headers}
        if not names.isdisjoint(LOCATIONS):
            return super().get_wsgi_response(environ)
        if "content-length" not in names:
            headers.append(("Content-Length", str(len(body[0]))))
        return body, self.status, headers


def request_context() -> RequestContext:
    """The context that ``observability.access`` made when the request arrived."""
    return cast(RequestContext, this_request().environ["tf_serving.request"])


def whole_response(body: bytes, content_type: str, status: int = 200) -> Response:
    """Answer with a body of one piece, whose length is told when it goes out."""
    return ServingResponse([body], status, content_type=content_type)


def json_response(data: Any, status: int = 200, *, non_finite: bool = False) -> Response:
    """Answer with JSON; arrays are encoded without a Python object per number.

    Args:
        data: what ``encode_json`` takes.
        status: the answer's.
        non_finite: write NaN and infinities as TensorFlow Serving does; else they are null.
    """
    return whole_response(encode_json(data, non_finite=non_finite), "application/json", status)


def read_json_object() -> dict[str, Any]:
    """Parse the request's body as a JSON object; its lists of numbers may be arrays, see ``parse_json``.

    Raises:
        InvalidInput: it is something else.
        HTTPException: the body cannot be had, see ``read_body``.
    """
    try:
        data = parse_json(read_body(), non_finite=False)
    except ValueError as exc:
        raise InvalidInput(f"The body is not valid JSON: {exc}.") from exc
    if not isinstance(data, dict):
        raise InvalidInput("The body must be a JSON object.")
    return data


def read_body() -> bytes:
    """Read the request's whole body and undo its ``Content-Encoding``.

    Raises:
        RequestEntityTooLarge: it is, or inflates to, more than ``MAX_CONTENT_LENGTH``.
        UnsupportedMediaType: its encoding is not known.
        InvalidInput: it is not encoded as it says, or ends early.
    """
    request = this_request()
    environ = request.environ
    most = request.max_content_length
    sent = environ.get("CONTENT_LENGTH", "")
    # Mostly digits; what else there may be, Werkzeug knows.
    plain = sent.isdecimal() and sent.isascii() and "HTTP_TRANSFER_ENCODING" not in environ
    length = int(sent) if plain else request.content_length
    if length is None:
        body = request.get_data(cache=False)
    elif most is not None and length > most:
        raise RequestEntityTooLarge
    else:
        # Not get_data(), which copies it several times over, in pieces.
        body = environ["wsgi.input"].read(length)
        if len(body) < length:
            raise ClientDisconnected
    codings = environ.get("HTTP_CONTENT_ENCODING")
    return decoded(body, codings, most) if codings else body
