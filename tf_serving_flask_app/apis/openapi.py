"""`/openapi.json`: every route as OpenAPI 3.1, made of the types that validate its requests.

pydantic writes the schemas, in the dialect of OpenAPI 3.1. What is left is to put them in their places, which is
shorter than fitting the routes to a library that would rather make the routes itself.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from flask import Blueprint, Flask, Response, current_app, request
from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema
from werkzeug.routing import Rule

from tf_serving_flask_app import __version__
from tf_serving_flask_app.apis.documentation import Operation, answer, documented, operation_of, path_template
from tf_serving_flask_app.apis.errors import ErrorAnswer
from tf_serving_flask_app.apis.model_documentation import describe_models
from tf_serving_flask_app.apis.parameters import ModelPath
from tf_serving_flask_app.apis.tensor_schemas import ENCODED_BYTES, Json
from tf_serving_flask_app.apis.wire import json_response
from tf_serving_flask_app.repository import Repository

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
REFERENCE = "#/components/schemas/{model}"
ABOUT = """\
Models over HTTP: pictures in and labels or boxes out, or tensors in and out.

Every answer has the header `X-Request-Id`: the request's own, if it sent a sane one. `X-Request-Timeout-Ms` of a
request shortens its deadline. Every error is `{"error": "one sentence that says what to change"}`.

First come the models that are loaded now, each with its real names, types and shapes; then the routes of all models.
"""
SECTIONS = {
    "Pictures": "A picture in, labels or boxes out. Of several models that fit, the request names one.",
    "Predict": "Any model, with a form or a JSON object of its inputs.",
    "TensorFlow Serving": "Its REST API, and KServe's V1 beside it, for the clients that speak these.",
    "Open Inference Protocol": "KServe's V2, with Triton's extensions, for the clients that speak these.",
    "Server": "What is served, and how it fares.",
}
"""The sections of the routes, in the order in which they are shown."""


def create_blueprint(repository: Repository) -> Blueprint:
    """Make the route."""
    blueprint = Blueprint("openapi", __name__)

    @blueprint.get("/openapi.json")
    @documented(Operation("This document", "Server", answers={200: dict[str, Any]}))
    def openapi() -> Response:
        return json_response(describe(current_app, repository, request.script_root))

    return blueprint


def describe(app: Flask, repository: Repository, prefix: str = "") -> Json:
    """Make the document of all routes, and of the models that are loaded now.

    Args:
        app: whose routes.
        repository: whose models.
        prefix: the path below which the app is reached.
    """
    # Colons first, so that a model's own calls come before those of its versions.
    routes = sorted(documented_routes(app), key=lambda route: route.path.replace(":", " "))
    schemas, definitions = _schemas(routes)
    models = list(describe_models(repository, app.url_map))
    paths: Json = {
        path: {"post": operation | {"responses": operation["responses"] | ERRORS}}
        for model in models
        for path, operation in model.operations.items()
    }
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas, definitions)
    return {
        "openapi": "3.1.0",
        "info": {"title": "tf_serving_flask_app", "version": __version__, "description": ABOUT},
        "servers": [{"url": prefix or "/"}],
        "tags": [
            *(model.tag for model in models),
            *({"name": name, "description": text} for name, text in SECTIONS.items()),
        ],
        "paths": paths,
        "components": {
            "schemas": definitions | {"EncodedBytes": ENCODED_BYTES},
            "headers": {
                "X-Request-Id": {
                    "description": "The request's id, as the server's log has it.",
                    "required": True,
                    "schema": {"type": "string"},
                },
            },
            "responses": {
                "RequestError": _error_answer("The request cannot be answered as it is; the text says what to change."),
                "ServerError": _error_answer(
                    "The server, or what it depends on, failed or is busy; after 503 try again."
                ),
            },
        },
    }


@dataclass(frozen=True)
class Route:
    """One path and method of the app, with what was noted at its view."""

    path: str
    method: str
    rule: Rule
    operation: Operation
    text: str

    def bodies(self) -> Iterator[tuple[tuple[Any, ...], str, Any]]:
        """The type of each body: its place in the operation, whether it is read or written, and itself."""
        for media_type, kind in self.operation.body.items():
            yield ("body", media_type), "validation", kind
        for status, kinds in self.operation.answers.items():
            for media_type, kind in _by_media_type(kinds).items():
                yield ("answer", status, media_type), "serialization", kind


def _error_answer(description: str) -> Json:
    return answer(description, {"application/json": {"$ref": REFERENCE.format(model=ErrorAnswer.__name__)}})


def documented_routes(app: Flask) -> Iterator[Route]:
    """List the app's routes that have a documentation."""
    for rule in app.url_map.iter_rules():
        view = app.view_functions[rule.endpoint]
        operation = operation_of(view)
        if operation is not None and not operation.hidden:
            path = path_template(rule.rule)
            for method in METHODS:
                if method in (rule.methods or ()):
                    yield Route(path, method, rule, operation, inspect.getdoc(view) or "")


def _by_media_type(answer: Any) -> Mapping[str, Any]:
    if answer is None:
        return {}
    return answer if isinstance(answer, Mapping) else {"application/json": answer}


class _Generator(GenerateJsonSchema):
    """Leaves out titles, which repeat the names, and defaults of null, which say that something may be left out."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> Json:
        described = super().default_schema(schema)
        if described.get("default", 0) is None:
            del described["default"]
        return described


Schemas = dict[tuple[Any, ...], Json]


def _schemas(routes: list[Route]) -> tuple[Schemas, Json]:
    """Describe all types at once, so that those of the same name are told apart: by place, and those shared."""
    inputs = [
        ((route.method, route.path, *place), mode, TypeAdapter(kind))
        for route in routes
        for place, mode, kind in route.bodies()
    ]
    inputs.append((("error",), "serialization", TypeAdapter(ErrorAnswer)))
    described, shared = TypeAdapter.json_schemas(inputs, schema_generator=_Generator, ref_template=REFERENCE)  # type: ignore[arg-type]
    return {place: schema for (place, _), schema in described.items()}, shared["$defs"]


def _operation(route: Route, schemas: Schemas, definitions: Json) -> Json:
    """Describe one route."""
    operation = route.operation
    here = (route.method, route.path)
    parameters = [
        *_path_parameters(route, definitions),
        *_parameters("query", operation.query, definitions),
        *_parameters("header", operation.headers, definitions),
    ]
    answers = {
        str(status): answer(
            HTTPStatus(status).phrase,
            {kind: schemas[*here, "answer", status, kind] for kind in _by_media_type(kinds)},
        )
        for status, kinds in operation.answers.items()
    }
    described: Json = {
        "summary": operation.summary,
        "operationId": re.sub(r"\W+", "_", f"{route.method.lower()}{route.path}").strip("_"),
        "tags": [operation.tag],
        "responses": answers | ERRORS,
    }
    if route.text:
        described["description"] = route.text
    if parameters:
        described["parameters"] = parameters
    if operation.body:
        content = {kind: {"schema": schemas[*here, "body", kind]} for kind in operation.body}
        described["requestBody"] = {"required": operation.body_required, "content": content}
    return described


def _path_parameters(route: Route, definitions: Json) -> list[Json]:
    known = {each["name"]: each for each in _parameters("path", ModelPath, definitions)}
    return [known[name] for name in re.findall(r"{(\w+)}", route.path)]


def _parameters(where: str, kind: Any, definitions: Json) -> Iterator[Json]:
    """Describe the fields of a type as parameters."""
    if kind is None:
        return
    schema = TypeAdapter(kind).json_schema(schema_generator=_Generator, ref_template=REFERENCE)
    definitions.update(schema.get("$defs", {}))
    for name, each in schema["properties"].items():
        given = [choice for choice in each.pop("anyOf", ()) if choice != {"type": "null"}]  # a parameter is text
        each |= given[0] if len(given) == 1 else {"anyOf": given} if given else {}
        described = {"name": name, "in": where, "required": where == "path" or name in schema.get("required", ())}
        if "description" in each:
            described["description"] = each.pop("description")
        yield described | {"schema": each}


ERRORS: Json = {
    "4XX": {"$ref": "#/components/responses/RequestError"},
    "5XX": {"$ref": "#/components/responses/ServerError"},
}
"""What every route may answer too."""
