"""How requests are read and answers written, the same for every protocol."""

from __future__ import annotations

import json
import tempfile
from typing import IO, Any, cast

import numpy as np
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


def json_response(data: Any, status: int = 200, *, non_finite: bool = False) -> Response:
    """Answer with JSON; arrays are encoded without a Python object per number.

    NaN and infinities become null, or with ``non_finite`` the words ``NaN`` and ``Infinity``, which are not JSON.
    """
    if non_finite:
        body = json.dumps(data, default=_plain, ensure_ascii=False).encode()
    else:
        body = orjson.dumps(data, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS)
    return Response(body, status=status, mimetype="application/json")


def _plain(array: np.ndarray[Any, Any] | np.generic) -> Any:
    """Python numbers that print as the array's own type does."""
    return array.astype("U32").astype(float).tolist() if array.dtype == np.float32 else array.tolist()


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


def parse_json_prefix(text: bytes) -> Any:
    """Parse the JSON document that a text begins with, and pass over what follows it.

    A number may also be ``NaN``, ``Infinity`` or ``-Infinity``.

    Raises:
        ValueError: there is none; the text says where.
    """
    try:
        return json.JSONDecoder().raw_decode(text.decode().lstrip())[0]
    except RecursionError as exc:
        raise ValueError("nested too deeply") from exc
