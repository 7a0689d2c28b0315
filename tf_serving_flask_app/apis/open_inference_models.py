"""What the Open Inference Protocol says of a model: `/v2/models/M[/versions/V]`, readiness and configuration."""

from __future__ import annotations

from flask import Blueprint, Response

from tf_serving_flask_app.apis.documentation import Operation, documented
from tf_serving_flask_app.apis.open_inference_metadata import model_config, model_metadata
from tf_serving_flask_app.apis.open_inference_requests import TAG, find_task, version_number
from tf_serving_flask_app.apis.open_inference_types import ModelConfig, ModelMetadata, ModelReady
from tf_serving_flask_app.apis.wire import json_response
from tf_serving_flask_app.errors import VersionNotFound
from tf_serving_flask_app.repository import Repository

RETRY_AFTER_S = "1"


def create_blueprint(repository: Repository) -> Blueprint:
    """Make the routes."""
    blueprint = Blueprint("models", __name__)

    @blueprint.get("/models/<name>")
    @blueprint.get("/models/<name>/versions/<version>")
    @documented(Operation("What a model takes and gives", TAG, answers={200: ModelMetadata}))
    def metadata(name: str, version: str | None = None) -> Response:
        task = find_task(repository, name, version)
        return json_response(model_metadata(task, callable_versions(name)).model_dump())

    @blueprint.get("/models/<name>/config")
    @blueprint.get("/models/<name>/versions/<version>/config")
    @documented(Operation("A model's configuration in Triton's words", TAG, answers={200: ModelConfig}))
    def config(name: str, version: str | None = None) -> Response:
        task = find_task(repository, name, version)
        return json_response(model_config(task, callable_versions(name)).model_dump())

    @blueprint.get("/models/<name>/ready")
    @blueprint.get("/models/<name>/versions/<version>/ready")
    @documented(Operation("Whether a model can be called", TAG, answers={200: ModelReady, 503: ModelReady}))
    def ready(name: str, version: str | None = None) -> Response:
        number = version_number(version)
        statuses = [status for status in repository.status(name) if number is None or status.version == str(number)]
        if number is not None and not statuses:
            raise VersionNotFound(f"Model {name!r} does not serve version {number}.", name, number)
        available = any(status.state == "AVAILABLE" for status in statuses)
        return readiness(available, {"name": name, "ready": available})

    def callable_versions(name: str) -> list[str]:
        return [status.version for status in repository.status(name) if status.state == "AVAILABLE"]

    return blueprint


def readiness(ready: bool, body: dict[str, object]) -> Response:
    """Answer 200 or 503 with a body: some clients look at the one, some at the other."""
    response = json_response(body, 200 if ready else 503)
    if not ready:
        response.headers["Retry-After"] = RETRY_AFTER_S
    return response
