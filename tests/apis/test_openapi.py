"""`/openapi.json`: every route and every model that is loaded, as OpenAPI 3.1 takes them, and as they really answer."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
from flask import Flask
from flask.testing import FlaskClient
from openapi_spec_validator import OpenAPIV31SpecValidator

from tests.apis.test_detections import ENCODED
from tests.conftest import COLORS, ECHO, HALF, MakeApp
from tests.pictures import picture
from tests.test_detection import DETECTOR, scene
from tf_serving_flask_app import __version__
from tf_serving_flask_app.apis.documentation import PICTURE, operation_of
from tf_serving_flask_app.apis.openapi import SECTIONS

Json = dict[str, Any]


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    """An app with a model of each task."""
    return make_app(HALF, COLORS, ECHO, DETECTOR)


@pytest.fixture
def document(client: FlaskClient) -> Json:
    found: Json = client.get("/openapi.json").get_json()
    return found


def operations(document: Json) -> Iterator[tuple[str, str, Json]]:
    """Method, path and operation of all that is documented."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def check_answer(document: Json, method: str, path: str, status: int, answer: Any) -> None:
    """Fail where an answer is not of the type that is documented for it."""
    responses = document["paths"][path][method]["responses"]
    response = responses.get(str(status)) or responses[f"{status // 100}XX"]
    if "$ref" in response:
        response = document["components"]["responses"][response["$ref"].rpartition("/")[2]]
    schema = response["content"]["application/json"]["schema"]
    jsonschema_rs.validate({**schema, "components": document["components"]}, answer)


def test_every_route_is_documented_or_said_to_be_nothing_to_document(app: Flask) -> None:
    views = {rule.rule: app.view_functions[rule.endpoint] for rule in app.url_map.iter_rules()}

    assert [rule for rule, view in views.items() if operation_of(view) is None] == []


def test_the_document_is_valid(document: Json) -> None:
    assert document["openapi"].startswith("3.1")
    assert document["info"]["version"] == __version__
    assert list(OpenAPIV31SpecValidator(document).iter_errors()) == []


def test_the_loaded_models_come_first_and_then_the_routes_short_before_long(document: Json) -> None:
    sections, paths = [tag["name"] for tag in document["tags"]], list(document["paths"])

    assert sections == ["Model half", "Model colors", "Model echo", "Model bright", *SECTIONS]
    assert paths[0] == "/predict/half"
    assert paths.index("/v2/models/{name}") < paths.index("/v2/models/{name}/versions/{version}")
    assert paths.index("/v1/models/{name}:predict") < paths.index("/v1/models/{name}/versions/{version}:predict")


@pytest.mark.parametrize("url", ["/classify", "/detect"])
def test_what_the_page_fills_a_form_with_is_answered(client: FlaskClient, document: Json, url: str) -> None:
    schema = document["paths"][url]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    fields = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]["properties"]
    filled = {name: field["examples"][0] for name, field in fields.items() if name != "file"}
    response = client.post(url, data={**filled, "file": (io.BytesIO(picture()), "p.png")})

    assert response.status_code == 200
    check_answer(document, "post", url, 200, response.get_json())


def test_every_operation_has_a_summary_an_id_of_its_own_and_a_section_that_exists(document: Json) -> None:
    sections = [tag["name"] for tag in document["tags"]]
    found = list(operations(document))
    ids = [operation["operationId"] for _, _, operation in found]

    assert len(set(sections)) == len(sections)
    assert len(set(ids)) == len(ids)
    assert [path for _, path, operation in found if not operation["summary"]] == []
    assert {tag for _, _, operation in found for tag in operation["tags"]} == set(sections)


def test_every_operation_tells_its_errors(document: Json) -> None:
    expected = {
        "4XX": {"$ref": "#/components/responses/RequestError"},
        "5XX": {"$ref": "#/components/responses/ServerError"},
    }

    assert {
        path for _, path, operation in operations(document) if not operation["responses"].items() >= expected.items()
    } == set()


def test_below_a_prefix_the_routes_are_where_the_prefix_is(client: FlaskClient) -> None:
    document = client.get("/openapi.json", environ_overrides={"SCRIPT_NAME": "/models"}).get_json()

    assert document["servers"] == [{"url": "/models"}]


@pytest.mark.parametrize(
    ("method", "url", "path", "arguments", "status"),
    [
        ("get", "/", "/", {}, 200),
        ("get", "/livez", "/livez", {}, 200),
        ("get", "/readyz", "/readyz", {}, 200),
        ("get", "/openapi.json", "/openapi.json", {}, 200),
        ("get", "/classification?file_name=red.png", "/classification", {}, 200),
        ("get", "/classification", "/classification", {}, 400),
        ("get", "/classify", "/classify", {}, 405),
        ("post", "/classify", "/classify", {"data": picture(), "content_type": "image/png"}, 200),
        ("post", "/classify", "/classify", {}, 400),
        ("post", "/detect?min_confidence=0.1", "/detect", {"data": scene(), "content_type": "image/png"}, 200),
        ("post", "/detect?min_confidence=2", "/detect", {"data": scene(), "content_type": "image/png"}, 400),
        ("post", "/imageDetection", "/imageDetection", {"json": {"image": ENCODED, "threshold": 0.1}}, 200),
        ("post", "/imageDetection", "/imageDetection", {"json": {"image": PICTURE, "threshold": 0.5}}, 200),
        ("get", "/v1/models", "/v1/models", {}, 200),
        ("get", "/v1/models/half", "/v1/models/{name}", {}, 200),
        ("get", "/v1/models/half/versions/1", "/v1/models/{name}/versions/{version}", {}, 200),
        ("get", "/v1/models/half/metadata", "/v1/models/{name}/metadata", {}, 200),
        ("get", "/v1/models/nope", "/v1/models/{name}", {}, 404),
        ("post", "/v1/models/half:predict", "/v1/models/{name}:predict", {"json": {"instances": [1, 2]}}, 200),
        ("post", "/v1/models/half:predict", "/v1/models/{name}:predict", {"json": {"inputs": [1, 2]}}, 200),
        ("post", "/v1/models/half:explain", "/v1/models/{name}:explain", {"json": {"instances": [1]}}, 501),
        ("get", "/v2", "/v2", {}, 200),
        ("get", "/v2/health/live", "/v2/health/live", {}, 200),
        ("get", "/v2/health/ready", "/v2/health/ready", {}, 200),
        ("get", "/v2/models/half", "/v2/models/{name}", {}, 200),
        ("get", "/v2/models/half/versions/1/ready", "/v2/models/{name}/versions/{version}/ready", {}, 200),
        ("get", "/v2/models/half/config", "/v2/models/{name}/config", {}, 200),
        ("post", "/v2/models/half/infer", "/v2/models/{name}/infer", {"json": {"inputs": []}}, 400),
        ("post", "/v2/repository/index", "/v2/repository/index", {}, 200),
        ("post", "/predict/half", "/predict/{name}", {"json": {"x": [1, 2]}}, 200),
        ("post", "/predict/half", "/predict/half", {"json": {"x": [1, 2]}}, 200),
        ("post", "/predict/half", "/predict/half", {"json": {"x": 1}}, 200),
        ("post", "/predict/half", "/predict/half", {"json": {"x": 13}}, 500),
        ("post", "/predict/echo", "/predict/echo", {"json": {"text": {"b64": "/w=="}, "count": [1, 2]}}, 200),
        ("post", "/predict/colors", "/predict/colors", {"data": {"image": (io.BytesIO(picture()), "p.png")}}, 200),
    ],
)
def test_a_real_answer_is_of_the_documented_type(
    client: FlaskClient, document: Json, method: str, url: str, path: str, arguments: Json, status: int
) -> None:
    response = client.open(url, method=method, **arguments)

    assert response.status_code == status
    check_answer(document, method, path, status, response.get_json())
