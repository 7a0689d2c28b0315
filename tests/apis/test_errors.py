"""Errors: each is JSON with one sentence, none shows internals, and each answer has its request's id."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.conftest import COLORS, HALF, MakeApp
from tests.numpy_backends import Echo
from tests.pictures import picture
from tf_serving_flask_app import errors
from tf_serving_flask_app.apis.errors import STATUS
from tf_serving_flask_app.spec import ModelSpec
from tf_serving_flask_app.tensors import Signature, TensorInfo, Tensors

TOO_LARGE = b"x" * 100_001


class Length(Echo):
    """Tells how long a string is."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        inputs = {"x": TensorInfo("x", np.dtype(object), (None,))}
        self.signatures = {"serving_default": Signature("serving_default", inputs, {})}

    def run(self, signature: str, inputs: Tensors) -> Tensors:
        return {"y": np.array([len(value) for value in inputs["x"]])}


def crash(tensors: dict[str, Any]) -> dict[str, Any]:
    """A hook with a fault."""
    raise KeyError("secret internals of a hook")


def subclasses(kind: type) -> list[type]:
    children: list[type] = kind.__subclasses__()
    return [found for child in children for found in (child, *subclasses(child))]


def form(field: str, value: bytes, filename: str | None = None) -> dict[str, Any]:
    """A multipart body of one field; the test client spools a large one in a file that it leaves open."""
    kind = "" if filename is None else f'; filename="{filename}"'
    head = f'--x\r\nContent-Disposition: form-data; name="{field}"{kind}\r\n\r\n'
    return {"data": head.encode() + value + b"\r\n--x--\r\n", "content_type": "multipart/form-data; boundary=x"}


@pytest.mark.parametrize(
    ("method", "url", "arguments", "status"),
    [
        ("GET", "/nope", {}, 404),
        ("GET", "/predict/half/", {}, 404),
        ("GET", "/%00%ff%0a", {}, 404),
        ("POST", "/predict/nope", {"json": {}}, 404),
        ("DELETE", "/", {}, 405),
        ("GET", "/classify", {}, 405),
        ("POST", "/classification", {}, 405),
        ("PUT", "/predict/half", {}, 405),
        ("BREW", "/livez", {}, 405),
        ("POST", "/classify", {"data": TOO_LARGE, "content_type": "image/png"}, 413),
        ("POST", "/classify", {"data": {"modelname": TOO_LARGE.decode()}}, 413),
        ("POST", "/classify", form("file", TOO_LARGE, "a.png"), 413),
        ("POST", "/predict/half", {"data": TOO_LARGE, "content_type": "application/json"}, 413),
        ("POST", "/predict/half", {"json": {"x": -1}}, 400),
        ("POST", "/predict/half", {"json": {"x": 13}}, 500),
        ("GET", "/classification?file_name=../x", {}, 403),
        ("POST", "/predict/half", {"json": {"x": 1}, "headers": {"X-Request-Timeout-Ms": "0.001"}}, 504),
    ],
)
def test_every_error_is_json_with_one_sentence_and_the_requests_id(
    client: FlaskClient, method: str, url: str, arguments: Mapping[str, Any], status: int
) -> None:
    response = client.open(url, method=method, **arguments)

    assert (response.status_code, response.mimetype) == (status, "application/json")
    assert response.json is not None
    assert response.json.keys() == {"error"}
    assert re.match(r"\S.{5,}", response.json["error"])
    assert response.headers["X-Request-Id"]


@pytest.mark.parametrize(
    ("method", "url", "allowed"),
    [
        ("GET", "/classify", "OPTIONS, POST"),
        ("POST", "/", "GET, HEAD, OPTIONS"),
        ("DELETE", "/predict/half", "OPTIONS, POST"),
    ],
)
def test_a_wrong_method_is_told_the_right_ones(client: FlaskClient, method: str, url: str, allowed: str) -> None:
    response = client.open(url, method=method)
    sentence = f"{method} does not go with {url}; use {allowed.replace(', ', ' or ')}."

    assert response.status_code == 405
    assert response.headers["Allow"] == allowed
    assert response.json == {"error": sentence}


def test_the_largest_request_is_taken_and_one_byte_more_is_not(make_app: MakeApp) -> None:
    data = picture()
    at_limit = make_app(COLORS, MAX_CONTENT_LENGTH=str(len(data))).test_client()
    below = make_app(COLORS, MAX_CONTENT_LENGTH=str(len(data) - 1)).test_client()

    assert at_limit.post("/classify", data=data, content_type="image/png").status_code == 200
    assert below.post("/classify", data=data, content_type="image/png").json == {
        "error": f"The request is larger than the {len(data) - 1} bytes that are taken; send less."
    }


def test_a_field_of_text_may_be_as_large_as_the_request(make_app: MakeApp) -> None:
    client = make_app(HALF, MAX_CONTENT_LENGTH="4000000").test_client()
    response = client.post("/predict", **form("x", b"[" + b"1.5," * 300_000 + b"1]"))

    assert response.status_code == 200


def test_an_upload_too_large_for_memory_is_taken_whole_and_nothing_is_left_of_it(
    make_app: MakeApp, tmp_path: Path
) -> None:
    uploads = tmp_path / "uploads"
    uploads.mkdir()
    model = {**HALF, "backend": f"{__name__}:Length", "inputs": {"x": {"type": "file"}}}
    client = make_app(model, UPLOAD_FOLDER=str(uploads)).test_client()
    response = client.post("/predict", **form("x", b"a" * 3_000_000, "f.bin"))

    assert response.json == {"y": 3_000_000}
    assert list(uploads.iterdir()) == []


def test_a_fault_of_the_model_is_logged_with_its_traceback_and_not_shown(
    client: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    response = client.post("/predict/half", json={"x": 13}, headers={"X-Request-Id": "abc-123"})

    assert response.status_code == 500
    assert "secret internals" not in response.text
    assert response.json == {
        "error": "The server failed on this request; its log has the details under the id abc-123."
    }
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.exc_info is not None
    assert "Traceback" in caplog.text
    assert "BackendFailed: secret internals of thirteen" in caplog.text


def test_a_fault_of_a_hook_is_logged_with_its_cause_and_not_shown(
    make_app: MakeApp, caplog: pytest.LogCaptureFixture
) -> None:
    response = make_app({**HALF, "preprocess": f"{__name__}:crash"}).test_client().post("/predict", json={"x": 1})

    assert response.status_code == 500
    assert "secret internals" not in response.text
    assert "KeyError: 'secret internals of a hook'" in caplog.text


def test_an_error_that_nobody_foresaw_is_logged_and_not_shown(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    def crash() -> str:
        raise RuntimeError("secret internals of a route")

    app.add_url_rule("/crash", view_func=crash)
    response = app.test_client().get("/crash")

    assert (response.status_code, response.mimetype) == (500, "application/json")
    assert "secret internals" not in response.text
    assert "RuntimeError: secret internals of a route" in caplog.text


@pytest.mark.parametrize("kind", [errors.NotReady, errors.Overloaded])
def test_who_comes_too_early_is_told_when_to_come_again(app: Flask, kind: type[errors.ServingError]) -> None:
    def refuse() -> str:
        raise kind("Come again.")

    app.add_url_rule("/refuse", view_func=refuse)
    response = app.test_client().get("/refuse")

    assert (response.status_code, response.json) == (503, {"error": "Come again."})
    assert int(response.headers["Retry-After"]) >= 1


@pytest.mark.parametrize("kind", subclasses(errors.ServingError))
def test_every_kind_of_error_has_a_status(kind: type[errors.ServingError]) -> None:
    assert issubclass(kind, errors.ConfigurationError) or any(parent in STATUS for parent in kind.__mro__)


def test_a_deadline_that_the_client_sets_is_kept(client: FlaskClient) -> None:
    late = client.post("/predict/half", json={"x": 4}, headers={"X-Request-Timeout-Ms": "0.001"})
    in_time = client.post("/predict/half", json={"x": 4}, headers={"X-Request-Timeout-Ms": "20000"})

    assert late.status_code == 504
    assert late.json is not None
    assert late.json["error"].startswith("The deadline passed before decode; allow more time (REQUEST_TIMEOUT_S")
    assert in_time.status_code == 200


@pytest.mark.parametrize("url", ["/", "/livez", "/readyz", "/nope", "/classify", "/classification?file_name=red.png"])
def test_a_sane_request_id_comes_back(client: FlaskClient, url: str) -> None:
    response = client.get(url, headers={"X-Request-Id": "order-66"})

    assert response.headers.getlist("X-Request-Id") == ["order-66"]


def test_requests_without_an_id_get_one_each(client: FlaskClient) -> None:
    ids = {client.get("/livez").headers["X-Request-Id"] for _ in range(3)}

    assert len(ids) == 3
