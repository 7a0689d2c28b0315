"""`/detect` and `/imageDetection`: the answers that the detection servers before this one gave."""

from __future__ import annotations

import base64
import io

import pytest
from flask.testing import FlaskClient

from tests.conftest import COLORS, MakeApp
from tests.test_detection import DETECTOR, SHARES, scene

ENCODED = base64.b64encode(scene()).decode()


@pytest.fixture
def client(make_app: MakeApp) -> FlaskClient:
    return make_app(DETECTOR, COLORS).test_client()


def test_detect_answers_a_list_best_first(client: FlaskClient) -> None:
    upload = {"modelname": "bright", "file": (io.BytesIO(scene()), "x.png"), "min_confidence": "0.1"}
    answer = client.post("/detect", data=upload)

    assert answer.status_code == 200
    assert [each["label"] for each in answer.get_json()] == ["lamp", "sun"]
    assert answer.get_json()[0].keys() == {"class", "label", "confidence", "bounding_box"}
    assert answer.get_json()[0]["bounding_box"] == pytest.approx(list(SHARES), abs=1e-6)


def test_detect_takes_a_raw_picture(client: FlaskClient) -> None:
    answer = client.post("/detect?modelname=bright", data=scene(), content_type="image/png")

    assert [each["class"] for each in answer.get_json()] == [1]


@pytest.mark.parametrize(
    "image",
    [ENCODED, f"data:image/png;base64,{ENCODED}", ENCODED.rstrip("="), f"{ENCODED[:76]}\n{ENCODED[76:]}"],
    ids=["plain", "data URL", "no padding", "line breaks"],
)
def test_image_detection_takes_base64_in_every_usual_form(client: FlaskClient, image: str) -> None:
    answer = client.post("/imageDetection", json={"model_name": "bright", "threshold": 0.04, "image": image})

    assert answer.status_code == 200
    assert answer.get_json().keys() == {"detections", "controller_time", "tfserve_time"}
    assert 0 <= answer.get_json()["tfserve_time"] <= answer.get_json()["controller_time"]
    first, second = answer.get_json()["detections"]
    assert first.keys() == {"class_id", "score", "class_label", "hit_box"}
    assert first["hit_box"] == pytest.approx(dict(zip(("x1", "y1", "x2", "y2"), SHARES, strict=True)), abs=1e-6)
    assert second["class_label"] == "sun"


def test_a_class_without_a_label_has_null(make_app: MakeApp) -> None:
    unlabelled = {key: value for key, value in DETECTOR.items() if key != "labels"}
    answer = make_app(unlabelled).test_client().post("/imageDetection", json={"image": ENCODED})

    assert [each["class_label"] for each in answer.get_json()["detections"]] == [None]


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, "'image'"),
        ({"image": 5}, "'image'"),
        ({"image": "%%%"}, "base64"),
        ({"image": base64.b64encode(b"no picture").decode()}, "no picture"),
        ({"image": ENCODED, "threshold": "many"}, "threshold"),
        ({"image": ENCODED, "threshold": 1.5}, "threshold"),
        ({"image": ENCODED, "threshold": True}, "threshold"),
        ({"image": ENCODED, "model_name": 7}, "model_name"),
        ([], "JSON object"),
    ],
)
def test_image_detection_says_what_is_wrong_with_a_request(client: FlaskClient, body: object, named: str) -> None:
    answer = client.post("/imageDetection", json=body)

    assert answer.status_code == 400
    assert named in answer.get_json()["error"]


def test_a_model_of_another_task_is_not_found(client: FlaskClient) -> None:
    answer = client.post("/imageDetection", json={"model_name": "colors", "image": ENCODED})

    assert answer.status_code == 404
    assert "bright" in answer.get_json()["error"]


@pytest.mark.parametrize("path", ["/detect", "/classify"])
def test_a_browser_is_led_to_the_page_and_a_program_told_to_post(client: FlaskClient, path: str) -> None:
    browser = client.get(path, headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    program = client.get(path)

    assert (browser.status_code, browser.headers["Location"]) == (302, "/")
    assert program.status_code == 405
    assert "POST" in program.headers["Allow"]
