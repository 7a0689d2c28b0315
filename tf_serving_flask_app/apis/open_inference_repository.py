"""Triton's model repository extension: models are loaded and unloaded while the server runs."""

from __future__ import annotations

from flask import Blueprint, Response

from tf_serving_flask_app.apis.wire import json_response
from tf_serving_flask_app.errors import ConfigurationError
from tf_serving_flask_app.repository import Repository


def create_blueprint(repository: Repository, timeout_s: float) -> Blueprint:
    """Make the routes; a call returns within ``timeout_s``, when every worker process has done it."""
    blueprint = Blueprint("open_inference_repository", __name__)

    @blueprint.post("/v2/repository/models/<name>/load")
    def load(name: str) -> Response:
        repository.load(name, timeout_s)
        return json_response({})

    @blueprint.post("/v2/repository/models/<name>/unload")
    def unload(name: str) -> Response:
        repository.unload(name, timeout_s)
        return json_response({})

    @blueprint.errorhandler(ConfigurationError)
    def cannot_be_loaded(error: ConfigurationError) -> Response:
        return json_response({"error": str(error)}, 400)

    return blueprint
