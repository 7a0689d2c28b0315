"""`/v1` beyond the table of `golden/v1.yaml`: what is not the request's fault, and models that live elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.conftest import HALF, MakeApp
from tests.live.server import wait_until
from tests.numpy_backends import HalfPlusTwo
from tests.tf_serving_server import ModelServer
from tf_serving_flask_app.errors import NotReady, Overloaded, RemoteFailed
from tf_serving_flask_app.spec import ModelSpec
from tf_serving_flask_app.tensors import Tensors

ONE = b'{"instances": [1]}'


class NeverThere(HalfPlusTwo):
    """Lives in another server, which is still loading it."""

    remote = True

    def __init__(self, spec: ModelSpec) -> None:
        raise NotReady("still loading", "LOADING")


class Failing(HalfPlusTwo):
    """Fails on each call in the way that x says."""

    errors: ClassVar[dict[int, Exception]] = {
        1: Overloaded("too much to do"),
        2: RemoteFailed("secret address"),
    }

    def run(self, signature: str, inputs: Tensors) -> Tensors:
        if error := self.errors.get(int(inputs["x"][0])):
            raise error
        return super().run(signature, inputs)


def body(answer: TestResponse) -> dict[str, Any]:
    """The JSON object of an answer."""
    found: dict[str, Any] = answer.get_json()
    return found


def test_a_number_of_float_has_a_point_and_the_digits_of_its_type(client: FlaskClient) -> None:
    answer = client.post("/v1/models/half:predict", data=b'{"instances": [0, 0.2]}')

    assert answer.text.replace(" ", "") == '{"predictions":[2.0,2.1]}'


def test_version_0_is_the_latest_of_a_model_that_has_none(make_app: MakeApp) -> None:
    client = make_app({**HALF, "version": 7}).test_client()
    predicted = client.post("/v1/models/half/versions/0:predict", data=ONE)
    metadata = client.get("/v1/models/half/versions/0/metadata")
    status = client.get("/v1/models/half/versions/0")

    assert body(predicted) == {"predictions": [2.5]}
    assert body(metadata)["model_spec"]["version"] == "7"
    assert [version["version"] for version in body(status)["model_version_status"]] == ["7"]
    assert client.get("/v1/models/nobody/versions/0").status_code == 404


def test_a_model_that_is_still_loading_is_not_ready_and_says_so(make_app: MakeApp) -> None:
    client = make_app({**HALF, "backend": f"{__name__}:NeverThere"}).test_client()
    status, answer = client.get("/v1/models/half"), client.post("/v1/models/half:predict", data=ONE)

    assert (status.status_code, body(status)["name"], body(status)["ready"]) == (200, "half", False)
    assert [version["state"] for version in body(status)["model_version_status"]] == ["LOADING"]
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")


@pytest.mark.parametrize(("x", "status"), [(1, 503), (2, 502)])
def test_faults_that_are_not_the_requests_have_statuses_of_their_own(make_app: MakeApp, x: int, status: int) -> None:
    client = make_app({**HALF, "backend": f"{__name__}:Failing"}).test_client()
    answer = client.post("/v1/models/half:predict", json={"instances": [x]})

    assert answer.status_code == status
    assert "secret" not in answer.text


def test_a_deadline_that_passed_is_a_504(client: FlaskClient) -> None:
    answer = client.post("/v1/models/half:predict", data=ONE, headers={"X-Request-Timeout-Ms": "0.001"})

    assert (answer.status_code, list(body(answer))) == (504, ["error"])


def test_half_a_surrogate_pair_in_an_error_is_no_fault_of_the_server(client: FlaskClient) -> None:
    answer = client.post("/v1/models/half:predict", data=b'{"signature_name": "\\ud800", "instances": [1]}')

    assert answer.status_code == 400


def test_a_head_request_is_answered_as_get_without_the_body(client: FlaskClient) -> None:
    answer = client.head("/v1/models/half")

    assert (answer.status_code, answer.data) == (200, b"")


@pytest.fixture(params=["target", "rest_target"])
def remote(
    request: pytest.FixtureRequest, model_server: Callable[..., ModelServer], test_data: Path, make_app: MakeApp
) -> FlaskClient:
    """A client of an app whose models live in a model server, over either of its protocols."""
    folder = test_data / "models/tfserving"
    server = model_server(
        {"two": folder / "saved_model_half_plus_two_2_versions", "matrix": folder / "matrix_half_plus_two"}
    )
    models: list[dict[str, Any]] = [
        {"name": name, "backend": "tf_serving", "targets": [getattr(server, request.param)]}
        for name in ("two", "matrix")
    ]
    client = make_app(*models).test_client()
    wait_until(lambda: client.get("/readyz").status_code == 200, "model")
    return client


@pytest.mark.tensorflow
def test_models_of_a_model_server_answer_as_there(remote: FlaskClient) -> None:
    rows = remote.post("/v1/models/two:predict", data=b'{"instances": [1.0, 2.0, 5.0]}')
    columns = remote.post("/v1/models/two/versions/124:predict", data=b'{"inputs": {"x": [[1.0]]}}')
    metadata = remote.get("/v1/models/matrix/metadata")
    signature = body(metadata)["metadata"]["signature_def"]["signature_def"]["serving_default"]

    assert body(rows) == {"predictions": [2.5, 3.0, 4.5]}
    assert body(columns) == {"outputs": [[2.5]]}
    assert body(remote.get("/v1/models/two"))["model_version_status"][0]["version"] == "124"
    assert (signature["inputs"]["x"]["name"], signature["method_name"]) == ("x:0", "tensorflow/serving/predict")


@pytest.mark.tensorflow
def test_metadata_tell_what_the_model_server_says_a_signature_is_for(remote: FlaskClient) -> None:
    metadata = body(remote.get("/v1/models/two/metadata"))["metadata"]["signature_def"]["signature_def"]

    assert metadata["classify_x_to_y"]["method_name"] == "tensorflow/serving/classify"
    assert metadata["regress_x_to_y"]["inputs"]["inputs"] == {
        "dtype": "DT_STRING",
        "tensor_shape": {"dim": [], "unknown_rank": True},
        "name": "tf_example:0",
    }
