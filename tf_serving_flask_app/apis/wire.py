"""How requests are read and answers written, the same for every protocol."""

from __future__ import annotations

import tempfile
from typing import IO, Any, cast

import orjson
from flask import Request, Response
from flask import request as flask_request

from tf_serving_flask_app.context import RequestContext
from tf_serving_flask_app.errors import InvalidInput

SPOOL_OVER_BYTES = 1 << 20


class ServingRequest(Request):
    """A request whose large uploads are spooled in the upload folder, as files that have no name.

    Such a file is gone with the process that holds it, so that nothing is left behind, not even by a kill.
    """

    upload_folder: str | None = None

    def _get_file_stream(
        self,
        total_content_length: int | None,
        content_type: str | None,
        filename: str | None = None,
        content_length: int | None = None,
    ) -> IO[bytes]:
        return cast("IO[bytes]", tempfile.SpooledTemporaryFile(SPOOL_OVER_BYTES, dir=self.upload_folder))


def request_context() -> RequestContext:
    """The context that ``observability.access`` made when the request arrived."""
    return cast(RequestContext, flask_request.environ["tf_serving.request"])


def json_response(data: Any, status: int = 200) -> Response:
    """Answer with JSON; arrays are encoded without a Python object per number, NaN and infinities as null."""
    body = orjson.dumps(data, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS)
    return Response(body, status=status, mimetype="application/json")


def read_json_object() -> dict[str, Any]:
    """Parse the request's body as a JSON object.

    Raises:
        InvalidInput: it is something else.
    """
    try:
        data = parse_json(read_body())
    except ValueError as exc:
        raise InvalidInput(f"The body is not valid JSON: {exc}.") from exc
    if not isinstance(data, dict):
        raise InvalidInput("The body must be a JSON object.")
    return data


def read_body() -> bytes:
    """Read the request's whole body.

    Raises:
        RequestEntityTooLarge: it is larger than ``MAX_CONTENT_LENGTH``.
    """
    return flask_request.get_data(cache=False)


def parse_json(text: bytes) -> Any:
    """Parse JSON.

    Raises:
        ValueError: it is none; the text says where.
    """
    return orjson.loads(text)
