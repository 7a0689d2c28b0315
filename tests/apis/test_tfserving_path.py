"""TensorFlow Serving's paths: read in any case and encoding, and refused in its words."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from tf_serving_flask_app.apis.tfserving_path import Target, parse_path
from tf_serving_flask_app.errors import InvalidInput

NAME = "saved_model_half_plus_two_2_versions"


@pytest.mark.parametrize(
    ("method", "path", "target"),
    [
        ("GET", "/v1/models", Target(None)),
        ("GET", "/V1/MODELS", Target(None)),
        ("GET", f"/v1/models/{NAME}", Target(NAME)),
        ("GET", f"/v1/models/{NAME}/metadata", Target(NAME, call="metadata")),
        ("GET", f"/v1/models/{NAME}/METADATA", Target(NAME, call="metadata")),
        ("GET", "/v1/models/m/versions/7", Target("m", 7)),
        ("GET", "/v1/models/m/versions/7/metadata", Target("m", 7, call="metadata")),
        ("GET", "/v1/models/m/labels/stable", Target("m", label="stable")),
        ("GET", "/v1/models/metadata", Target("metadata")),
        ("GET", "/v1/models/versions/1", Target(None, 1)),
        ("GET", "/v1/models/labels/a", Target(None, label="a")),
        ("POST", "/v1/models/m:predict", Target("m", call="predict")),
        ("POST", "/v1/models/m:CLASSIFY", Target("m", call="classify")),
        ("POST", "/v1/models/m/versions/007:regress", Target("m", 7, call="regress")),
        ("POST", "/v1/models/m/labels/a%20b:predict", Target("m", label="a b", call="predict")),
        ("POST", "/v1/models/a%2Fb%3Ac:explain", Target("a/b:c", call="explain")),
        ("POST", "/v1/models/m/versions/9223372036854775807:predict", Target("m", 2**63 - 1, call="predict")),
    ],
)
def test_a_path_names_a_model_and_what_is_asked_of_it(method: str, path: str, target: Target) -> None:
    assert parse_path(method, path) == target


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1"),
        ("GET", "/v1/models/"),
        ("GET", "/v1/models/m:predict"),
        ("GET", "/v1/models/m/versions/1/labels/a"),
        ("GET", "/v1/models/m/versions/1\n"),
        ("GET", "/v1/models/m/versions/\u0661"),
        ("HEAD", "/v1/models/m"),
        ("POST", "/v1/models/m"),
        ("POST", "/v1/models/m/metadata"),
        ("PUT", "/v1/models/m:predict"),
    ],
)
def test_any_other_path_is_malformed(method: str, path: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_path(method, path)

    assert str(caught.value) == f"Malformed request: {method} {path}"


@pytest.mark.parametrize("version", [str(2**63), "9" * 5000])
def test_a_version_beyond_int64_is_refused(version: str) -> None:
    with pytest.raises(InvalidInput, match=f"^Failed to convert version: {version} to numeric.$"):
        parse_path("GET", f"/v1/models/m/versions/{version}")


def test_a_path_is_read_below_a_prefix_and_out_of_a_whole_url(client: FlaskClient) -> None:
    environ = {"RAW_URI": "HTTP://localhost:80/prefix/v1/MODELS?a=/v1/x"}
    answer = client.get("/v1/MODELS", environ_overrides=environ, base_url="http://localhost/prefix")

    assert answer.json == {"models": ["half", "colors", "echo"]}


@pytest.mark.parametrize(
    ("method", "path", "status", "error"),
    [
        ("POST", "/v1/models/half%3Apredict", 400, "Malformed request: POST /v1/models/half%3Apredict"),
        ("GET", "/v1/models/half%3Apredict", 404, "Could not find any versions of model half:predict"),
        ("GET", "/v1/models/half%2Fmetadata", 404, "Could not find any versions of model half/metadata"),
        ("POST", "/v1/models/half%2Fversions%2F1:predict", 404, "for request: Latest(half/versions/1)"),
    ],
)
def test_an_encoded_colon_or_slash_is_part_of_a_name(
    client: FlaskClient, method: str, path: str, status: int, error: str
) -> None:
    answer = client.open(path, method=method, data=b'{"instances": [1]}')

    assert answer.status_code == status
    assert error in answer.get_json()["error"]


def test_behind_a_server_that_does_not_tell_the_path_as_sent_the_decoded_one_is_read(client: FlaskClient) -> None:
    answer = client.post("/V1/models/half:predict", data=b'{"instances": [1]}', environ_overrides={"RAW_URI": ""})

    assert answer.json == {"predictions": [2.5]}
