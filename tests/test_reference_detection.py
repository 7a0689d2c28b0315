"""The faces that a real detector finds in real photographs, against reference values of plain TensorFlow."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from PIL import ExifTags, Image

from tf_serving_flask_app.app import create_app
from tf_serving_flask_app.settings import Settings
from tf_serving_flask_app.spec_file import load_spec

pytestmark = pytest.mark.tensorflow

SPEC = """
models:
  - name: hands
    task: detection
    backend: frozen_graph
    path: handtrack_ssd/frozen_inference_graph.pb
    labels: handtrack_ssd/label_map.pbtxt
    image: {resize: none}
"""
FACES = {"coral_face.jpg": (4, 0.9), "mtcnn_test_image.jpg": (6, 0.8), "grace_hopper.jpg": (1, 0.9)}
"""Photograph -> how many faces it shows, and the score above which all of them are."""


@pytest.fixture(scope="module")
def client(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlaskClient]:
    spec = tmp_path_factory.mktemp("detection") / "hands.spec"
    spec.write_text(SPEC)
    app = create_app(Settings.from_environ({}), load_spec(spec, test_data / "models").models)
    yield app.test_client()
    app.extensions["repository"].close()


@pytest.fixture(scope="module")
def reference(test_data: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((test_data / "models" / "reference.json").read_text())["handtrack_ssd"]
    return found


def photo(test_data: Path, name: str) -> bytes:
    return (test_data / "images" / "photos" / name).read_bytes()


def rotated(picture: bytes) -> bytes:
    """The same picture, its pixels stored turned and its EXIF orientation 6 to turn them back."""
    image = Image.open(io.BytesIO(picture)).convert("RGB").transpose(Image.Transpose.ROTATE_90)
    exif = image.getexif()
    exif[ExifTags.Base.Orientation] = 6
    data = io.BytesIO()
    image.save(data, "PNG", exif=exif)
    return data.getvalue()


@pytest.mark.parametrize("name", FACES)
def test_detect_finds_the_faces_where_the_reference_has_them(
    client: FlaskClient, test_data: Path, reference: dict[str, Any], name: str
) -> None:
    count, least = FACES[name]
    answer = client.post("/detect", data=photo(test_data, name), content_type="image/jpeg").get_json()
    faces = [found for found in answer if found["label"] == "face" and found["confidence"] > least]
    wanted = reference["results"][f"photos/{name}"]

    assert len(faces) == count
    for found, box, score in zip(faces, wanted["boxes_ymin_xmin_ymax_xmax"], wanted["scores"], strict=False):
        ymin, xmin, ymax, xmax = box
        assert found["bounding_box"] == pytest.approx([xmin, ymin, xmax, ymax], abs=0.01)
        assert found["confidence"] == pytest.approx(score, abs=0.01)


def test_image_detection_and_predict_find_the_same(client: FlaskClient, test_data: Path) -> None:
    picture = photo(test_data, "coral_face.jpg")
    detected = client.post("/detect", data=picture, content_type="image/jpeg").get_json()
    body = {"model_name": "hands", "threshold": 0.9, "image": base64.b64encode(picture).decode()}
    same = client.post("/imageDetection", json=body).get_json()["detections"]
    upload = {"input_tensor": (io.BytesIO(picture), "face.jpg")}
    raw = client.post("/predict/hands", data=upload).get_json()

    assert [found["score"] for found in same] == [found["confidence"] for found in detected]
    assert raw["Identity_4"][0] == pytest.approx(detected[0]["confidence"], abs=1e-5)


def test_a_picture_turned_by_exif_has_the_same_boxes(client: FlaskClient, test_data: Path) -> None:
    upright = io.BytesIO()
    Image.open(io.BytesIO(photo(test_data, "coral_face.jpg"))).convert("RGB").save(upright, "PNG")
    plain = client.post("/detect", data=upright.getvalue(), content_type="image/png").get_json()
    turned = client.post("/detect", data=rotated(upright.getvalue()), content_type="image/png").get_json()

    assert len(plain) >= 4
    assert turned == plain


def test_where_the_picture_is_resized_the_boxes_are_those_of_a_full_decode(test_data: Path, tmp_path: Path) -> None:
    (tmp_path / "hands.spec").write_text(SPEC.replace("resize: none", "resize: stretch, width: 320, height: 320"))
    app = create_app(Settings.from_environ({}), load_spec(tmp_path / "hands.spec", test_data / "models").models)
    client = app.test_client()
    for name in ("coral_kite_and_cold.jpg", "coral_cat_720p.jpg"):
        full = io.BytesIO()
        image = Image.open(test_data / "images" / "photos" / name)
        image.resize((320, 320), Image.Resampling.BILINEAR).save(full, "PNG")
        url = "/detect?min_confidence=0.2"
        found = client.post(url, data=photo(test_data, name), content_type="image/jpeg").get_json()
        expected = client.post(url, data=full.getvalue(), content_type="image/png").get_json()

        assert found == expected, name
    app.extensions["repository"].close()
