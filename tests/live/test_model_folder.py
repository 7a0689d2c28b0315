"""The real server on a folder of models: it serves those that load, and names the others with the reason."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.live.server import ROOT, LiveServer

PHOTO = "images/photos/grace_hopper.jpg"


@pytest.fixture
def folder(test_data: Path, tmp_path: Path) -> Path:
    """Two classifiers with their labels, a SavedModel and a damaged file."""
    models, path = test_data / "models", tmp_path / "models"
    path.mkdir()
    shutil.copy(models / "mobilenet_v1_025_128/frozen_graph.pb", path / "imagenet.pb")
    shutil.copy(models / "mobilenet_v1_025_128/labels.txt", path / "imagenet.txt")
    shutil.copy(models / "mobilenet_v2_tflite/mobilenet_v2_1.0_224_quant.tflite", path / "lite.tflite")
    shutil.copy(models / "mobilenet_v2_tflite/imagenet_labels.txt", path / "lite.txt")
    shutil.copytree(models / "tfserving/saved_model_half_plus_two_cpu", path / "half_plus_two")
    (path / "broken.pb").write_bytes(b"no graph")
    return path


@pytest.mark.tensorflow
def test_what_loads_is_served_and_the_rest_is_reported(folder: Path, test_data: Path, tmp_path: Path) -> None:
    environ = {"MODEL_FOLDER": str(folder), "WEB_CONCURRENCY": "1"}
    with LiveServer(environ=environ, cwd=tmp_path) as server:
        states = server.get("/readyz").json()
        photo = (test_data / PHOTO).read_bytes()
        classified = server.post("/classify", files={"file": photo}, data={"modelname": "imagenet"})
        lite = server.post("/classify", files={"file": photo}, data={"modelname": "lite"})
        halved = server.post("/predict/half_plus_two", json={"x": [2.0]})
        code = server.stop()

    assert states["models"] == {
        "half_plus_two": {"123": "AVAILABLE"},
        "imagenet": {"1": "AVAILABLE"},
        "lite": {"1": "AVAILABLE"},
    }
    assert classified.status_code == 200
    assert all(found["label"] for found in classified.json()["predictions"])
    assert lite.json()["class"] == "military uniform"
    assert halved.json() == {"y": [3.0]}
    (error,) = [record["message"] for record in server.records() if record["log.level"] == "error"]
    assert error.startswith(f"{folder / 'broken.pb'} is not served: ")
    assert "not a frozen graph" in error
    assert code == 0


@pytest.mark.tensorflow
@pytest.mark.parametrize("environ", [{"WEB_CONCURRENCY": "2"}, {"FLASK_MODE": "multithreaded"}])
def test_a_folder_in_which_nothing_loads_ends_the_start_with_code_2(tmp_path: Path, environ: Mapping[str, str]) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models/broken.pb").write_bytes(b"no graph")
    server = LiveServer(environ=environ, cwd=tmp_path)

    assert server.wait() == 2
    errors = [record["message"] for record in server.records() if record["log.level"] == "error"]
    assert "broken.pb is not served" in errors[0]
    assert "None of the models can be served" in errors[-1]
    assert not any("error.stack_trace" in record for record in server.records())


@pytest.mark.parametrize(
    ("arguments", "environ", "fault"),
    [
        ([], {"MODEL_FOLDER": "empty"}, "there is no model in it"),
        ([], {"MODEL_FOLDER": "nowhere"}, "MODEL_FOLDER='nowhere': there is no such folder"),
        (["-a", "empty"], {}, "give the spec too, with -s"),
    ],
)
def test_a_folder_that_cannot_be_served_ends_the_start_with_code_2_and_one_line(
    tmp_path: Path, arguments: list[str], environ: dict[str, str], fault: str
) -> None:
    (tmp_path / "empty").mkdir()
    server = LiveServer(*arguments, environ=environ, cwd=tmp_path)

    assert server.wait() == 2
    (record,) = server.records()
    assert (record["log.level"], fault in record["message"]) == ("error", True), record


@pytest.mark.tensorflow
def test_without_spec_and_setting_the_folder_models_is_served_where_there_is_one(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    shutil.copy(ROOT / "specs/demo/shapes.frozen.pb", tmp_path / "models/drawn.frozen.pb")
    with LiveServer(environ={"FLASK_ENV": "development"}, cwd=tmp_path) as server:
        named = list(server.get("/readyz").json()["models"])
        server.stop()

    assert named == ["drawn"]


def test_a_spec_wins_over_the_folder(numpy_spec: Path, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    with LiveServer("-s", numpy_spec, environ={"MODEL_FOLDER": "models"}, cwd=tmp_path) as server:
        named = set(server.get("/readyz").json()["models"])
        server.stop()

    assert "half_plus_two" in named
