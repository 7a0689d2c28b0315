"""The issue's folder: a detector, a classifier and a SavedModel are served, and a damaged file is reported."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.live.server import LiveServer

pytestmark = pytest.mark.tensorflow


@pytest.fixture
def folder(test_data: Path, tmp_path: Path) -> Path:
    """A detector, a classifier, each with its labels, a SavedModel and a damaged file."""
    models, path = test_data / "models", tmp_path / "models"
    path.mkdir()
    shutil.copy(models / "handtrack_ssd/frozen_inference_graph.pb", path / "hands.frozen.pb")
    shutil.copy(models / "handtrack_ssd/label_map.pbtxt", path / "hands.label_map.pbtxt")
    shutil.copy(models / "mobilenet_v1_025_128/frozen_graph.pb", path / "imagenet.pb")
    shutil.copy(models / "mobilenet_v1_025_128/labels.txt", path / "imagenet.txt")
    shutil.copytree(models / "tfserving/saved_model_half_plus_two_cpu", path / "half_plus_two")
    (path / "broken.pb").write_bytes(b"no graph")
    return path


def test_three_models_of_a_folder_are_served_each_for_its_task_and_the_fourth_is_reported(
    folder: Path, test_data: Path
) -> None:
    photo = (test_data / "images/photos/coral_face.jpg").read_bytes()
    with LiveServer(environ={"MODEL_FOLDER": str(folder), "WEB_CONCURRENCY": "1"}) as server:
        states = server.get("/readyz").json()["models"]
        detected = server.post("/detect", files={"file": photo}, data={"modelname": "hands"})
        classified = server.post("/classify", files={"file": photo}, data={"modelname": "imagenet"})
        code = server.stop()

    assert set(states) == {"hands", "imagenet", "half_plus_two"}
    assert classified.status_code == 200
    reference = json.loads((test_data / "models/reference.json").read_text())["handtrack_ssd"]["results"]
    faces = reference["photos/coral_face.jpg"]
    assert [found["label"] for found in detected.json()] == ["face"] * 4
    for found, score, box in zip(detected.json(), faces["scores"], faces["boxes_ymin_xmin_ymax_xmax"], strict=True):
        top, left, bottom, right = box
        assert found["confidence"] == pytest.approx(score, abs=0.01)
        assert found["bounding_box"] == pytest.approx([left, top, right, bottom], abs=0.01)
    (error,) = [record["message"] for record in server.records() if record["log.level"] == "error"]
    assert error.startswith(f"{folder / 'broken.pb'} is not served: ")
    assert code == 0
