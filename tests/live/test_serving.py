"""The real server answers in every mode, with real models and odd clients."""

from __future__ import annotations

import json
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from tests.live.conftest import MODES
from tests.live.server import ROOT, LiveServer, wait_until

SAMPLES = ROOT / "specs" / "samples"


@pytest.mark.tensorflow
def test_the_demo_names_each_sample_picture_in_every_mode(mode: dict[str, str]) -> None:
    with LiveServer(environ=mode) as server:
        named = {
            sample.stem: server.post("/classify", files={"file": sample.read_bytes()}).json()["class"]
            for sample in sorted(SAMPLES.glob("*.jpg"))
            if not sample.stem.startswith("scene")
        }
        by_path = {shape: next(iter(server.get(f"/classification?file_name={shape}.jpg").json())) for shape in named}
        found = {
            scene.stem: len(server.post("/detect", files={"file": scene.read_bytes()}).json())
            for scene in SAMPLES.glob("scene-*.jpg")
        }
        code = server.stop()

    assert found == {"scene-1": 3, "scene-2": 3, "scene-3": 3}
    assert len(named) >= 6
    assert named == {shape: shape for shape in named} == by_path
    assert code == 0


@pytest.mark.tensorflow
def test_the_odd_pictures_are_answered_and_no_worker_dies(test_data: Path) -> None:
    odd = sorted((test_data / "images" / "odd").iterdir())
    with LiveServer(environ={"WEB_CONCURRENCY": "2"}) as server, ThreadPoolExecutor(8) as pool:
        before = {worker.pid for worker in server.workers()}
        answers = list(pool.map(lambda path: server.post("/classify", files={"file": path.read_bytes()}), odd))
        after = {worker.pid for worker in server.workers()}
        server.stop()

    assert len(odd) == 93
    assert {answer.status_code for answer in answers} == {200, 400}
    assert all(answer.json()["error"].endswith(".") for answer in answers if answer.status_code == 400)
    assert before == after
    assert all(json.loads(line) for line in server.lines)


def test_fifty_clients_that_send_a_byte_a_second_delay_nobody(numpy_spec: Path) -> None:
    with LiveServer("-s", numpy_spec, environ={"WEB_CONCURRENCY": "1"}) as server:
        over = threading.Event()
        begun = threading.Semaphore(0)

        def drip() -> None:
            def body() -> object:
                begun.release()
                while not over.wait(1.0):
                    yield b"x"

            with pytest.raises(requests.RequestException):
                raise requests.RequestException(server.post("/classify", data=body()).status_code)

        def median_s() -> float:
            with requests.Session() as session:
                times = []
                for _ in range(40):
                    began = time.perf_counter()
                    answer = session.post(server.url + "/predict/half_plus_two", json={"x": [1.0]}, timeout=10)
                    assert answer.status_code == 200
                    times.append(time.perf_counter() - began)
            return statistics.median(times)

        alone = median_s()
        with ThreadPoolExecutor(50) as pool:
            slow = [pool.submit(drip) for _ in range(50)]
            for _ in range(50):
                assert begun.acquire(timeout=30)
            beside = median_s()
            over.set()
            assert not [client.exception() for client in slow if client.exception()]
        server.stop()

    assert beside - alone < 0.050


def test_health_is_answered_while_every_thread_is_busy(numpy_spec: Path) -> None:
    environ = {"WEB_CONCURRENCY": "1", "THREADS": "2"}
    with LiveServer("-s", numpy_spec, environ=environ) as server, ThreadPoolExecutor(4) as pool:
        busy = [pool.submit(server.post, "/predict/slow", json={"x": [1.5]}) for _ in range(4)]
        wait_until(lambda: len(server.workers()[0].net_connections("tcp")) >= 5, "requests under way")
        health = [server.get(path, timeout=1.0) for path in ("/livez", "/v2/health/live", "/v2/health/ready")]
        unfinished = sum(not request.done() for request in busy)
        statuses = [request.result().status_code for request in busy]
        server.stop()

    assert [answer.status_code for answer in health] == [200] * 3
    assert unfinished == 4
    assert statuses == [200] * 4


def test_more_requests_than_may_wait_are_answered_503_at_once(numpy_spec: Path) -> None:
    environ = {"WEB_CONCURRENCY": "1", "THREADS": "1", "MAX_QUEUE": "1"}
    with LiveServer("-s", numpy_spec, environ=environ) as server, ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: server.post("/predict/slow", json={"x": [1.0]}), range(6)))
        server.stop()

    refused = [answer for answer in answers if answer.status_code == 503]
    assert [answer.status_code for answer in answers if answer not in refused] == [200] * 2
    assert len(refused) == 4
    assert all(answer.headers["Retry-After"] and answer.json()["error"] for answer in refused)
    assert all(answer.elapsed.total_seconds() < 0.9 for answer in refused)


@pytest.mark.parametrize("name", ["eventlet", "gevent", "gthread", "multithreaded"])
def test_a_request_past_its_deadline_is_answered_504(name: str, numpy_spec: Path) -> None:
    with LiveServer("-s", numpy_spec, environ=MODES[name]) as server:
        answer = server.post("/predict/slow", json={"x": [0.3]}, headers={"X-Request-Timeout-Ms": "100"})
        server.stop()

    assert answer.status_code == 504
    assert "deadline" in answer.json()["error"]


def test_an_upload_that_is_too_large_is_answered_413_and_leaves_nothing_behind(
    mode: dict[str, str], numpy_spec: Path, tmp_path: Path
) -> None:
    uploads = tmp_path / "uploads"
    uploads.mkdir()
    environ = {**mode, "MAX_CONTENT_LENGTH": "3MiB", "UPLOAD_FOLDER": str(uploads)}
    with LiveServer("-s", numpy_spec, environ=environ) as server:
        fits = server.post("/classify", files={"file": b"x" * (2 << 20)})
        too_large = server.post("/classify", files={"file": b"x" * (20 << 20)})
        code = server.stop()

    assert fits.status_code == 400
    assert "picture" in fits.json()["error"]
    assert too_large.status_code == 413
    assert "3145728" in too_large.json()["error"]
    assert list(uploads.iterdir()) == []
    assert code == 0


@pytest.mark.parametrize("name", MODES)
def test_a_request_that_is_no_http_is_answered_in_json(name: str, numpy_spec: Path) -> None:
    if name == "development":
        pytest.skip("Werkzeug's development server answers these itself, in HTML")
    with LiveServer("-s", numpy_spec, environ=MODES[name]) as server:
        answer = server.send_raw(b"GET\r\n\r\n")
        server.stop()

    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"application/json" in head
    assert json.loads(body)["error"]
