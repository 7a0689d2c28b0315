"""`/predict`: fields of a form or of a JSON object in, outputs by name out."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient

from tests.conftest import HALF, MakeApp
from tests.numpy_backends import HalfPlusTwo
from tests.pictures import picture
from tf_serving_flask_app.tensors import Tensors


class NotFinite(HalfPlusTwo):
    """Answers what JSON has no number for."""

    def run(self, signature: str, inputs: Tensors) -> Tensors:
        return {"y": np.array([np.nan, np.inf, -np.inf, 1], "float32")}


def odd_answer(tensors: dict[str, Any]) -> dict[str, Any]:
    """A hook whose answer no encoder takes."""
    return {"y": object()}


@pytest.mark.parametrize(
    ("fields", "answer"),
    [
        ({"x": "4"}, b'{"y":4.0}'),
        ({"x": " [4, 5] "}, b'{"y":[4.0,4.5]}'),
        ({"x": "[]"}, b'{"y":[]}'),
        ({"x": "1e1"}, b'{"y":7.0}'),
    ],
)
def test_a_form_is_answered(client: FlaskClient, fields: dict[str, str], answer: bytes) -> None:
    multipart = client.post("/predict/half", data=fields, content_type="multipart/form-data")
    urlencoded = client.post("/predict/half", data=fields)

    assert (multipart.status_code, multipart.data) == (200, answer)
    assert (urlencoded.status_code, urlencoded.data) == (200, answer)


def test_an_empty_name_of_the_model_is_none(make_app: MakeApp) -> None:
    response = make_app(HALF).test_client().post("/predict", data={"modelname": "", "x": "4"})

    assert (response.status_code, response.json) == (200, {"y": 4.0})


@pytest.mark.parametrize(("value", "answer"), [(4, {"y": 4.0}), ([4], {"y": [4.0]}), ([4, 5], {"y": [4.0, 4.5]})])
def test_a_json_object_is_answered(client: FlaskClient, value: Any, answer: dict[str, Any]) -> None:
    response = client.post("/predict/half", json={"x": value})

    assert response.json == answer


@pytest.mark.parametrize(
    ("url", "fields"),
    [
        ("/predict/half", {}),
        ("/predict?modelname=half", {}),
        ("/predict", {"modelname": "half"}),
    ],
)
def test_the_model_is_named_by_path_query_or_field(client: FlaskClient, url: str, fields: dict[str, str]) -> None:
    by_form = client.post(url, data={"x": "4", **fields})
    by_json = client.post(url, json={"x": 4, **fields})

    assert (by_form.json, by_json.json) == ({"y": 4.0}, {"y": 4.0})


def test_the_only_model_needs_no_name(make_app: MakeApp) -> None:
    assert make_app(HALF).test_client().post("/predict", json={"x": 4}).json == {"y": 4.0}


def test_files_and_texts_are_fields_of_their_names(client: FlaskClient) -> None:
    file = io.BytesIO(b"\xff\0"), "f.bin"
    response = client.post("/predict/echo", data={"text": file, "count": "[1, 2]"})

    assert response.json == {"text": {"b64": "/wA="}, "count": [1, 2]}


def test_strings_are_answered_as_they_came(client: FlaskClient) -> None:
    single = client.post("/predict/echo", data={"text": 'gr\u00fc\u00df "dich"\n', "count": "[1, 2]"})
    batch = client.post("/predict/echo", json={"text": ["a", {"b64": "AP8="}], "count": [[1, 2]]})

    assert single.json == {"text": 'gr\u00fc\u00df "dich"\n', "count": [1, 2]}
    assert batch.json == {"text": ["a", {"b64": "AP8="}], "count": [[1, 2]]}


def test_a_classification_model_takes_its_picture_as_a_field(client: FlaskClient) -> None:
    file = io.BytesIO(picture("red")), "red.png"
    response = client.post("/predict/colors", data={"image": file})

    assert response.json is not None
    assert response.json["scores"] == pytest.approx([1, 0, 0], abs=1e-6)


def test_numbers_that_json_does_not_have_are_null(make_app: MakeApp) -> None:
    client = make_app({**HALF, "backend": f"{__name__}:NotFinite"}).test_client()

    assert client.post("/predict", json={"x": [1]}).data == b'{"y":[null,null,null,1.0]}'


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("", "The body is not valid JSON: "),
        ("{", "The body is not valid JSON: "),
        ('{"x": NaN}', "The body is not valid JSON: "),
        ('{"x": 1e999}', "The body is not valid JSON: "),
        (b'{"x": "\xff"}', "The body is not valid JSON: "),
        ('{"x": "\\ud800"}', "The body is not valid JSON: "),
        ('{"x": ' + "[" * 5000 + "]" * 5000 + "}", "The body is not valid JSON: "),
        ('{"x": ' + "[" * 900 + "]" * 900 + "}", "in at most 64 dimensions"),
        ("[1]", "The body must be a JSON object."),
        ("null", "The body must be a JSON object."),
        ("{}", "Model 'half' takes the fields 'x' (number); got none."),
        ('{"x": 1, "y": 2}', "takes the fields 'x' (number); got 'x', 'y'."),
        ('{"x": true}', "takes float32 values"),
        ('{"x": [1, true]}', "got true or false among them"),
        ('{"x": null}', "takes float32 values"),
        ('{"x": [1, [2]]}', "rows of a list must be of equal length"),
        ('{"x": [[1]]}', "has shape [1, 1], but this model takes [-1]"),
        ('{"x": -1}', "x must not be negative"),
    ],
)
def test_json_that_does_not_fit_is_refused(client: FlaskClient, body: str | bytes, text: str) -> None:
    response = client.post("/predict/half", data=body, content_type="application/json")

    assert response.status_code == 400
    assert response.json is not None
    assert text in response.json["error"]


@pytest.mark.parametrize("body", ['{"text": ' + "[" * 900 + "]" * 900 + ', "count": [1, 2]}'])
def test_deeply_nested_strings_are_refused(client: FlaskClient, body: str) -> None:
    assert client.post("/predict/echo", data=body, content_type="application/json").status_code == 400


@pytest.mark.parametrize(
    ("url", "status", "text"),
    [
        ("/predict", 400, "Several models fit; name one as 'modelname': half, colors, echo."),
        ("/predict/nope", 404, "There is no model 'nope'; there are: half, colors, echo."),
        ("/predict?modelname=nope", 404, "There is no model 'nope'; there are: half, colors, echo."),
        ("/predict/half/more", 404, "There is nothing at /predict/half/more; GET / lists what is served."),
    ],
)
def test_a_model_that_is_not_found_says_what_there_is(client: FlaskClient, url: str, status: int, text: str) -> None:
    response = client.post(url, json={"x": 4})

    assert (response.status_code, response.json) == (status, {"error": text})


def test_an_answer_of_a_hook_that_is_no_json_is_a_fault_of_the_server(make_app: MakeApp) -> None:
    client = make_app({**HALF, "postprocess": f"{__name__}:odd_answer"}).test_client()

    assert client.post("/predict", json={"x": 4}).status_code == 500
