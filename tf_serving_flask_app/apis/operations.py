"""What operators ask: is the process alive, is it ready, what does it serve."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from flask import Blueprint, Response
from pydantic import BaseModel, Field

from tf_serving_flask_app import __version__
from tf_serving_flask_app.apis.documentation import Operation, documented
from tf_serving_flask_app.apis.wire import json_response
from tf_serving_flask_app.repository import Repository
from tf_serving_flask_app.tasks.base import Task
from tf_serving_flask_app.tensors import Signature


class TensorAnswer(BaseModel):
    """What an input takes or an output gives."""

    dtype: Annotated[str, Field(examples=["float32"])]
    shape: Annotated[
        list[int] | None, Field(description="-1 for any length; null where the rank is open.", examples=[[-1, 3]])
    ]


class SignatureAnswer(BaseModel):
    """One way to call a model."""

    inputs: dict[str, TensorAnswer]
    outputs: dict[str, TensorAnswer]


class ModelAnswer(BaseModel):
    """One model."""

    name: str
    version: str
    task: Annotated[str, Field(examples=["classification", "detection", "tensor"])]
    signatures: dict[str, SignatureAnswer]


class IndexAnswer(BaseModel):
    """What is served."""

    name: Literal["tf_serving_flask_app"]
    version: str
    models: list[ModelAnswer]


class HealthAnswer(BaseModel):
    """How the server fares."""

    status: Literal["alive", "ready", "not ready", "draining"]
    models: Annotated[
        dict[str, dict[str, str]],
        Field(description="Each model's versions with their states.", examples=[{"shapes": {"1": "AVAILABLE"}}]),
    ]
    errors: Annotated[
        dict[str, dict[str, str]],
        Field(description="Why versions cannot be served, where there are such; of `/readyz`."),
    ] = {}


def create_blueprint(repository: Repository) -> Blueprint:
    """Make the routes."""
    blueprint = Blueprint("operations", __name__)

    @blueprint.get("/")
    @documented(Operation("What is served", "Server", answers={200: IndexAnswer}))
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
    @documented(Operation("Whether the process is alive", "Server", answers={200: HealthAnswer}))
    def livez() -> Response:
        return json_response({"status": "alive", "models": repository.states()})

    @blueprint.get("/readyz")
    @documented(
        Operation("Whether all models are loaded and warm", "Server", answers={200: HealthAnswer, 503: HealthAnswer})
    )
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
