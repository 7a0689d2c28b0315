"""Each loaded model's section: its real names, types and shapes, and examples that are answered as they are."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import numpy as np
import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.apis.test_openapi import check_answer
from tests.conftest import COLORS, ECHO, HALF, MakeApp
from tests.numpy_backends import HalfPlusTwo
from tests.test_detection import DETECTOR
from tf_serving_flask_app.spec import ModelSpec
from tf_serving_flask_app.tensors import Signature, TensorInfo, Tensors

Json = dict[str, Any]

KINDS = {"name": "kinds", "backend": "numpy_backends:Kinds", "path": "model"}


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    return make_app(HALF, COLORS, ECHO, DETECTOR, KINDS)


def json_examples(document: Json) -> dict[tuple[str, str], Any]:
    """Path and name of each example of a model's operation that is not cut short, with its body."""
    found: dict[tuple[str, str], Any] = {}
    for path, methods in document["paths"].items():
        for operation in methods.values():
            if not operation["tags"][0].startswith("Model ") or "cut short" in operation.get("description", ""):
                continue
            body = operation["requestBody"]["content"].get("application/json", {})
            named = {name: each["value"] for name, each in body.get("examples", {}).items()}
            found |= {(path, name): value for name, value in named.items()}
            if "example" in body:
                found[path, ""] = body["example"]
    return found


def test_every_example_is_of_the_documented_type_and_answered_as_documented(client: FlaskClient) -> None:
    document = client.get("/openapi.json").get_json()
    examples = json_examples(document)

    assert len(examples) >= 8
    for (path, name), body in examples.items():
        schema = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        jsonschema_rs.validate({**schema, "components": document["components"]}, body)
        response = client.post(path, json=body)
        assert response.status_code == 200, (path, name, response.text)
        check_answer(document, "post", path, 200, response.get_json())


def test_a_section_tells_the_models_version_task_and_signatures(client: FlaskClient) -> None:
    sections = {tag["name"]: tag.get("description") for tag in client.get("/openapi.json").get_json()["tags"]}

    assert (
        sections["Model half"]
        == "Version 1, for tensor.\n\n- `serving_default` takes `x: float32[-1]` and gives `y: float32[-1]`"
    )
    assert "Model kinds" in sections


def test_a_picture_is_sent_as_a_file_and_never_as_json(client: FlaskClient) -> None:
    body = client.get("/openapi.json").get_json()["paths"]["/predict/colors"]["post"]["requestBody"]["content"]

    assert list(body) == ["multipart/form-data"]
    assert body["multipart/form-data"]["schema"]["properties"]["image"]["format"] == "binary"


@pytest.mark.parametrize(
    ("outputs", "fits"),
    [
        ([{"name": "scores", "datatype": "FP32", "shape": [1, 3], "data": [1, 0.5, None]}], True),
        ([{"name": "scores", "datatype": "BYTES", "shape": [1, 1], "data": ["1.000000:0:red"]}], True),
        ([{"name": "scores", "datatype": "FP32", "shape": [1, 3], "parameters": {"binary_data_size": 12}}], True),
        ([{"name": "scores", "datatype": "FP64", "shape": [1, 3], "data": [1, 0, 0]}], False),
        ([{"name": "scores", "datatype": "FP32", "shape": [1, 3], "data": ["1"]}], False),
        ([{"name": "other", "datatype": "FP32", "shape": [1, 3], "data": [1, 0, 0]}], False),
    ],
)
def test_the_answer_of_a_model_is_told_with_its_own_outputs(
    client: FlaskClient, outputs: list[Json], fits: bool
) -> None:
    operation = client.get("/openapi.json").get_json()["paths"]["/v2/models/colors/infer"]["post"]
    schema = operation["responses"]["200"]["content"]["application/json"]["schema"]

    assert jsonschema_rs.is_valid(schema, {"model_name": "colors", "model_version": "1", "outputs": outputs}) is fits


def test_what_a_hook_answers_is_not_told(make_app: MakeApp) -> None:
    app = make_app({**HALF, "postprocess": f"{__name__}:rename"})
    document = app.test_client().get("/openapi.json").get_json()
    answer = app.test_client().post("/predict/half", json={"x": [4]})
    inferred = document["paths"]["/v2/models/half/infer"]["post"]["responses"]["200"]["content"]["application/json"]

    assert inferred["schema"] == {"$ref": "#/components/schemas/InferenceResponse"}
    assert answer.get_json() == {"renamed": [4.0]}
    check_answer(document, "post", "/predict/half", 200, answer.get_json())


def rename(tensors: dict[str, Any]) -> dict[str, Any]:
    """A hook whose answer is not that of the signature."""
    return {"renamed": tensors["y"]}


def test_a_model_that_is_gone_is_not_told(make_app: MakeApp) -> None:
    app = make_app(HALF)
    app.extensions["repository"].close()
    document = app.test_client().get("/openapi.json").get_json()

    assert [tag["name"] for tag in document["tags"] if tag["name"].startswith("Model")] == []
    assert "/predict/half" not in document["paths"]


def test_the_signature_that_a_model_is_called_by_need_not_be_named_and_others_must(client: FlaskClient) -> None:
    body = client.get("/openapi.json").get_json()["paths"]["/v1/models/kinds:predict"]["post"]["requestBody"]
    forms = body["content"]["application/json"]["schema"]["anyOf"]
    required = {form["properties"]["signature_name"]["const"]: form["required"] for form in forms}

    assert required == {
        "serving_default": ["inputs"],
        "scalar": ["signature_name", "inputs"],
        "free": ["signature_name", "inputs"],
    }


def test_what_a_protocol_cannot_carry_is_not_told(make_app: MakeApp) -> None:
    app = make_app({**HALF, "backend": f"{__name__}:Odd"})
    paths = app.test_client().get("/openapi.json").get_json()["paths"]
    examples = paths["/v1/models/half:predict"]["post"]["requestBody"]["content"]["application/json"]["examples"]

    assert {name.partition(",")[0] for name in examples} == {"numbers"}
    assert "/v2/models/half/infer" not in paths


class Odd(HalfPlusTwo):
    """Has signatures that take nothing, halves, and serialized examples."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        inputs = {
            "numbers": {"x": TensorInfo("x", np.dtype("float32"), (None,))},
            "nothing": {},
            "serving_default": {"x": TensorInfo("x", np.dtype("float16"), (None,))},
            "examples": {"inputs": TensorInfo("inputs", np.dtype(object), (None,))},
        }
        self.signatures = {name: Signature(name, takes, inputs["numbers"]) for name, takes in inputs.items()}

    def run(self, signature: str, inputs: Tensors) -> Tensors:
        return dict(inputs)
