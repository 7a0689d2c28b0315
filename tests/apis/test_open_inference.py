"""`/v2` beside its table of requests: states that a server passes through, large tensors, and other kinds of models."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask import Flask
from flask.testing import FlaskClient
from pydantic import ValidationError
from werkzeug.test import TestResponse

from tests.conftest import COLORS, HALF, MakeApp
from tests.live.server import wait_until
from tests.numpy_backends import HalfPlusTwo
from tests.pictures import picture
from tests.tf_serving_server import ModelServer
from tf_serving_flask_app.apis.open_inference_types import InferenceRequest
from tf_serving_flask_app.entries import VersionStatus
from tf_serving_flask_app.repository import Repository
from tf_serving_flask_app.spec import ModelSpec
from tf_serving_flask_app.tensors import Signature, TensorInfo, Tensors

X = [{"name": "x", "shape": [2], "datatype": "FP32", "data": [4, 8]}]


class TwoSignatures(HalfPlusTwo):
    """Has no signature that would be called without a name."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        [signature] = self.signatures.values()
        self.signatures = {"one": replace(signature, name="one"), "two": Signature("two", {}, signature.outputs)}

    def run(self, signature: str, inputs: Tensors) -> Tensors:
        return {"y": np.array([2], "float32")} if signature == "two" else super().run(signature, inputs)


class Complex(HalfPlusTwo):
    """Has an output of a type that the protocol does not have."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        inputs = self.signatures["serving_default"].inputs
        outputs = {"y": TensorInfo("y", np.dtype("complex64"), None), "n": TensorInfo("n", np.dtype("int8"), (1,))}
        self.signatures = {"serving_default": Signature("serving_default", inputs, outputs)}

    def run(self, signature: str, inputs: Tensors) -> Tensors:
        return {"y": np.array([1j], "complex64"), "n": np.array([3], "int8")}


def named(name: str) -> dict[str, Any]:
    """A model of this module."""
    return {**HALF, "backend": f"{__name__}:{name}"}


def rename(tensors: dict[str, Any]) -> dict[str, Any]:
    """A hook that answers under another name, in other types."""
    return {"best": ["red"], "scores 2": tensors["scores"] * 2}


def no_tensor(tensors: dict[str, Any]) -> dict[str, Any]:
    """A hook whose answer is for people."""
    return {"scores": [{"red": 1}]}


def infer(client: FlaskClient, model: str = "half", tensors: bytes = b"", **request: Any) -> TestResponse:
    text = json.dumps(request).encode()
    headers = {"Inference-Header-Content-Length": str(len(text))} if tensors else {}
    return client.post(f"/v2/models/{model}/infer", data=text + tensors, headers=headers)


def test_while_the_server_drains_it_is_live_and_not_ready(app: Flask) -> None:
    client = app.test_client()
    app.extensions["repository"].drain()
    live, ready = client.get("/v2/health/live"), client.get("/v2/health/ready")

    assert (live.status_code, live.json) == (200, {"live": True})
    assert (ready.status_code, ready.json) == (503, {"ready": False})
    assert int(ready.headers["Retry-After"]) >= 1


def test_a_version_that_is_not_there_yet_is_not_ready(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    statuses = [VersionStatus("3", "LOADING"), VersionStatus("2", "AVAILABLE"), VersionStatus("1", "END", "broken")]
    monkeypatch.setattr(Repository, "status", lambda *_: statuses)
    client = app.test_client()
    answers = {version: client.get(f"/v2/models/half/versions/{version}/ready") for version in ("3", "2", "1")}
    index, metadata = client.post("/v2/repository/index").json, client.get("/v2/models/half").json

    assert client.get("/v2/models/half/ready").json == {"name": "half", "ready": True}
    assert {version: answer.status_code for version, answer in answers.items()} == {"3": 503, "2": 200, "1": 503}
    assert answers["3"].json == {"name": "half", "ready": False}
    assert "Retry-After" in answers["3"].headers
    assert metadata is not None
    assert metadata["versions"] == ["2"]
    assert index is not None
    assert index[:3] == [
        {"name": "half", "version": "3", "state": "LOADING", "reason": ""},
        {"name": "half", "version": "2", "state": "READY", "reason": ""},
        {"name": "half", "version": "1", "state": "UNAVAILABLE", "reason": "broken"},
    ]


@pytest.mark.parametrize("action", ["load", "unload"])
def test_loading_and_unloading_ask_the_repository_within_the_deadline(
    app: Flask, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    asked: list[tuple[str, float]] = []
    monkeypatch.setattr(Repository, action, lambda _, name, deadline_s: asked.append((name, deadline_s)))
    path = f"/v2/repository/models/half/{action}"
    empty = app.test_client().post(path)
    full = app.test_client().post(path, json={"parameters": {"unload_dependents": True}})

    assert [(answer.status_code, answer.json) for answer in (empty, full)] == [(200, {})] * 2
    assert [name for name, _ in asked] == ["half"] * 2
    assert all(0 < seconds <= 30 for _, seconds in asked)


@pytest.mark.parametrize(("largest", "rows"), [(1, "1"), (4, "4"), (9, "8")])
def test_a_models_metadata_tells_to_how_many_rows_requests_are_joined(
    make_app: MakeApp, largest: int, rows: str
) -> None:
    client = make_app({**HALF, "batching": {"max_batch_size": largest}}).test_client()
    metadata = client.get("/v2/models/half").json

    assert metadata is not None
    assert metadata["properties"]["joined_rows"] == rows


def test_a_large_tensor_comes_back_as_it_went(make_app: MakeApp) -> None:
    inputs = {"x": {"dtype": "float32", "shape": [-1, 299, 299, 3]}}
    client = make_app({**HALF, "backend": "numpy_backends:Same", "inputs": inputs}).test_client()
    array = np.random.default_rng(0).normal(size=(1, 299, 299, 3)).astype("float32")
    sent = {"name": "x", "shape": array.shape, "datatype": "FP32", "parameters": {"binary_data_size": array.nbytes}}
    answer = infer(client, inputs=[sent], parameters={"binary_data_output": True}, tensors=array.tobytes())

    assert answer.data[int(answer.headers["Inference-Header-Content-Length"]) :] == array.tobytes()


def test_a_model_without_a_default_signature_is_called_by_the_name_of_one(make_app: MakeApp) -> None:
    client = make_app(named("TwoSignatures")).test_client()
    metadata = client.get("/v2/models/half").json
    nameless = infer(client, inputs=X)
    one = infer(client, inputs=X, parameters={"signature_name": "one"})
    two = infer(client, inputs=[], parameters={"signature_name": "two"})

    assert metadata is not None
    assert (metadata["inputs"], metadata["outputs"]) == ([], [])
    assert metadata["properties"]["signatures"] == "one, two"
    assert metadata["properties"]["joined_rows"] == "1"
    assert client.get("/v2/models/half/config").status_code == 200
    assert nameless.status_code == 400
    assert nameless.json == {
        "error": "Model 'half' has no signature 'serving_default'; it has one, two. Name one as 'signature_name' in the"
        " request's parameters."
    }
    assert one.json is not None
    assert one.json["outputs"][0]["data"] == [4.0, 6.0]
    assert two.json is not None
    assert two.json["outputs"][0]["data"] == [2.0]


def test_an_output_without_a_type_in_the_protocol_is_left_out_by_naming_others(make_app: MakeApp) -> None:
    client = make_app(named("Complex")).test_client()
    metadata, everything = client.get("/v2/models/half").json, infer(client, inputs=X)
    rest = infer(client, inputs=X, outputs=[{"name": "n"}])

    assert metadata is not None
    assert [output["datatype"] for output in metadata["outputs"]] == ["COMPLEX64", "INT8"]
    assert everything.status_code == 400
    assert everything.json is not None
    assert "output 'y' is of a type that the protocol does not have (COMPLEX64)" in everything.json["error"]
    assert rest.json is not None
    assert rest.json["outputs"] == [{"name": "n", "datatype": "INT8", "shape": [1], "data": [3]}]


def test_numbers_reach_the_model_without_the_hooks_and_pictures_with_them(make_app: MakeApp) -> None:
    client = make_app({**COLORS, "postprocess": f"{__name__}:rename"}).test_client()
    red = picture("red")
    numbers = {"name": "image", "shape": [1, 8, 8, 3], "datatype": "FP32", "data": [1] * 192}
    string = len(red).to_bytes(4, "little") + red
    pictures = {"name": "image", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": len(string)}}
    raw = infer(client, "colors", inputs=[numbers]).json
    hooked = infer(client, "colors", inputs=[pictures], tensors=string).json
    missing = infer(client, "colors", inputs=[pictures], outputs=[{"name": "scores"}], tensors=string)

    assert raw is not None
    assert [output["name"] for output in raw["outputs"]] == ["scores"]
    assert hooked is not None
    assert [(output["name"], output["datatype"]) for output in hooked["outputs"]] == [
        ("best", "BYTES"),
        ("scores 2", "FP32"),
    ]
    assert hooked["outputs"][0]["data"] == ["red"]
    assert (missing.status_code, missing.json) == (
        400,
        {"error": "output 'scores' is not there for pictures: the postprocess hook leaves it out"},
    )


def test_a_hook_whose_answer_is_no_tensor_is_for_other_routes(make_app: MakeApp) -> None:
    client = make_app({**COLORS, "postprocess": f"{__name__}:no_tensor"}).test_client()
    red = picture("red")
    string = len(red).to_bytes(4, "little") + red
    pictures = {"name": "image", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": len(string)}}
    answer = infer(client, "colors", inputs=[pictures], tensors=string)

    assert (answer.status_code, answer.json) == (
        400,
        {"error": "The hook's 'scores' is no tensor; ask /predict for it."},
    )


@pytest.mark.parametrize(
    "request_",
    [
        {"inputs": [{**X[0], "name": "long" * 1000}]},
        {"inputs": [{**X[0], "datatype": "long" * 1000}]},
        {"inputs": X, "outputs": [{"name": "long" * 1000}]},
        {"inputs": X, "parameters": {"signature_name": "long" * 1000}},
    ],
)
def test_a_long_name_is_quoted_in_part(client: FlaskClient, request_: dict[str, Any]) -> None:
    answer = infer(client, **request_)

    assert answer.status_code == 400
    assert b"longlong" in answer.data
    assert len(answer.data) < 300


def test_of_many_faults_only_the_first_are_looked_for() -> None:
    with pytest.raises(ValidationError) as raised:
        InferenceRequest.model_validate({"inputs": [{}] * 1000, "outputs": [{}] * 1000})

    assert raised.value.error_count() < 10


def test_a_failing_model_is_a_500_without_its_secrets(client: FlaskClient) -> None:
    answer = infer(client, inputs=[{"name": "x", "shape": [1], "datatype": "FP32", "data": [13]}])

    assert answer.status_code == 500
    assert b"secret" not in answer.data


@pytest.mark.tensorflow
def test_saved_models_answer_and_say_what_they_are(make_app: MakeApp, test_data: Path) -> None:
    served = test_data / "models" / "tfserving"
    client = make_app(
        {"name": "half", "backend": "saved_model", "path": str(served / "saved_model_half_plus_two_2_versions")},
        {"name": "counter", "backend": "saved_model", "path": str(served / "saved_model_counter")},
    ).test_client()
    metadata = client.get("/v2/models/half").json
    half = infer(client, inputs=[{**X[0], "shape": [2, 1]}]).json
    count = [
        infer(client, "counter", inputs=[], parameters={"signature_name": name}, outputs=[{"name": "output"}]).json
        for name in ("reset_counter", "incr_counter", "get_counter")
    ]

    assert metadata is not None
    assert metadata["platform"] == "tensorflow_savedmodel"
    assert half is not None
    assert half["outputs"][0]["data"] == [4.0, 6.0]
    assert [answer["outputs"][0]["data"] for answer in count if answer] == [[0.0], [1.0], [1.0]]


@pytest.mark.tensorflow
def test_a_model_behind_a_model_server_answers_too(make_app: MakeApp, model_server: Callable[..., ModelServer]) -> None:
    server = model_server()
    client = make_app({"name": "half", "backend": "tf_serving", "targets": [server.target]}).test_client()
    wait_until(lambda: client.get("/v2/models/half/ready").status_code == 200, "model from the model server")
    metadata = client.get("/v2/models/half").json
    answer = infer(client, inputs=X, outputs=[{"name": "y"}]).json

    assert metadata is not None
    assert metadata["platform"] == "tensorflow_savedmodel"
    assert answer is not None
    assert answer["outputs"][0]["data"] == [5.0, 7.0]
