from __future__ import annotations

import cProfile
import json
import logging
import pstats
import re
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import Client

from tf_serving_flask_app.observability.access import AccessLog
from tf_serving_flask_app.observability.formatters import JsonFormatter, ReadableFormatter
from tf_serving_flask_app.observability.profiling import Profiler

LOGGER = "tf_serving_flask_app.profile"


@pytest.fixture(autouse=True)
def _info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    caplog.handler.setFormatter(JsonFormatter())


def model_call() -> int:
    """Something for the profile to show."""
    return sum(index * index for index in range(2000))


def late_part() -> bytes:
    """Runs only while the answer is being read."""
    return b"late"


def make_client(function_limit: int = 30, profile_dir: Path | None = None, as_json: bool = True) -> Client:
    flask = Flask(__name__)

    @flask.get("/predict")
    def predict() -> str:
        return str(model_call())

    @flask.get("/stream")
    def stream() -> Iterator[bytes]:
        yield late_part()

    return Client(AccessLog(Profiler(flask, function_limit, profile_dir, as_json), 30))


def profile_lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """The profiles' lines as production writes them."""
    lines = [json.loads(line) for line in caplog.text.splitlines()]
    return [line for line in lines if line["log.logger"] == LOGGER]


def test_production_gets_the_frames_as_fields(caplog: pytest.LogCaptureFixture) -> None:
    response = make_client(function_limit=50).get("/predict?key=secret", buffered=True)

    assert response.status_code == 200
    (line,) = profile_lines(caplog)
    assert line["url.path"] == "/predict"
    assert line["profile.skipped"] == 0
    assert line["http.request.id"] == response.headers["X-Request-Id"]
    (frame,) = [frame for frame in line["profile.cumulative"] if frame["function"] == "model_call"]
    assert frame["file"] == __file__
    assert frame["calls"] == 1
    assert 0 <= frame["own_ms"] <= frame["cumulative_ms"]
    assert frame["line"] > 0
    assert "secret" not in json.dumps(line)


def test_frames_are_sorted_and_limited(caplog: pytest.LogCaptureFixture) -> None:
    make_client(function_limit=3).get("/predict", buffered=True)

    (line,) = profile_lines(caplog)
    for kind in ("own", "cumulative"):
        times = [frame[f"{kind}_ms"] for frame in line[f"profile.{kind}"]]
        assert len(times) == 3
        assert times == sorted(times, reverse=True)


def test_development_gets_readable_text(caplog: pytest.LogCaptureFixture) -> None:
    make_client(function_limit=100, as_json=False).get("/predict", buffered=True)

    (record,) = [record for record in caplog.records if record.name == LOGGER]
    text = ReadableFormatter().format(record)
    lines = text.split("\n")
    assert "Profile of GET /predict" in lines[0]
    assert "profile.skipped=0" in lines[0]
    assert "    Ordered by: internal time" in text
    assert "    Ordered by: cumulative time" in text
    assert any(line.endswith("(model_call)") and line.startswith("    ") for line in lines)


def test_what_runs_while_the_answer_is_read_is_profiled(caplog: pytest.LogCaptureFixture) -> None:
    assert make_client(function_limit=10_000).get("/stream", buffered=True).data == b"late"

    (line,) = profile_lines(caplog)
    assert "late_part" in [frame["function"] for frame in line["profile.cumulative"]]


def test_a_file_that_pstats_opens_is_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "made" / "here"

    make_client(profile_dir=folder).get("/predict", headers={"X-Request-Id": "a:b..c"}, buffered=True)

    (file,) = folder.iterdir()
    assert re.fullmatch(r"\d{8}T\d{6}\.\d{6}Z-a_b\.\.c\.prof", file.name)
    functions = list(pstats.Stats(str(file)).get_stats_profile().func_profiles)
    assert "model_call" in functions
    assert len(profile_lines(caplog)) == 1


def test_a_file_that_cannot_be_written_is_logged_and_fails_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")

    assert make_client(profile_dir=tmp_path / "file" / "x").get("/predict", buffered=True).status_code == 200

    (_, failure) = [record for record in caplog.records if record.name == LOGGER]
    assert failure.exc_info is not None


def test_concurrent_requests_all_succeed_and_those_without_a_profile_are_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    together = threading.Barrier(16)

    def app(_environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        together.wait(30)  # no request ends before all have begun
        start_response("200 OK", [])
        return [str(model_call()).encode()]

    client = Client(AccessLog(Profiler(app, 5, None, as_json=True), 30))
    with ThreadPoolExecutor(16) as pool:
        responses = list(pool.map(lambda _: client.get("/", buffered=True), range(16)))

    assert [response.status_code for response in responses] == [200] * 16
    (first,) = profile_lines(caplog)
    assert first["profile.skipped"] == 15


def test_the_count_of_skipped_requests_starts_again_with_each_profile(caplog: pytest.LogCaptureFixture) -> None:
    inside, finish = threading.Event(), threading.Event()

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/slow":
            inside.set()
            assert finish.wait(30)
        start_response("200 OK", [])
        return [b"x"]

    client = Client(AccessLog(Profiler(app, 5, None, as_json=True), 30))
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(client.get, "/slow", buffered=True)
        assert inside.wait(30)
        client.get("/fast", buffered=True)
        client.get("/fast", buffered=True)
        finish.set()
        slow.result(30)
    client.get("/fast", buffered=True)

    assert [line["profile.skipped"] for line in profile_lines(caplog)] == [2, 0]


def test_a_failing_request_is_profiled_and_fails_as_it_would(caplog: pytest.LogCaptureFixture) -> None:
    def app(_environ: dict[str, Any], _start_response: Any) -> Iterable[bytes]:
        raise ValueError("bad")

    client = Client(AccessLog(Profiler(app, 5, None, as_json=True), 30))

    assert [client.get("/", buffered=True).status_code for _ in range(2)] == [500, 500]
    assert len(profile_lines(caplog)) == 2


def test_another_profiler_at_work_fails_no_request(caplog: pytest.LogCaptureFixture) -> None:
    client = make_client()
    other = cProfile.Profile()
    other.enable()
    try:
        status = client.get("/predict", buffered=True).status_code
    finally:
        other.disable()

    assert status == 200
    assert len(profile_lines(caplog)) <= 1
