"""Metrics of the real server: summed over its workers, whoever answers, and kept when one dies."""

from __future__ import annotations

import os
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from tests.live.conftest import MODES, NUMPY_SPEC
from tests.live.server import LiveServer, wait_until

Series = dict[tuple[str, ...], float]

MODEL = "tfsf_model_request_duration_seconds_count"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """Two workers."""
    spec = tmp_path_factory.mktemp("metrics") / "numpy.spec"
    spec.write_text(NUMPY_SPEC)
    with LiveServer("-s", spec, environ={"WEB_CONCURRENCY": "2"}) as running:
        yield running


def series(text: str, name: str, *labels: str) -> Series:
    """The samples of one name: the values of these labels -> the sample's value."""
    return {
        tuple(sample.labels[label] for label in labels): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    }


def scrape(server: LiveServer, name: str, *labels: str) -> Series:
    """Scrape on a connection of its own, so that any worker may answer."""
    return series(server.get("/metrics").text, name, *labels)


def half_plus_two(server: LiveServer) -> int:
    """Send a request on a connection of its own."""
    return server.post("/predict/half_plus_two", json={"x": [1.0]}).status_code


def counting_files(server: LiveServer) -> set[str]:
    """What is in that folder."""
    return {path.name for path in server.shared_folder().iterdir()}


def serving_workers(server: LiveServer, path: str) -> set[int]:
    """The processes that have answered requests for a path."""
    return {record["process.pid"] for record in server.records() if record.get("url.path") == path}


def test_every_worker_tells_the_same_sums(server: LiveServer) -> None:
    before = scrape(server, MODEL, "model", "result").get(("half_plus_two", "success"), 0.0)
    sent = 0
    while len(serving_workers(server, "/predict/half_plus_two")) < 2 or sent < 20:
        assert half_plus_two(server) == 200
        sent += 1
        assert sent < 1000
    scrapes: list[float] = []
    while len(serving_workers(server, "/metrics")) < 2 or len(scrapes) < 10:
        scrapes.append(scrape(server, MODEL, "model", "result")["half_plus_two", "success"] - before)
        assert len(scrapes) < 1000
    (statistics,) = server.get("/v2/models/half_plus_two/stats").json()["model_stats"]

    assert set(scrapes) == {float(sent)}
    assert statistics["inference_count"] == sent + before
    assert statistics["inference_stats"]["queue"]["count"] == sent + before
    assert scrape(server, "tfsf_worker_processes") == {(): 2}
    assert scrape(server, "tfsf_http_requests_in_flight") == {(): 0}
    assert scrape(server, "tfsf_model_version_loaded", "model")["half_plus_two",] == 2


def test_what_a_killed_worker_counted_stays_and_its_files_are_used_again(server: LiveServer) -> None:
    for _ in range(10):
        half_plus_two(server)
    before = scrape(server, MODEL, "model", "result")["half_plus_two", "success"]
    for _ in range(3):
        victim = server.workers()[0]
        victim.kill()
        wait_until(lambda victim=victim: victim not in server.workers(), "end of the killed worker")  # type: ignore[misc]
        wait_until(
            lambda: scrape(server, "tfsf_model_version_loaded", "model")["half_plus_two",] == 2,
            "a new worker with the model loaded",
        )
        assert scrape(server, "tfsf_worker_processes") == {(): 2}
    after = scrape(server, MODEL, "model", "result")["half_plus_two", "success"]

    assert before == after
    assert {re.findall(r"\d+", name)[0] for name in counting_files(server) if name != "lock"} == {"0", "1"}


def test_what_is_no_http_is_counted_as_refused(server: LiveServer) -> None:
    def refused() -> float:
        counted = scrape(server, "tfsf_http_requests_total", "route", "status")
        return counted.get(("refused", "400"), 0.0)

    before = refused()
    server.send_raw(b"GET\r\n\r\n")

    assert refused() == before + 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_workers_of_another_user_count_and_are_told_what_to_load(tmp_path: Path) -> None:
    spec = tmp_path / "numpy.spec"
    spec.write_text(NUMPY_SPEC.replace("path: .", "path: /"))  # the other user may not read this one
    with LiveServer("-s", spec, environ={"WEB_CONCURRENCY": "2", "GUNICORN_CMD_ARGS": "--user nobody"}) as server:
        wait_until(lambda: {worker.username() for worker in server.workers()} == {"nobody"}, "the other user")
        unloaded = server.post("/v2/repository/models/slow/unload").status_code
        server.process.send_signal(signal.SIGHUP)
        server.wait_for_line(lambda line: "The reload took" in line)
        loaded = scrape(server, "tfsf_model_version_loaded", "model")
        shared = server.shared_folder()
        code = server.stop()

    assert (unloaded, code) == (200, 0)
    assert loaded["slow",] >= 1
    assert not shared.exists()


@pytest.mark.parametrize("mode", ["eventlet", "gthread", "sync"])
def test_on_a_port_of_their_own_they_are_there_only(mode: str, numpy_spec: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environ = {**MODES[mode], "METRICS_PORT": str(port)}
    with LiveServer("-s", numpy_spec, environ=environ) as server:
        for _ in range(3):
            half_plus_two(server)
        there = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=30)
        statuses = [
            server.get("/metrics").status_code,
            requests.post(f"http://127.0.0.1:{port}/predict/half_plus_two", json={"x": [1]}, timeout=30).status_code,
            requests.get(f"http://127.0.0.1:{port}/readyz", timeout=30).status_code,
        ]
        code = server.stop()

    assert series(there.text, MODEL, "model")["half_plus_two",] == 3
    assert statuses == [404, 404, 200]
    assert code == 0


@pytest.mark.parametrize("mode", ["multithreaded", "development"])
def test_one_process_counts_too_and_leaves_no_file(mode: str, numpy_spec: Path) -> None:
    with LiveServer("-s", numpy_spec, environ=MODES[mode]) as server:
        half_plus_two(server)
        wait_until(lambda: scrape(server, MODEL, "model") == {("half_plus_two",): 1}, "the count")
        folder = server.shared_folder()
        existed = folder.is_dir()
        server.stop()

    assert existed
    assert not folder.exists()
