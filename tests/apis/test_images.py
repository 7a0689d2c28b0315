"""`/classify` and `/classification`: pictures in, labels out; and no file but a picture in its folder is ever read."""

from __future__ import annotations

import gzip
import io
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from werkzeug.datastructures import MultiDict

from tests.conftest import COLORS, HALF, MakeApp
from tests.numpy_backends import Colors
from tests.pictures import picture
from tf_serving_flask_app.tensors import Tensors

FORMATS = ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF"]


class Unsure(Colors):
    """Has no number for the last class."""

    def run(self, signature: str, inputs: Tensors) -> Tensors:
        return {"scores": np.array([[0.25, 0.5, np.nan]], "float32")}


def upload(data: bytes, name: str = "picture.png") -> tuple[io.BytesIO, str]:
    return io.BytesIO(data), name


# POST /classify


@pytest.mark.parametrize("format", FORMATS)
def test_an_uploaded_picture_of_each_format_is_classified_best_first(client: FlaskClient, format: str) -> None:
    response = client.post("/classify", data={"file": upload(picture("blue", format=format))})

    assert (response.status_code, response.mimetype) == (200, "application/json")
    assert response.json is not None
    assert response.json.keys() == {"class", "confidence", "predictions"}
    assert (response.json["class"], response.json["confidence"]) == ("blue", pytest.approx(1, abs=0.02))
    first, second, third = response.json["predictions"]
    assert first == {"class": 2, "label": "blue", "confidence": response.json["confidence"]}
    assert first["confidence"] > second["confidence"] >= third["confidence"]


@pytest.mark.parametrize("mimetype", ["image/png", "image/x-unknown", "application/octet-stream"])
def test_a_raw_body_is_a_picture_too(client: FlaskClient, mimetype: str) -> None:
    response = client.post("/classify?modelname=colors", data=picture("lime"), content_type=mimetype)

    assert response.json is not None
    assert response.json["class"] == "green"


def test_a_raw_picture_may_be_compressed(client: FlaskClient) -> None:
    body = gzip.compress(picture("lime", format="BMP"))
    response = client.post("/classify", data=body, content_type="image/bmp", headers={"Content-Encoding": "gzip"})

    assert response.json is not None
    assert response.json["class"] == "green"


@pytest.mark.parametrize(
    ("query", "form"),
    [({}, {"modelname": "colors"}), ({"modelname": "colors"}, {}), ({"modelname": "nope"}, {"modelname": "colors"})],
)
def test_the_model_is_named_in_the_form_or_else_in_the_query(
    client: FlaskClient, query: dict[str, str], form: dict[str, str]
) -> None:
    response = client.post("/classify", query_string=query, data={"file": upload(picture()), **form})

    assert response.status_code == 200


@pytest.mark.parametrize(("name", "status"), [("nope", 404), ("half", 404), ("", 200)])
def test_a_model_that_does_not_classify_is_not_found(client: FlaskClient, name: str, status: int) -> None:
    response = client.post("/classify", data={"file": upload(picture()), "modelname": name})

    assert response.status_code == status


def test_the_model_must_be_named_where_several_fit(make_app: MakeApp) -> None:
    client = make_app(COLORS, {**COLORS, "name": "others"}).test_client()
    response = client.post("/classify", data={"file": upload(picture())})

    assert response.status_code == 400
    assert response.json == {"error": "Several models fit; name one as 'modelname': colors, others."}


@pytest.mark.parametrize(
    ("data", "content_type", "text"),
    [
        ({}, "multipart/form-data", "No picture in the request; send it as the file 'file'"),
        ({"picture": upload(picture())}, None, "No picture in the request"),
        ({"file": "a text field"}, None, "No picture in the request"),
        ({"file": upload(picture(), "")}, None, "No picture in the request"),
        (picture(), "multipart/form-data", "No picture in the request"),
        (picture(), "multipart/form-data; boundary=x", "No picture in the request"),
        (picture(), "application/x-www-form-urlencoded", "No picture in the request"),
        (b'{"file": "x"}', "application/json", "No picture in the request"),
        (picture(), None, "No picture in the request"),
        (b"", "image/png", "The picture is empty; send a JPEG"),
        ({"file": upload(b"")}, None, "The picture is empty; send a JPEG"),
        ({"file": upload(b"hello")}, None, "These bytes are no picture; send a JPEG"),
        ({"file": upload(picture()[:45])}, None, "truncated or damaged"),
        (b"%PDF-1.4", "image/png", "This is a PDF file; send a JPEG"),
    ],
)
def test_a_request_without_a_picture_says_how_to_send_one(
    client: FlaskClient, data: Any, content_type: str | None, text: str
) -> None:
    response = client.post("/classify", data=data, content_type=content_type)

    assert response.status_code == 400
    assert response.json is not None
    assert text in response.json["error"]


def test_of_two_files_the_first_is_taken(client: FlaskClient) -> None:
    files = MultiDict([("file", upload(picture("blue"))), ("file", upload(picture("red")))])
    response = client.post("/classify", data=files)

    assert response.json is not None
    assert response.json["class"] == "blue"


def test_a_picture_of_too_many_pixels_is_refused(make_app: MakeApp) -> None:
    client = make_app(COLORS, MAX_IMAGE_PIXELS="100").test_client()
    response = client.post("/classify", data=picture(size=(11, 10)), content_type="image/png")

    assert response.status_code == 400
    assert response.json == {"error": "The picture has 11x10 = 110 pixels and the limit is 100; send a smaller one."}


def test_the_spec_says_how_many_classes_are_answered(make_app: MakeApp) -> None:
    client = make_app({**COLORS, "top_k": 2}).test_client()
    response = client.post("/classify", data=picture("red"), content_type="image/png")

    assert response.json is not None
    assert [found["label"] for found in response.json["predictions"]] == ["red", "green"]


def test_without_labels_the_class_is_its_number(make_app: MakeApp) -> None:
    client = make_app({**COLORS, "labels": None}).test_client()
    response = client.post("/classify", data=picture("blue"), content_type="image/png")

    assert response.json is not None
    assert (response.json["class"], response.json["predictions"][0]["label"]) == ("2", None)


def test_a_score_that_is_no_number_is_null_and_last(make_app: MakeApp) -> None:
    client = make_app({**COLORS, "backend": f"{__name__}:Unsure"}).test_client()
    response = client.get("/classification?file_name=red.png")

    assert response.data == b'{"green":0.5,"red":0.25,"blue":null}'


# GET /classification


@pytest.mark.parametrize("parameter", ["file_name", "file_path"])
@pytest.mark.parametrize("model", ["", "&modelname=colors"])
def test_a_picture_on_the_server_is_classified_with_all_labels_best_first(
    client: FlaskClient, parameter: str, model: str
) -> None:
    response = client.get(f"/classification?{parameter}=red.png{model}")

    assert response.json is not None
    assert list(response.json) == ["red", "green", "blue"]
    assert sum(response.json.values()) == pytest.approx(1)


def test_two_classes_of_the_same_name_are_both_in_the_answer(make_app: MakeApp) -> None:
    client = make_app({**COLORS, "labels": ["crane", "crane", "blue"]}).test_client()
    response = client.get("/classification?file_name=red.png")

    assert response.json is not None
    assert list(response.json) == ["crane", "crane (1)", "blue"]


def test_a_file_in_a_folder_below_or_behind_a_link_inside_is_read(client: FlaskClient, image_folder: Path) -> None:
    (image_folder / "below").mkdir()
    (image_folder / "below/ünï 1.png").write_bytes(picture("blue"))
    (image_folder / "link.png").symlink_to("below/ünï 1.png")
    names = ["below/ünï 1.png", "below/../link.png", "link.png", f"{image_folder}/link.png"]
    responses = [client.get("/classification", query_string={"file_name": name}) for name in names]

    assert [response.status_code for response in responses] == [200] * 4


@pytest.fixture
def _odd_files(image_folder: Path, tmp_path: Path) -> None:
    """What a folder may hold beside pictures, and secrets beside the folder."""
    (tmp_path / "secret.png").write_bytes(picture())
    (tmp_path / "pictures-of-others").mkdir()
    (tmp_path / "pictures-of-others/secret.png").write_bytes(picture())
    (image_folder / "out.png").symlink_to(tmp_path / "secret.png")
    (image_folder / "up").symlink_to("..")
    (image_folder / "zero.png").symlink_to("/dev/zero")
    (image_folder / "loop.png").symlink_to("loop.png")
    (image_folder / "dangling.png").symlink_to("nothing.png")
    (image_folder / "folder.png").mkdir()
    (image_folder / "text.png").write_text("hello")
    os.mkfifo(image_folder / "pipe.png")


@pytest.mark.usefixtures("_odd_files")
@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("file_name=../secret.png", 403),
        ("file_name=folder.png/../../secret.png", 403),
        ("file_name=%2e%2e%2fsecret.png", 403),
        ("file_name=../pictures-of-others/secret.png", 403),
        ("file_name=..", 403),
        ("file_name=../missing.png", 403),
        ("file_name=/etc/passwd", 403),
        ("file_name=//etc/passwd", 403),
        ("file_name=/dev/zero", 403),
        ("file_name=out.png", 403),
        ("file_name=up/secret.png", 403),
        ("file_name=zero.png", 403),
        ("file_name=.", 403),
        ("file_name=folder.png", 403),
        ("file_name=pipe.png", 403),
        ("file_name=missing.png", 404),
        ("file_name=red.png/red.png", 404),
        ("file_name=loop.png", 404),
        ("file_name=dangling.png", 404),
        ("file_name=red.png%00", 404),
        ("file_name=%00", 404),
        ("file_name=%ff%fe.png", 404),
        ("file_name=%ed%b3%bf.png", 404),
        ("file_name=..%5csecret.png", 404),
        ("file_name=file:///etc/passwd", 404),
        (f"file_name={'x' * 5000}", 404),
        (f"file_name={'x/' * 3000}", 404),
        ("", 400),
        ("file_name=", 400),
        ("name=red.png", 400),
        ("file_name=text.png", 400),
        ("file_name=red.png&modelname=half", 404),
        ("file_name=red.png&modelname=nope", 404),
    ],
)
def test_what_is_no_picture_in_the_folder_is_refused_and_never_read(
    client: FlaskClient, query: str, status: int
) -> None:
    response = client.get(f"/classification?{query}")

    assert response.status_code == status
    assert response.json is not None
    assert response.json.keys() == {"error"}


def test_a_refusal_does_not_tell_where_the_folder_is(client: FlaskClient, tmp_path: Path) -> None:
    texts = [client.get(f"/classification?file_name={name}").text for name in ("../x", "x", ".", "%00")]

    assert [text for text in texts if str(tmp_path) in text] == []


@pytest.mark.usefixtures("_odd_files")
@pytest.mark.parametrize("name", ["red.png", "text.png", "folder.png", "pipe.png", "zero.png", "missing.png"])
def test_no_file_stays_open(client: FlaskClient, name: str) -> None:
    before = os.listdir("/proc/self/fd")
    client.get(f"/classification?file_name={name}")

    assert os.listdir("/proc/self/fd") == before


@pytest.mark.usefixtures("_odd_files")
def test_a_named_pipe_does_not_make_a_request_wait(client: FlaskClient) -> None:
    statuses: list[int] = []
    thread = threading.Thread(
        target=lambda: statuses.append(client.get("/classification?file_name=pipe.png").status_code), daemon=True
    )
    thread.start()
    thread.join(5)

    assert statuses == [403]


def test_an_image_folder_that_is_gone_is_no_fault_of_the_server(make_app: MakeApp, image_folder: Path) -> None:
    client = make_app(COLORS, HALF).test_client()
    (image_folder / "red.png").unlink()
    image_folder.rmdir()

    assert client.get("/classification?file_name=red.png").status_code == 404
