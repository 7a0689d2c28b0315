"""The model repository extension: which models there are, and loading and unloading them.

https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_model_repository.md
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Response

from tf_serving_flask_app.apis.documentation import Operation, documented
from tf_serving_flask_app.apis.open_inference_requests import TAG, parse_request
from tf_serving_flask_app.apis.open_inference_types import (
    LoadRequest,
    RepositoryIndexRequest,
    RepositoryModel,
    UnloadRequest,
)
from tf_serving_flask_app.apis.validation import Record
from tf_serving_flask_app.apis.wire import json_response, read_body, request_context
from tf_serving_flask_app.errors import ConfigurationError, InvalidInput
from tf_serving_flask_app.repository import Repository

STATES: Mapping[str, str] = {
    "START": "LOADING",
    "LOADING": "LOADING",
    "AVAILABLE": "READY",
    "UNLOADING": "UNLOADING",
    "END": "UNAVAILABLE",
}
"""TensorFlow Serving's words for a version's state -> Triton's."""


def create_blueprint(repository: Repository) -> Blueprint:
    """Make the routes."""
    blueprint = Blueprint("repository", __name__)

    @blueprint.post("/repository/index")
    @documented(
        Operation(
            "The models in the repository",
            TAG,
            body={"application/json": RepositoryIndexRequest},
            body_required=False,
            answers={200: list[RepositoryModel]},
        )
    )
    def index() -> Response:
        asked = _read(RepositoryIndexRequest)
        listed = [
            RepositoryModel(
                name=name,
                version=status.version,
                state=STATES.get(status.state, "UNKNOWN"),
                reason=status.error,
            ).model_dump()
            for name in repository.names()
            for status in repository.status(name)
        ]
        return json_response([model for model in listed if model["state"] == "READY" or not asked.ready])

    @blueprint.post("/repository/models/<name>/load")
    @documented(
        Operation(
            "Load a model, or load it anew",
            TAG,
            body={"application/json": LoadRequest},
            body_required=False,
            answers={200: dict[str, Any]},
        )
    )
    def load(name: str) -> Response:
        asked = _read(LoadRequest)
        refused = [key for key in asked.parameters if key == "config" or key.startswith("file:")]
        if refused:
            raise InvalidInput(
                f"parameter {refused[0]!r} is not supported: a model is loaded as the server's spec says; leave it out"
            )
        repository.load(name, _seconds_left())
        return json_response({})

    @blueprint.post("/repository/models/<name>/unload")
    @documented(
        Operation(
            "Unload a model",
            TAG,
            body={"application/json": UnloadRequest},
            body_required=False,
            answers={200: dict[str, Any]},
        )
    )
    def unload(name: str) -> Response:
        _read(UnloadRequest)
        repository.unload(name, _seconds_left())
        return json_response({})

    @blueprint.errorhandler(ConfigurationError)
    def cannot_be_loaded(error: ConfigurationError) -> Response:
        return json_response({"error": str(error)}, 400)

    return blueprint


def _read(kind: type[Record]) -> Record:
    """Validate the body; an empty one counts as an empty object, as some clients send it."""
    return parse_request(kind, read_body() or b"{}")


def _seconds_left() -> float:
    return max(0.0, request_context().deadline - time.monotonic())
