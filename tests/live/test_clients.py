"""Clients that people already have, unchanged, against the real server: the programs of tests/clients."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.live.conftest import MODES, RunPython
from tests.live.server import ROOT, LiveServer

pytestmark = pytest.mark.tensorflow

SPEC = """
models:
  - {name: half_plus_two, backend: saved_model, path: tfserving/saved_model_half_plus_two_cpu}
  - {name: spare, backend: saved_model, path: tfserving/saved_model_half_plus_two_tf2_cpu}
  - {name: counter, backend: saved_model, path: tfserving/saved_model_counter, signature: incr_counter_by}
  - {name: echo, backend: "numpy_backends:Echo", path: .}
  - name: mobilenet
    task: classification
    backend: frozen_graph
    path: mobilenet_v1_025_128/frozen_graph.pb
    inputs: {image: "input:0"}
    outputs: {scores: "MobilenetV1/Predictions/Reshape_1:0"}
    image: {scale: inception, resize: stretch}
    labels: mobilenet_v1_025_128/labels.txt
"""
SHOWS = {"coral_parrot.jpg": "macaw", "triton_mug.jpg": "coffee mug", "grace_hopper.jpg": "bow tie, bow-tie, bowtie"}
MUG = "coffee mug"
MUG_CLASS = 505

Run = Callable[..., Any]

on_eventlet = pytest.mark.parametrize("server", ["eventlet"], indirect=True)
on_threads = pytest.mark.parametrize("server", ["multithreaded"], indirect=True)
on_both = pytest.mark.parametrize("server", ["eventlet", "multithreaded"], indirect=True)


def assert_mug(predictions: list[Any]) -> None:
    """The class of most probability is the one that the labels call a mug: its index."""
    (scores,) = predictions
    assert len(scores) == 1001
    assert max(range(len(scores)), key=scores.__getitem__) == MUG_CLASS
    assert math.isclose(sum(scores), 1, abs_tol=1e-3)


@pytest.fixture(scope="module")
def photographs(test_data: Path) -> list[Path]:
    return [test_data / "images" / "photos" / name for name in SHOWS]


@pytest.fixture(scope="module")
def mug(test_data: Path) -> Path:
    return test_data / "images" / "photos" / "triton_mug.jpg"


@pytest.fixture(scope="module", params=["eventlet", "multithreaded"])
def server(
    request: pytest.FixtureRequest, test_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveServer]:
    """Two worker processes of eventlet; then one process with gthread's threads."""
    spec = tmp_path_factory.mktemp("clients") / "clients.spec"
    spec.write_text(SPEC)
    with LiveServer("-s", spec, "-a", test_data / "models", environ=MODES[request.param]) as server:
        yield server


@pytest.fixture
def run(run_client: RunPython, server: LiveServer) -> Run:
    """Run a program of tests/clients against the server and return what it printed as JSON."""

    def run(program: str, *arguments: Path) -> Any:
        script = ROOT / "tests" / "clients" / f"{program}.py"
        return json.loads(run_client(script, urlsplit(server.url).netloc, *arguments))

    return run


@on_eventlet
def test_tritonclient_reads_metadata_and_loads_and_unloads_on_every_worker(run: Run) -> None:
    answers = run("triton_models")

    assert [answers[key] for key in ("live", "ready", "model_ready", "version_ready")] == [True] * 4
    assert [answers[key] for key in ("other_version_ready", "other_model_ready")] == [False] * 2
    assert answers["server"]["name"] == "tf_serving_flask_app"
    assert answers["server"]["extensions"] >= ["binary_tensor_data"]
    assert answers["model"] == answers["version"]
    assert answers["model"]["versions"] == ["123"]
    assert answers["model"]["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 1]}]
    assert answers["model"]["outputs"] == [{"name": "y", "datatype": "FP32", "shape": [-1, 1]}]
    assert [output["name"] for output in answers["pictures"]["outputs"]] == ["scores"]
    assert {entry["name"]: entry["datatype"] for entry in answers["strings"]["inputs"]} == {
        "text": "BYTES",
        "count": "INT64",
    }
    assert answers["config"]["name"] == "half_plus_two"
    assert {entry["name"]: entry["state"] for entry in answers["index"]} == dict.fromkeys(
        ("half_plus_two", "spare", "counter", "echo", "mobilenet"), "READY"
    )
    assert answers["unloaded"] == [False]
    assert "READY" not in [entry["state"] for entry in answers["index_without_spare"] if entry["name"] == "spare"]
    assert answers["loaded"] == [True]


@on_both
def test_tritonclient_infers_in_every_form_compressed_and_many_at_once(run: Run) -> None:
    answers = run("triton_infer")

    assert answers["forms"] == dict.fromkeys(answers["forms"], True)
    assert len(answers["forms"]) == answers["answered"] == 16
    assert answers["half_plus_two"]
    assert answers["compressed"] == dict.fromkeys(answers["compressed"], True)
    assert len(answers["compressed"]) == 18
    assert answers["in_flight"] == [[number, number / 2 + 2] for number in range(64)]
    assert answers["version"] == "123"
    assert answers["not_finite"] == ["[nan, inf, -inf]"] * 2
    assert answers["empty"] == [[0, 1]] * 2


@on_eventlet
def test_tritonclient_raises_each_error_with_the_servers_status_and_text(run: Run) -> None:
    answers = run("triton_errors")
    statuses = {case: status for case, (status, _) in answers.items()}
    texts = {case: text for case, (_, text) in answers.items()}
    bad = ("dtype", "shape", "rank", "missing", "unknown", "output", "picture")
    unknown = ("model", "metadata", "config", "statistics", "load", "unload", "version", "compressed")

    assert statuses == dict.fromkeys(bad, "400") | dict.fromkeys(unknown, "404") | {"after_all": "200"}
    assert texts["model"] == texts["compressed"] == "Request for unknown model: 'nobody' is not found"
    assert texts["dtype"] == "inference input 'x' data-type is 'INT32', but model 'half_plus_two' expects 'FP32'"
    assert "[1,9]" in texts["shape"].replace(" ", "")
    assert all("decoding the response" not in text for text in texts.values())


@on_eventlet
def test_tritonclient_gets_the_same_classes_of_a_picture_as_a_file_and_as_pixels(
    run: Run, photographs: list[Path]
) -> None:
    answers = run("triton_classify", *photographs)

    for photograph in photographs:
        best = [[item.split(":", 2) for item in classes] for classes in answers[str(photograph)].values()]
        labels = [[label for _, _, label in classes] for classes in best]
        scores = [[float(score) for score, _, _ in classes] for classes in best]
        assert labels == [labels[0]] * 4, photograph
        assert labels[0][0] == SHOWS[photograph.name]
        assert len(labels[0]) == 3
        assert all(score == pytest.approx(scores[0], abs=0.02) for score in scores)


@on_threads
def test_every_client_counts_on_where_the_one_before_it_stopped(run: Run) -> None:
    answers = run("counter")

    assert answers == [0.0, 1.0, 1.5, 2.0, 2.5, 3.5, 4.0, 4.0]


@on_eventlet
def test_kserves_client_speaks_v1(run: Run, mug: Path) -> None:
    answers = run("kserve_v1", mug)

    assert answers["live"] is answers["ready"] is True
    assert answers["rows"] == {"predictions": [2.5, 3.0, 4.5]}
    assert answers["columns"] == {"outputs": [[2.5], [4.5]]}
    assert answers["strings"] == {"predictions": [{"text": "gr\u00fcn", "count": [1, 2]}]}
    assert_mug(answers["picture"]["predictions"])
    assert answers["nobody"].startswith("Could not find any versions of model nobody, '404 ")
    assert "is not of expected type: float, '400 " in answers["wrong"]


@on_eventlet
def test_kserves_client_speaks_v2(run: Run, mug: Path) -> None:
    answers = run("kserve_v2", mug)

    assert [answers[key] for key in ("live", "ready", "model_ready", "other_model_ready")] == [True] * 3 + [False]
    assert answers["forms"] == dict.fromkeys(answers["forms"], True)
    assert len(answers["forms"]) == 8
    assert answers["numbers"] == [[3, 1], "[2.5, 3.0, nan]"]
    assert answers["empty"] == [[0, 1], "[]"]
    assert answers["classes"][0].split(":", 2)[2] == MUG
    assert len(answers["classes"]) == 3
    assert "Request for unknown model: 'nobody' is not found, '404" in answers["nobody"]


@on_eventlet
def test_ovmsclient_predicts_and_reads_status_and_metadata(run: Run, mug: Path) -> None:
    answers = run("ovms", mug)

    assert answers["status"] == {"123": {"state": "AVAILABLE", "error_code": 0, "error_message": ""}}
    assert answers["version_status"] == answers["status"]
    signatures = answers["metadata"]["metadata"]["signature_def"]["signature_def"]
    assert signatures["serving_default"]["inputs"]["x"]["dtype"] == "DT_FLOAT"
    assert answers["metadata"]["model_spec"]["version"] == "123"
    assert answers["list"] == [2.5, 3.0, 4.5]
    assert answers["array"] == [[2.5], [4.5]]
    assert answers["scalar"] == [3.5]
    assert answers["strings"] == {"text": ["plain", "gr\u00fcn"], "count": [[1, 2], [3, 4]]}
    assert answers["bytes"] == {"text": ["plain"], "count": [[1, 2]]}
    assert_mug(answers["picture"])
    assert answers["unknown_model"].startswith("ModelNotFoundError: ")
    assert answers["unknown_version"].startswith("ModelNotFoundError: ")
    assert answers["wrong"].startswith("InvalidInputError: ")


@on_eventlet
def test_requests_speaks_every_protocol(run: Run, mug: Path) -> None:
    answers = run("plain_requests", mug)

    assert answers["predict"] == {"predictions": [2.5, 3.0, 4.5]}
    assert answers["version"] == {"outputs": [[2.5]]}
    assert answers["regress"] == {"results": [2.5]}
    assert answers["classify"]["results"][0][0][1] == 2.5
    assert answers["zipped"] == {"predictions": [[2.5], [3.0]]}
    assert_mug(answers["picture_v1"]["predictions"])
    assert answers["infer"]["outputs"] == [{"name": "y", "datatype": "FP32", "shape": [2, 1], "data": [2.5, 3.0]}]
    assert answers["upload"]["class"] == MUG


@on_eventlet
@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_an_answer_is_compressed_where_the_client_asks_for_it_but_an_error_never_is(
    server: LiveServer, encoding: str
) -> None:
    accept = {"Accept-Encoding": encoding}
    inputs = [{"name": "x", "shape": [4096, 1], "datatype": "FP32", "data": [0.5] * 4096}]
    answer = server.post("/v2/models/half_plus_two/infer", json={"inputs": inputs}, headers=accept)
    plain = server.post("/v2/models/half_plus_two/infer", json={"inputs": inputs}, headers={"Accept-Encoding": ""})
    error = server.post("/v2/models/nobody/infer", json={"inputs": inputs}, headers=accept)

    assert answer.headers["Content-Encoding"] == encoding
    assert int(answer.headers["Content-Length"]) < len(plain.content) / 10
    assert answer.json() == plain.json()
    assert "Content-Encoding" not in plain.headers
    assert "Content-Encoding" not in error.headers
