"""A table of requests to `/v1`, each sent to a real server: what TensorFlow Serving answers, this answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from tests.live.server import LiveServer

pytestmark = [pytest.mark.live, pytest.mark.tensorflow]

GROUPS: dict[str, list[dict[str, Any]]] = yaml.safe_load(
    (Path(__file__).parent / "golden/v1.yaml").read_text(encoding="utf-8")
)
CASES = {f"{group}: {case['name']}": case for group, cases in GROUPS.items() for case in cases}
MODELS = {
    "half_plus_two": "saved_model_half_plus_two_cpu",
    "half_plus_two_tf2": "saved_model_half_plus_two_tf2_cpu",
    "half_plus_three": "saved_model_half_plus_three",
    "two_versions": "saved_model_half_plus_two_2_versions",
    "counter": "saved_model_counter",
    "matrix": "matrix_half_plus_two",
}


@pytest.fixture(scope="module")
def server(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A real server with TensorFlow Serving's own test models; in the end it is still alive."""
    folder = test_data / "models/tfserving"
    models = [{"name": name, "backend": "saved_model", "path": str(folder / path)} for name, path in MODELS.items()]
    models.append({"name": "half", "backend": "numpy_backends:HalfPlusTwo", "path": "."})
    models.append({"name": "typed", "backend": "numpy_backends:Typed", "path": ".", "signature": "float32"})
    spec = tmp_path_factory.mktemp("golden") / "golden.spec"
    spec.write_text(yaml.safe_dump({"models": models}))
    with LiveServer("-s", spec, environ={"WEB_CONCURRENCY": "1", "MAX_CONTENT_LENGTH": "1000000"}) as server:
        worker = server.workers()[0].pid
        yield server

        assert server.get("/livez").json()["status"] == "alive"
        assert worker in {process.pid for process in server.workers()}


def body_of(case: dict[str, Any]) -> bytes | None:
    """The bytes that a case sends."""
    if "hex" in case:
        return bytes.fromhex(str(case["hex"]))
    if "repeat" in case:
        head, part, times, tail = case["repeat"]
        text: str | None = head + part * times + tail
    else:
        text = case.get("body")
    return None if text is None else text.encode()


def test_the_table_is_as_large_as_it_must_be() -> None:
    assert len(CASES) == sum(map(len, GROUPS.values())) >= 150


@pytest.mark.parametrize("name", CASES)
def test_v1_answers_as_tensorflow_serving_does(server: LiveServer, name: str) -> None:
    case = CASES[name]
    method, path = case["request"].split(" ", 1)
    address = urlsplit(server.url)
    connection = HTTPConnection(address.hostname or "", address.port, timeout=30)
    try:
        connection.request(method, path, body_of(case), {"Content-Type": "application/json", **case.get("headers", {})})
        response = connection.getresponse()
        text = response.read().decode()
    finally:
        connection.close()

    assert response.status == case.get("status", 200 if "json" in case else 400), text
    assert response.headers["Content-Type"] == "application/json"
    if "text" in case:
        assert text == case["text"]
        return
    answer = json.loads(text, parse_constant=float)
    if "json" in case:
        assert repr_of(answer) == repr_of(case["json"])
    elif "error" in case:
        assert answer == {"error": case["error"]}
    else:
        assert case["says"] in answer["error"]


def repr_of(value: Any) -> Any:
    """A value in which floats are equal to themselves, NaN too, and to no integer."""
    if isinstance(value, dict):
        return {key: repr_of(item) for key, item in value.items()}
    if isinstance(value, list):
        return [repr_of(item) for item in value]
    return (value,) if isinstance(value, str) else repr(value)
