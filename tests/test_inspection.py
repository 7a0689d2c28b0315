"""Inspection: what is found in a model, and that the spec it writes serves the model as it stands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from flask import Flask

from tests.backends.models import Models
from tests.pictures import picture
from tf_serving_flask_app.apis.uploads import PICTURE_ROUTES
from tf_serving_flask_app.app import create_app
from tf_serving_flask_app.errors import ConfigurationError
from tf_serving_flask_app.inspection import SCALE_HINT, guess_backend, inspect_model
from tf_serving_flask_app.settings import Settings
from tf_serving_flask_app.spec_file import load_spec
from tf_serving_flask_app.tensors import TensorInfo, array_to_json, zeros

pytestmark = pytest.mark.tensorflow

REFERENCE = {
    "mobilenet": "mobilenet_v1_025_128/frozen_graph.pb",
    "cifar10": "cifar10_resnet/pretrainedResnet.h5",
    "half_plus_two": "tfserving/saved_model_half_plus_two_cpu",
    "half_plus_two_tf2": "tfserving/saved_model_half_plus_two_tf2_cpu",
    "half_plus_three": "tfserving/saved_model_half_plus_three",
    "matrix": "tfserving/matrix_half_plus_two",
    "counter": "tfserving/saved_model_counter",
    "lite": "mobilenet_v2_tflite/mobilenet_v2_1.0_224_quant.tflite",
    "hand": "handtrack_ssd/frozen_inference_graph.pb",
}
CLASSIFIERS = {"mobilenet", "cifar10", "lite", "bytes_classifier", "channels_first"}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return Models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Any]:
    """Makes an app of a spec's text."""
    apps: list[Flask] = []

    def serve(text: str) -> Flask:
        path = tmp_path / "inspected.spec"
        path.write_text(text)
        apps.append(create_app(Settings.from_environ({}), load_spec(path).models))
        return apps[-1]

    yield serve
    for app in apps:
        app.extensions["repository"].close()


def value(info: TensorInfo) -> Any:
    """A JSON value that an input takes."""
    array = array_to_json(zeros(info))
    return array if isinstance(array, list) else array.tolist()


@pytest.mark.parametrize(
    "name",
    [
        *("classifier", "dropout", "text", "halves", "linear", "vocabulary", "loops", "bytes_classifier"),
        *("sequential", "two_inputs", "channels_first"),
        *REFERENCE,
    ],
)
def test_the_spec_that_is_written_serves_the_model_unchanged(
    models: Models, request: pytest.FixtureRequest, serve: Any, name: str
) -> None:
    if name in REFERENCE:
        path = request.getfixturevalue("test_data") / "models" / REFERENCE[name]
    else:
        path = getattr(models, name)
    app = serve(inspect_model(path).spec_text())
    (task,) = app.extensions["repository"]
    route = PICTURE_ROUTES.get(task.model.spec.task)
    assert route == ("/classify" if name in CLASSIFIERS else "/detect" if name == "hand" else None)
    if route:
        response = app.test_client().post(f"{route}?min_confidence=0", data=picture(), content_type="image/png")
    else:
        fields = {key: value(info) for key, info in task.model.signature().inputs.items()}
        response = app.test_client().post("/predict", json=fields)
    assert response.status_code == 200, response.text
    assert response.json


def test_a_picture_classifier_is_recognised_with_its_labels(test_data: Path) -> None:
    path = test_data / "models" / REFERENCE["mobilenet"]
    found = inspect_model(path)
    assert found.spec == {
        "name": "mobilenet_v1_025_128",
        "task": "classification",
        "backend": "frozen_graph",
        "path": str(path),
        "inputs": {"image": "input:0"},
        "outputs": {"scores": "MobilenetV1/Predictions/Reshape_1:0"},
        "image": {"scale": "raw"},
        "labels": str(path.with_name("labels.txt")),
    }
    assert f"scale: raw  # {SCALE_HINT}\n" in found.spec_text()
    assert yaml.safe_load(found.spec_text()) == {"models": [found.spec]}
    tensors = [str(tensor) for tensor in found.tensors]
    assert "input:0: float32[1, 128, 128, 3]" in tensors
    assert "MobilenetV1/Predictions/Reshape_1:0: float32[1, 1001]" in tensors


def test_a_label_file_of_another_length_is_left_alone(models: Models, tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    path.write_bytes(models.channels_first.read_bytes())
    (tmp_path / "broken.txt").write_bytes(b"\xff\xfe")
    (tmp_path / "four.txt").write_text("a\nb\nc\nd\n")
    assert "labels" not in inspect_model(path).spec
    (tmp_path / "three.txt").write_text("a\nb\nc\n")
    assert inspect_model(path).spec["labels"] == str(tmp_path / "three.txt")


def test_channels_first_is_recognised(models: Models) -> None:
    spec = inspect_model(models.channels_first).spec
    assert spec["image"] == {"layout": "channels_first", "scale": "raw"}


def test_every_placeholder_of_a_graph_becomes_an_input(models: Models) -> None:
    found = inspect_model(models.dropout)
    assert found.spec["inputs"] == {"images": "images:0", "keep_prob": "keep_prob:0", "is_training": "is_training:0"}
    assert found.spec["outputs"] == {"scores": "net/scores:0"}
    assert found.spec["task"] == "tensor"


def test_a_signature_that_is_not_the_default_is_named(test_data: Path) -> None:
    found = inspect_model(test_data / "models" / REFERENCE["counter"])
    assert found.spec["signature"] in {signature.name for signature in found.signatures}
    assert "incr_counter" in {signature.name for signature in found.signatures}


@pytest.mark.parametrize("inside", ["", "00000123", "00000123/saved_model.pb"])
def test_a_saved_model_may_be_named_by_its_folder_its_version_or_its_file(test_data: Path, inside: str) -> None:
    path = test_data / "models" / REFERENCE["half_plus_two"] / inside
    found = inspect_model(path)
    assert found.spec["name"] == "saved_model_half_plus_two_cpu"
    assert len(found.signatures) == 5


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("inception_v3.frozen.pb", "inception_v3"),
        ("my model (2).pb", "my_model__2_"),
        ("_hidden.pb", "hidden"),
        ("frozen_graph.pb", "folder"),
        ("€.pb", "model"),
        ("2.pb", "folder"),
    ],
)
def test_the_name_is_made_of_the_path_and_valid(models: Models, tmp_path: Path, file: str, name: str) -> None:
    path = tmp_path / "folder" / file
    path.parent.mkdir()
    path.write_bytes(models.classifier.read_bytes())
    assert inspect_model(path).spec["name"] == name


def test_a_relative_path_becomes_absolute(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(models.classifier.parent)
    assert inspect_model(Path("classifier.pb")).spec["path"] == str(models.classifier)


@pytest.mark.parametrize("name", ["model.onnx", "model", "model.pt", "model.ckpt.meta"])
def test_an_unknown_kind_of_file_is_refused_with_those_that_are_known(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"x")
    with pytest.raises(ConfigurationError, match=r"a frozen graph ends in \.pb, a Keras model in \.keras"):
        guess_backend(path)


def test_a_path_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nothing\.pb: there is no such file or folder"):
        inspect_model(tmp_path / "nothing.pb")


def test_a_damaged_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "graph.pb"
    path.write_bytes(b"no graph")
    with pytest.raises(ConfigurationError, match=r"graph\.pb: not a frozen graph"):
        inspect_model(path)


def test_a_folder_that_holds_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="not a SavedModel"):
        inspect_model(tmp_path)
