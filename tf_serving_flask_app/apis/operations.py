"""What operators ask: is the process alive, is it ready, what does it serve."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response

from tf_serving_flask_app import __version__
from tf_serving_flask_app.apis.wire import json_response
from tf_serving_flask_app.repository import Repository
from tf_serving_flask_app.tasks.base import Task
from tf_serving_flask_app.tensors import Signature


def create_blueprint(repository: Repository) -> Blueprint:
    """Make the routes."""
    blueprint = Blueprint("operations", __name__)

    @blueprint.get("/")
    def index() -> Response:
        return json_response(
            {
                "name": "tf_serving_flask_app",
                "version": __version__,
                "status": "alive",  # all that KServe's V1 client looks for
                "models": [_describe(task) for task in repository],
            }
        )

    @blueprint.get("/livez")
    def livez() -> Response:
        return json_response({"status": "alive", "models": repository.states()})

    @blueprint.get("/readyz")
    def readyz() -> Response:
        ready = repository.ready
        body: dict[str, Any] = {
            "status": "ready" if ready else "draining" if repository.draining else "not ready",
            "models": repository.states(),
        }
        if errors := repository.errors():
            body["errors"] = errors
        response = json_response(body, 200 if ready else 503)
        if not ready:
            response.headers["Retry-After"] = "1"
        return response

    return blueprint


def _describe(task: Task) -> dict[str, Any]:
    model = task.model
    return {
        "name": model.name,
        "version": model.version,
        "task": model.spec.task,
        "signatures": {name: _describe_signature(signature) for name, signature in model.signatures.items()},
    }


def _describe_signature(signature: Signature) -> dict[str, Any]:
    return {
        side: {
            name: {
                "dtype": info.type_name,
                "shape": None if info.shape is None else [-1 if size is None else size for size in info.shape],
            }
            for name, info in tensors.items()
        }
        for side, tensors in (("inputs", signature.inputs), ("outputs", signature.outputs))
    }
