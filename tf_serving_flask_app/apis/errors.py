"""Which error is which status, and that each is ``{"error": "one sentence that says what to change"}``."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Annotated

from flask import Flask, Response, request
from pydantic import BaseModel, Field
from werkzeug.exceptions import HTTPException, MethodNotAllowed, RequestEntityTooLarge
from werkzeug.exceptions import NotFound as NoSuchPath

from tf_serving_flask_app.apis.wire import json_response, request_context
from tf_serving_flask_app.errors import (
    AccessDenied,
    BackendFailed,
    ClientGone,
    DeadlineExceeded,
    InvalidInput,
    NotFound,
    NotReady,
    Overloaded,
    RemoteFailed,
    ServingError,
    Unsupported,
)

logger = logging.getLogger(__name__)

STATUS: Mapping[type[ServingError], int] = {
    InvalidInput: 400,
    AccessDenied: 403,
    NotFound: 404,
    ClientGone: 499,
    BackendFailed: 500,
    Unsupported: 501,
    RemoteFailed: 502,
    Overloaded: 503,
    NotReady: 503,
    DeadlineExceeded: 504,
}


class ErrorAnswer(BaseModel):
    """Why a request was not answered."""

    error: Annotated[str, Field(description="One sentence that says what to change.")]


def register_error_handlers(app: Flask) -> None:
    """Make every error of the app an answer in JSON."""

    @app.errorhandler(ServingError)
    def serving_error(error: ServingError) -> Response:
        status = next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)
        if status == 500:
            if app.debug:
                raise error
            return internal_error(error)
        if status == 502:
            return remote_error(error)
        # A client's JSON may hold half a surrogate pair, which no answer can.
        text = str(error).encode(errors="replace").decode()
        response = json_response({"error": text}, status)
        if status == 503:
            response.headers["Retry-After"] = "1"
        return response

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> Response:
        response = json_response({"error": _http_text(error)}, error.code or 500)
        if isinstance(error, MethodNotAllowed):
            response.headers["Allow"] = ", ".join(sorted(error.valid_methods or ()))
        return response

    def remote_error(error: ServingError) -> Response:
        logger.warning("%s failed: %s", request.endpoint, error)
        name = request_context().model_name
        text = f"The model server behind {name!r} failed or cannot be reached; try again later."
        return json_response({"error": text}, 502)

    def internal_error(error: Exception) -> Response:
        logger.error("%s failed: %s", request.endpoint or "request", error, exc_info=error)
        request_id = request_context().request_id
        return json_response(
            {"error": f"The server failed on this request; its log has the details under the id {request_id}."}, 500
        )

    if not app.debug:  # else the debugger gets it
        app.register_error_handler(Exception, internal_error)


def _http_text(error: HTTPException) -> str:
    """Say what to change, where Werkzeug's own text only says what is wrong."""
    if isinstance(error, NoSuchPath):
        return f"There is nothing at {request.path}; GET / lists what is served."
    if isinstance(error, MethodNotAllowed):
        methods = " or ".join(sorted(error.valid_methods or ()))
        return f"{request.method} does not go with {request.path}; use {methods}."
    if isinstance(error, RequestEntityTooLarge):
        return f"The request is larger than the {request.max_content_length} bytes that are taken; send less."
    return error.description or error.name
