"""`/predict`: a model's inputs as the fields of a form, its outputs as JSON."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, request
from pydantic import BaseModel, ConfigDict

from tf_serving_flask_app.apis.documentation import Operation, documented
from tf_serving_flask_app.apis.parameters import ModelName, ModelQuery
from tf_serving_flask_app.apis.wire import json_response, read_json_object, request_context
from tf_serving_flask_app.repository import Repository
from tf_serving_flask_app.tasks.base import Field, Task


class PredictFields(BaseModel):
    """The model's inputs by name, each a number, a text, a nested list, or in a form a file.

    The model's own signature says which inputs these are: see its section.
    """

    model_config = ConfigDict(
        extra="allow", json_schema_extra={"examples": [{"modelname": "half_plus_two", "x": [1, 5]}]}
    )

    modelname: ModelName = None


PREDICT = Operation(
    "Call a model with its inputs as fields",
    "Predict",
    query=ModelQuery,
    body={
        "application/json": PredictFields,
        "multipart/form-data": PredictFields,
        "application/x-www-form-urlencoded": PredictFields,
    },
    answers={200: dict[str, Any]},
)


def create_blueprint(repository: Repository) -> Blueprint:
    """Make the routes."""
    blueprint = Blueprint("predict", __name__)

    @blueprint.post("/predict")
    @blueprint.post("/predict/<name>")
    @documented(PREDICT)
    def predict(name: str | None = None) -> Response:
        fields = _fields()
        named = name or request.args.get("modelname") or None
        if named is None and isinstance(fields.get("modelname"), str):
            named = str(fields.pop("modelname")) or None
        context = request_context()
        task = repository.find(named, Task, context=context)
        return json_response(task.predict(fields, context))

    return blueprint


def _fields() -> dict[str, Field]:
    """The request's fields: a JSON object's members, or a form's fields and files."""
    if request.is_json:
        return dict(read_json_object())
    fields: dict[str, Field] = dict(request.form.items())
    fields.update({name: upload.read() for name, upload in request.files.items()})
    return fields
