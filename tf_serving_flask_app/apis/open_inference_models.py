"""What the Open Inference Protocol tells of a model: `/v2/models/M[/versions/V]`, readiness, Triton's configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flask import Blueprint, Response

from tf_serving_flask_app.apis.documentation import Operation, documented
from tf_serving_flask_app.apis.open_inference_datatypes import datatype, wire_shape
from tf_serving_flask_app.apis.open_inference_requests import TAG, find_task, statuses_of
from tf_serving_flask_app.apis.open_inference_types import (
    ModelConfig,
    ModelMetadata,
    ModelReady,
    TensorConfig,
    TensorMetadata,
)
from tf_serving_flask_app.apis.wire import json_response
from tf_serving_flask_app.errors import SignatureNotFound
from tf_serving_flask_app.repository import Repository
from tf_serving_flask_app.tasks.base import Task
from tf_serving_flask_app.tensors import Signature, TensorInfo

RETRY_AFTER_S = "1"

ANY_BATCH = 2**31 - 1
"""The largest ``max_batch_size`` that Triton's configuration can say: there is no limit here."""


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
        available = any(status.state == "AVAILABLE" for status in statuses_of(repository, name, version))
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


def model_metadata(task: Task, versions: Sequence[str]) -> ModelMetadata:
    """Describe a model by the signature that calls use where they name none.

    Args:
        task: one version of it.
        versions: all that can be called.
    """
    signature = _signature(task)
    return ModelMetadata(
        name=task.model.name,
        versions=list(versions),
        platform=task.model.platform,
        inputs=_tensors(signature.inputs),
        outputs=_tensors(signature.outputs),
        properties=_properties(task, signature),
    )


def model_config(task: Task, versions: Sequence[str]) -> ModelConfig:
    """Describe a model as Triton's ``config.pbtxt`` does.

    Args:
        task: one version of it.
        versions: all that can be called.
    """
    signature = _signature(task)
    batched = _takes_batches(signature)
    return ModelConfig(
        name=task.model.name,
        platform=task.model.platform,
        backend=task.model.spec.backend,
        version_policy={"specific": {"versions": [int(version) for version in versions]}},
        max_batch_size=ANY_BATCH if batched else 0,
        input=_configs(signature.inputs, batched),
        output=_configs(signature.outputs, batched),
    )


def _takes_batches(signature: Signature) -> bool:
    """Tell whether the first dimension of all tensors is a batch of any size, and there are others behind it."""
    tensors = [*signature.inputs.values(), *signature.outputs.values()]
    return bool(tensors) and all(
        info.shape is not None and len(info.shape) > 1 and info.shape[0] is None for info in tensors
    )


def _signature(task: Task) -> Signature:
    """The signature to describe; an empty one where the model has several and the spec chose none."""
    try:
        return task.model.signature()
    except SignatureNotFound as exc:
        return Signature(exc.signature, {}, {})


def _properties(task: Task, signature: Signature) -> dict[str, str]:
    properties = {
        "task": task.model.spec.task,
        "signatures": ", ".join(task.model.signatures),
        "joined_rows": str(task.model.joined_rows(signature)),
    }
    pictures = [repr(name) for name in signature.inputs if task.takes_pictures(name)]
    if pictures:
        properties["pictures"] = f"{', '.join(pictures)} also takes BYTES of shape [N] or [N, 1]: encoded pictures."
    return properties


def _tensors(tensors: Mapping[str, TensorInfo]) -> list[TensorMetadata]:
    return [
        TensorMetadata(name=name, datatype=datatype(info.dtype), shape=wire_shape(info))
        for name, info in tensors.items()
    ]


def _configs(tensors: Mapping[str, TensorInfo], batched: bool) -> list[TensorConfig]:
    return [
        TensorConfig(
            name=name,
            data_type=f"TYPE_{'STRING' if info.dtype == object else datatype(info.dtype)}",
            dims=wire_shape(info)[1:] if batched else wire_shape(info),
        )
        for name, info in tensors.items()
    ]
