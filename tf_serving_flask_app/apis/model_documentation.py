"""A section of the documentation for each model that is loaded, with its real names, types and shapes.

Its operations are those of the protocols, with the model's name in the path.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from werkzeug.routing import Map

from tf_serving_flask_app.apis.model_operations import (
    goes_in_json,
    infer_operation,
    predict_operation,
    predict_signatures,
    tensorflow_serving_operation,
)
from tf_serving_flask_app.apis.tensor_schemas import Json
from tf_serving_flask_app.apis.uploads import PICTURE_ROUTES
from tf_serving_flask_app.errors import ServingError, SignatureNotFound
from tf_serving_flask_app.repository import Repository
from tf_serving_flask_app.tasks.base import Task
from tf_serving_flask_app.tensors import Signature


@dataclass(frozen=True)
class Section:
    """One model: its tag, and its operations by path; all are POST."""

    tag: Json
    operations: dict[str, Json]


def describe_models(repository: Repository, routes: Map) -> Iterator[Section]:
    """Describe the models that can be called now, by the protocols that there are routes for."""
    adapter = routes.bind("")
    for name in repository.names():
        try:
            task = repository.find(name, Task)
        except ServingError:  # not loaded yet, or gone in this moment
            continue
        tag = {"name": f"Model {name}", "description": _about(task)}
        operations = {
            path: {"operationId": re.sub(r"[^\w.-]+", "_", path.strip("/")), "tags": [tag["name"]], **operation}
            for path, operation in _operations(task)
            if adapter.test(path, "POST")
        }
        yield Section(tag, operations)


def _about(task: Task) -> str:
    """Tell what a model takes and gives, in Markdown."""
    model = task.model
    lines = [f"Version {model.version}, for {model.spec.task}.", ""]
    for signature in model.signatures.values():
        takes = ", ".join(f"`{info}`" for info in signature.inputs.values()) or "nothing"
        gives = ", ".join(f"`{info}`" for info in signature.outputs.values()) or "nothing"
        lines.append(f"- `{signature.name}` takes {takes} and gives {gives}")
    if model.spec.task in PICTURE_ROUTES:
        lines += ["", f"Pictures: `POST {PICTURE_ROUTES[model.spec.task]}?modelname={model.name}`"]
    return "\n".join(lines)


def _operations(task: Task) -> Iterator[tuple[str, Json]]:
    """Path and operation of each way to call a model."""
    model = task.model
    chosen: Signature | None
    try:
        chosen = model.signature()
    except SignatureNotFound:
        chosen = None
    if chosen is not None:
        yield f"/predict/{model.name}", predict_operation(task, chosen)
        if goes_in_json(chosen):
            yield f"/v2/models/{model.name}/infer", infer_operation(task, chosen)
    if predict_signatures(task):
        yield f"/v1/models/{model.name}:predict", tensorflow_serving_operation(task, chosen)
