"""The requests of the five servers that this one grew from, as literally as they can be sent."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.conftest import MODES
from tests.live.server import LiveServer
from tests.pictures import picture
from tests.test_detection import scene

SPEC = """
models:
  - name: chocolates
    task: classification
    backend: "numpy_backends:Colors"
    path: .
    labels: [red, green, blue]
  - name: model_name
    task: detection
    backend: "numpy_backends:BrightBox"
    path: .
    image: {resize: none}
    labels: [nothing, Seal1, Seal2]
"""

SEAL = {"class": 1, "label": "Seal1", "confidence": 0.9, "bounding_box": [0.4, 0.2, 0.7, 0.6]}
HIT = {"class_id": 1, "score": 0.9, "class_label": "Seal1", "hit_box": {"x1": 0.4, "y1": 0.2, "x2": 0.7, "y2": 0.6}}


def is_seal(answer: Any) -> bool:
    return bool(answer == [SEAL])


def is_red(answer: Any) -> bool:
    return bool(answer["class"] == "red")


def is_red_first_of_all(answer: Any) -> bool:
    return list(answer)[:1] == ["red"] and set(answer) == {"red", "green", "blue"}


def is_two_hits_and_times(answer: Any) -> bool:
    hits, times = answer["detections"], (answer["controller_time"], answer["tfserve_time"])
    return bool(hits[0] == HIT and len(hits) == 2 and times[0] >= times[1] >= 0)


REQUESTS = [
    # demo, the request with {url} and {folder}, what its answer must be
    ("flask_tensorflow", "curl '{url}/classification?file_name={folder}/red.png'", is_red_first_of_all),
    ("flask_tensorflow", "curl '{url}/classification?file_name=red.png'", is_red_first_of_all),
    ("flask_tensorflow", "curl '{url}/classification?file_path={folder}/red.png'", is_red_first_of_all),
    ("flask_tensorflow", "curl {url}/", lambda answer: len(answer["models"]) == 2),
    ("ModelServer", "curl -F modelname=model_name -F file=@{folder}/scene.png {url}/detect", is_seal),
    ("ModelServer", "curl -F file=@{folder}/scene.png {url}/detect", is_seal),
    ("ModelServer", "curl -F modelname=chocolates -F file=@{folder}/red.png {url}/classify", is_red),
    ("ModelServer", "curl -F file=@{folder}/red.png {url}/classify", is_red),
    (
        "tensorflow-serving-flask-gateway",
        "curl -H 'Content-Type: application/json' -d @{folder}/request.json {url}/imageDetection",
        is_two_hits_and_times,
    ),
    ("tensorflow-serving-flask-gateway", "curl -d @{folder}/request.json {url}/imageDetection", is_two_hits_and_times),
]


@pytest.fixture(scope="module", params=["eventlet", "multithreaded", "development"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The server in the modes that the fourth demo has, and the folder of pictures."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "red.png").write_bytes(picture("red"))
    (folder / "scene.png").write_bytes(scene())
    body = {"model_name": "model_name", "threshold": 0.04, "image": base64.b64encode(scene()).decode()}
    (folder / "request.json").write_text(json.dumps(body))
    (folder / "demos.spec").write_text(SPEC)
    environ = {**MODES[request.param], "IMAGE_FOLDER": str(folder)}
    with LiveServer("-s", folder / "demos.spec", environ=environ) as server:
        yield server.url, folder


@pytest.mark.parametrize(("demo", "command", "is_right"), REQUESTS, ids=[request[1] for request in REQUESTS])
def test_each_request_of_the_demos_is_answered_as_they_document(
    served: tuple[str, Path], demo: str, command: str, is_right: Any
) -> None:
    url, folder = served
    sent = command.format(url=url, folder=folder) + " --silent --show-error --fail-with-body"
    done = subprocess.run(["bash", "-c", sent], capture_output=True, text=True, timeout=30, check=False)

    assert done.returncode == 0, (demo, done.stdout, done.stderr)
    assert is_right(json.loads(done.stdout)), done.stdout
