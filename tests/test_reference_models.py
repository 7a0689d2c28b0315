"""Models and pictures that this project did not make, served together: the answers are those of plain TensorFlow."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from PIL import Image

from tests.apis.test_model_documentation import json_examples
from tests.apis.test_openapi import check_answer
from tf_serving_flask_app.app import create_app
from tf_serving_flask_app.settings import Settings
from tf_serving_flask_app.spec_file import load_spec

pytestmark = [
    pytest.mark.tensorflow,
    # Pillow warns about damaged metadata of pictures that it can read.
    pytest.mark.filterwarnings("ignore::UserWarning:PIL"),
]

SPEC = """
models:
  - name: mobilenet
    task: classification
    backend: frozen_graph
    path: mobilenet_v1_025_128/frozen_graph.pb
    inputs: {image: "input:0"}
    outputs: {scores: "MobilenetV1/Predictions/Reshape_1:0"}
    image: {scale: inception, resize: stretch}
    labels: mobilenet_v1_025_128/labels.txt
  - name: cifar10
    task: classification
    backend: keras
    path: cifar10_resnet/pretrainedResnet.h5
    labels: cifar10_resnet/labels.txt
    top_k: 3
  - name: mobilenet_lite
    task: classification
    backend: tflite
    path: mobilenet_v2_tflite/mobilenet_v2_1.0_224_quant.tflite
    labels: mobilenet_v2_tflite/imagenet_labels.txt
  - {name: half_plus_two, backend: saved_model, path: tfserving/saved_model_half_plus_two_cpu}
  - {name: half_plus_two_tf2, backend: saved_model, path: tfserving/saved_model_half_plus_two_tf2_cpu}
  - {name: half_plus_three, backend: saved_model, path: tfserving/saved_model_half_plus_three}
  - {name: matrix_half_plus_two, backend: saved_model, path: tfserving/matrix_half_plus_two}
  - {name: counter, backend: saved_model, path: tfserving/saved_model_counter, signature: incr_counter}
"""
NEAR = 1e-3
NEAR_REDUCED = 0.02
"""For a large picture, which is decoded at a fraction of its size."""
REDUCED = "photos/triton_mug.jpg"
BOMB_S = 0.2


@pytest.fixture(scope="module")
def client(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlaskClient]:
    """A client of an app that serves all of the models."""
    path = tmp_path_factory.mktemp("reference") / "reference.spec"
    path.write_text(SPEC)
    app = create_app(Settings.from_environ({}), load_spec(path, test_data / "models").models)
    yield app.test_client()
    app.extensions["repository"].close()


@pytest.fixture(scope="module")
def reference(test_data: Path) -> Any:
    return json.loads((test_data / "models/reference.json").read_text())


def classify(client: FlaskClient, model: str, picture: Path) -> list[tuple[int, str, float]]:
    url = f"/classify?modelname={model}"
    response = client.post(url, data=picture.read_bytes(), content_type="application/octet-stream")
    assert response.status_code == 200, response.text
    answer = json.loads(response.data)
    predictions = answer["predictions"]
    assert answer["class"] == predictions[0]["label"]
    return [(found["class"], found["label"], found["confidence"]) for found in predictions]


def assert_same(found: list[tuple[int, str, float]], expected: list[dict[str, Any]], near: float = NEAR) -> None:
    """The same classes with the same probabilities in the same order, but for near ties."""
    assert len(found) == len(expected)
    for (index, label, confidence), wanted in zip(found, expected, strict=True):
        assert confidence == pytest.approx(wanted["prob"], abs=near)
        if (index, label) != (wanted["index"], wanted["label"]):
            ties = {(other["index"], other["label"]) for other in expected if abs(other["prob"] - confidence) < near}
            assert (index, label) in ties


def test_a_frozen_graph_classifies_every_photo_as_plain_tensorflow_does(
    client: FlaskClient, reference: Any, test_data: Path
) -> None:
    results = reference["mobilenet_v1_025_128"]["results"]
    assert len(results) >= 7
    for photo, expected in results.items():
        found = classify(client, "mobilenet", test_data / "images" / photo)
        assert_same(found, expected["pil_bilinear"], NEAR_REDUCED if photo == REDUCED else NEAR)


def test_a_keras_model_classifies_every_photo_as_plain_keras_does(
    client: FlaskClient, reference: Any, test_data: Path
) -> None:
    # The reference covers more photos than there are here.
    photos = {
        test_data / "images" / photo: expected
        for photo, expected in reference["cifar10_resnet"]["results"].items()
        if (test_data / "images" / photo).exists()
    }
    assert len(photos) >= 2
    for photo, expected in photos.items():
        assert_same(classify(client, "cifar10", photo), expected)


def test_a_quantised_model_classifies_every_photo_as_plain_tensorflow_lite_does(
    client: FlaskClient, reference: Any, test_data: Path
) -> None:
    results = reference["mobilenet_v2_tflite"]["results"]
    photos = {photo: found for photo, found in results.items() if (test_data / "images" / photo).exists()}
    assert len(photos) >= 7
    for photo, expected in photos.items():
        found = classify(client, "mobilenet_lite", test_data / "images" / photo)
        # Below the first there are ties, of which the reference has others.
        assert found[0][:2] == (expected[0]["index"], expected[0]["label"]), photo
        confidences = [confidence for _, _, confidence in found]
        assert confidences == pytest.approx([wanted["prob"] for wanted in expected], abs=0.01), photo


@pytest.mark.parametrize(("model", "side"), [("mobilenet", 128), ("mobilenet_lite", 224), ("cifar10", 32)])
def test_every_photo_is_classified_as_after_a_full_decode(
    client: FlaskClient, test_data: Path, tmp_path: Path, model: str, side: int
) -> None:
    photos = sorted((test_data / "images/photos").iterdir())
    assert len(photos) >= 14
    for photo in photos:
        full = tmp_path / "full.png"
        Image.open(photo).convert("RGB").resize((side, side), Image.Resampling.BILINEAR).save(full)
        (found, _, confidence), *_ = classify(client, model, photo)
        (expected, _, probability), *_ = classify(client, model, full)

        assert found == expected, photo.name
        assert confidence == pytest.approx(probability, abs=NEAR_REDUCED), photo.name


@pytest.mark.parametrize(
    ("model", "photo", "label"),
    [
        ("mobilenet", "coral_parrot.jpg", "macaw"),
        ("mobilenet", "triton_mug.jpg", "coffee mug"),
        ("mobilenet_lite", "grace_hopper.jpg", "military uniform"),
        ("cifar10", "tfjs_cat.jpg", "cat"),
        ("cifar10", "tfjs_dog.jpg", "dog"),
    ],
)
def test_a_picture_is_called_what_it_shows(
    client: FlaskClient, test_data: Path, model: str, photo: str, label: str
) -> None:
    assert classify(client, model, test_data / "images/photos" / photo)[0][1] == label


@pytest.mark.parametrize(
    ("model", "x", "y"),
    [
        ("half_plus_two", [[1.0], [2.0], [5.0]], [[2.5], [3.0], [4.5]]),
        ("half_plus_two", [10.0], [7.0]),
        ("half_plus_two_tf2", [3.0], [3.5]),
        ("half_plus_three", [[1.0], [2.0]], [[3.5], [4.0]]),
        (
            "matrix_half_plus_two",
            [[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]]],
            [[[2.5, 3.0, 3.5], [4.0, 4.5, 5.0], [5.5, 6.0, 6.5]]],
        ),
    ],
)
def test_tensorflow_servings_own_models_answer_as_they_are_named(
    client: FlaskClient, model: str, x: Any, y: Any
) -> None:
    response = client.post(f"/predict/{model}", json={"x": x})
    assert (response.status_code, response.json) == (200, {"y": y})


def test_a_stateful_model_counts_from_one_after_its_warm_up(client: FlaskClient) -> None:
    answers = [client.post("/predict/counter", json={}).json for _ in range(3)]
    assert answers == [{"output": 1.0}, {"output": 2.0}, {"output": 3.0}]


def test_versions_are_those_of_the_folders(client: FlaskClient) -> None:
    states = json.loads(client.get("/readyz").data)["models"]
    assert states["half_plus_two"] == {"123": "AVAILABLE"}
    assert states["matrix_half_plus_two"] == {"1": "AVAILABLE"}
    assert states["mobilenet"] == {"1": "AVAILABLE"}


def test_every_odd_file_is_classified_or_refused_in_one_sentence(client: FlaskClient, test_data: Path) -> None:
    files = sorted((test_data / "images/odd").iterdir())
    statuses = {}
    for path in files:
        response = client.post("/classify?modelname=mobilenet", data=path.read_bytes(), content_type="image/jpeg")
        answer = json.loads(response.data)
        statuses[path.name] = response.status_code
        if response.status_code == 200:
            assert 0 <= answer["confidence"] <= 1
        else:
            assert list(answer) == ["error"], path.name
            error = answer["error"]
            assert error[0].isupper(), path.name
            assert error.endswith("."), path.name
            assert "\n" not in error, path.name
            assert "Traceback" not in error, path.name
    assert len(files) == 93
    assert set(statuses.values()) == {200, 400}
    assert sum(status == 200 for status in statuses.values()) >= 66


@pytest.mark.parametrize(
    "name", ["bmp_b_reallybig.bmp", "bmp_b_badwidth.bmp", "decompression_bomb.gif", "png_decompression_dos.png"]
)
def test_a_decompression_bomb_is_refused_at_once(client: FlaskClient, test_data: Path, name: str) -> None:
    bomb = (test_data / f"images/odd/pillow_{name}").read_bytes()
    began = time.perf_counter()
    response = client.post("/classify?modelname=mobilenet", data=bomb, content_type="image/png")
    assert response.status_code == 400
    assert time.perf_counter() - began < BOMB_S


def test_what_is_not_a_saved_model_is_refused(test_data: Path, tmp_path: Path) -> None:
    from tf_serving_flask_app.errors import ConfigurationError

    path = tmp_path / "bad.spec"
    path.write_text("models: [{name: bad, backend: saved_model, path: tfserving/bad_half_plus_two}]")
    models = load_spec(path, test_data / "models").models
    with pytest.raises(ConfigurationError, match=r"bad_half_plus_two/00000123: not a SavedModel: it has no saved_m"):
        create_app(Settings.from_environ({}), models)


def test_the_examples_of_the_documentation_are_answered_as_it_says(client: FlaskClient) -> None:
    document = client.get("/openapi.json").get_json()
    examples = json_examples(document)

    assert {path for path, _ in examples} >= {"/predict/half_plus_two", "/v2/models/mobilenet/infer"}
    for (path, name), body in examples.items():
        response = client.post(path, json=body)
        assert response.status_code == 200, (path, name, response.text)
        check_answer(document, "post", path, 200, response.get_json())
