"""How requests are read: whole, within their bound, and large tensors as arrays."""

from __future__ import annotations

import io
import json

import numpy as np
import orjson
import pytest
from flask import Request, Response
from flask.testing import FlaskClient
from werkzeug.test import create_environ

from tests.conftest import HALF, MakeApp
from tf_serving_flask_app.apis.wire import ServingRequest, ServingResponse, whole_response
from tf_serving_flask_app.json_arrays import SHORTEST_BYTES

PLACE = "/ä"
MANY = np.linspace(0, 1, 4000).astype(np.float32)


def test_a_large_tensor_is_answered_as_a_small_one_is(client: FlaskClient) -> None:
    body = orjson.dumps({"x": MANY}, option=orjson.OPT_SERIALIZE_NUMPY)
    by_json = client.post("/predict/half", data=body, content_type="application/json")
    by_form = client.post("/predict/half", data={"x": json.dumps(MANY.tolist())})

    assert len(body) > SHORTEST_BYTES
    expected = (MANY / 2 + 2).tolist()
    assert by_json.json == {"y": pytest.approx(expected, rel=1e-6)}
    assert by_form.json == by_json.json


@pytest.mark.parametrize(
    ("last", "text"),
    [
        ("true", "got true or false among them"),
        ("null", "takes float32 values"),
        ("[1]", "rows of a list must be of equal length"),
        ('"1"', "takes float32 values"),
        ("NaN", "The body is not valid JSON: "),
        ("1,", "The body is not valid JSON: "),
        ("-1", "x must not be negative"),
    ],
)
def test_a_large_tensor_is_refused_as_a_small_one_is(client: FlaskClient, last: str, text: str) -> None:
    for length in (3, 5000):
        body = '{"x": [' + "1," * length + last + "]}"
        response = client.post("/predict/half", data=body, content_type="application/json")

        assert response.status_code == 400
        assert response.json is not None
        assert text in response.json["error"]


@pytest.mark.parametrize("field", ["model_name", "threshold", "image"])
def test_an_array_where_none_belongs_is_refused(client: FlaskClient, field: str) -> None:
    body = json.dumps({"image": "AAAA", field: [0.5] * 4000})
    response = client.post("/imageDetection", data=body, content_type="application/json")

    assert response.status_code in (400, 404)
    assert list(response.json or {}) == ["error"]


def test_the_body_may_be_as_long_as_is_taken_and_no_longer(make_app: MakeApp) -> None:
    body = b'{"x": [4]}'
    client = make_app(HALF, MAX_CONTENT_LENGTH=str(len(body))).test_client()
    fits = client.post("/predict", data=body, content_type="application/json")
    too_long = client.post("/predict", data=body + b" ", content_type="application/json")

    assert fits.json == {"y": [4.0]}
    assert too_long.status_code == 413


def test_a_body_shorter_than_announced_is_bad_input(client: FlaskClient) -> None:
    response = client.post(
        "/predict/half",
        input_stream=io.BytesIO(b'{"x": 4}'),
        environ_overrides={"CONTENT_LENGTH": "9"},
        content_type="application/json",
    )

    assert response.status_code == 400


def test_a_body_of_unknown_length_is_read_where_the_server_ends_it(client: FlaskClient) -> None:
    response = client.post(
        "/predict/half",
        input_stream=io.BytesIO(b'{"x": 4}'),
        headers={"Transfer-Encoding": "chunked"},
        environ_overrides={"wsgi.input_terminated": True},
        content_type="application/json",
    )

    assert response.json == {"y": 4.0}


def test_a_request_says_of_itself_what_flask_s_does() -> None:
    environ = create_environ("/a/b?c=d", "https://host:81/root", method="post", headers={"Accept": "text/html"})
    ours, theirs = ServingRequest(dict(environ)), Request(dict(environ))
    names = ("method", "path", "root_path", "scheme", "server", "query_string", "remote_addr", "url", "args", "host")

    assert [getattr(ours, name) for name in names] == [getattr(theirs, name) for name in names]
    assert dict(ServingRequest(environ).headers) == dict(theirs.headers)
    assert environ["werkzeug.request"].accept_mimetypes.best == "text/html"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = ours.nothing


def test_a_request_that_is_shallow_is_not_kept_in_its_environ() -> None:
    environ = create_environ()
    request = ServingRequest(environ, shallow=True)

    assert request.path == "/"
    assert "werkzeug.request" not in environ
    with pytest.raises(RuntimeError, match="shallow"):
        request.get_data()


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("status", [200, 400, 204, 304, 100])
@pytest.mark.parametrize("headers", [{}, {"Location": PLACE}, {"Content-Location": PLACE}, {"Content-Length": "2"}])
def test_a_body_of_one_piece_goes_out_as_flask_s_would(status: int, headers: dict[str, str], method: str) -> None:
    environ = create_environ(method=method)
    answers = []
    for kind in (ServingResponse, Response):
        body, line, sent = kind([b"ok"], status, headers, "text/html").get_wsgi_response(environ)
        answers.append((b"".join(body), line, sorted(sent)))

    assert answers[0] == answers[1]


def test_a_response_with_more_to_it_is_closed_and_sent_in_its_pieces() -> None:
    closed: list[bool] = []
    response = whole_response(b"ok", "text/html")
    response.call_on_close(lambda: closed.append(True))
    body, _, _ = response.get_wsgi_response(create_environ())
    body.close()  # type: ignore[attr-defined]
    pieces, _, headers = ServingResponse(["a", "b"]).get_wsgi_response(create_environ())

    assert closed == [True]
    assert list(pieces) == [b"a", b"b"]
    assert ("Content-Length", "2") in headers
