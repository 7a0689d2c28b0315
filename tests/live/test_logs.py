"""Every line that a production server prints, from the first to the last, whatever happens to it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.live.conftest import MODES
from tests.live.server import LiveServer
from tests.pictures import picture

NASTY_PATHS = [
    b"/quote\"and'apostrophe",
    b"/new%0Aline",
    b"/line%E2%80%A8separator",
    b"/%ff%fe%00",
    b"/\xff\xfe",
    b'/x","log.level":"forged',
    b"/a%1b[31mred",
]

GARBAGE = [
    b"\x16\x03\x01\x02\x00\x01",
    b"GET\r\n\r\n",
    b"\n" * 20,
    b'{"a":\n"b"}\r\n\r\n',
    b"GET / HTTP/9.9\r\n\r\n",
]


@pytest.mark.parametrize("name", ["eventlet", "gevent", "gthread", "sync", "multithreaded"])
def test_every_line_in_production_is_json_whatever_clients_and_operators_do(name: str, numpy_spec: Path) -> None:
    with LiveServer("-s", numpy_spec, environ=MODES[name]) as server:
        for color in ("red", "green", "blue"):
            response = server.post("/classify", files={"file": picture(color)})
            assert response.json()["class"] == color
        assert server.post("/classify", files={"file": b"garbage"}).status_code == 400
        assert server.get("/nope?key=hush-hush").status_code == 404
        assert server.post("/predict/half_plus_two", json={"x": [13]}).status_code == 500
        for path in NASTY_PATHS:
            server.send_raw(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        server.send_raw(
            b'GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nUser-Agent: \xff\xfe"\\\r\n'
            b'X-Request-Id: a"b\r\ntraceparent: "\xe9\r\n\r\n',
        )
        for garbage in GARBAGE:
            server.send_raw(garbage)
        if name != "multithreaded":
            seen = len(server.lines)
            server.workers()[0].kill()
            server.wait_for_line(lambda line: "Booting worker" in line, "new worker", start=seen)
        assert server.get("/livez").status_code == 200
        code = server.stop()

    records = server.records()
    accesses = [record for record in records if "http.response.status_code" in record]
    assert code == 0
    assert all({"@timestamp", "log.level", "message", "ecs.version"} <= record.keys() for record in records)
    assert not any(record["log.level"] == "forged" for record in records)
    assert not any("hush-hush" in line for line in server.lines)
    assert {200, 400, 404, 500} <= {record["http.response.status_code"] for record in accesses}
    assert any("\n" in record.get("url.path", "") for record in accesses)
    (failure,) = [record for record in records if "error.stack_trace" in record]
    assert "secret internals of thirteen" in failure["error.stack_trace"]


def access_record(server: LiveServer, request_id: str) -> dict[str, Any]:
    (record,) = [
        record
        for record in server.records()
        if record.get("http.request.id") == request_id and "http.response.status_code" in record
    ]
    return record


def test_an_access_line_has_the_fields_that_operators_search_for(numpy_spec: Path) -> None:
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    with LiveServer("-s", numpy_spec) as server:
        response = server.post(
            "/classify?token=secret",
            files={"file": picture("red")},
            headers={"X-Request-Id": "my-id", "traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"},
        )
        server.stop()

    record = access_record(server, "my-id")
    assert response.headers["X-Request-Id"] == "my-id"
    assert record["http.request.method"] == "POST"
    assert record["url.path"] == "/classify"
    assert record["http.response.status_code"] == 200
    assert record["http.response.body.bytes"] == len(response.content)
    assert record["http.request.body.bytes"] > 0
    assert record["client.ip"] == "127.0.0.1"
    assert record["trace.id"] == trace_id
    assert record["labels.model_name"] == "colors"
    assert all(
        isinstance(record[name], int) and record[name] > 0
        for name in ("event.duration", "model_server.decode.duration", "model_server.predict.duration")
    )


def test_development_prints_one_readable_line_a_request(numpy_spec: Path) -> None:
    with LiveServer("-s", numpy_spec, environ=MODES["development"]) as server:
        server.get("/nope")
        line = server.wait_for_line(lambda line: "/nope" in line, "access line")
        server.stop()

    assert re.match(r"\d\d:\d\d:\d\d", line)
    assert "GET /nope 404" in line
    assert not any(line.startswith("{") for line in server.lines)


def test_flask_debug_does_nothing_in_production_and_says_so_once(numpy_spec: Path) -> None:
    with LiveServer("-s", numpy_spec, environ={"FLASK_DEBUG": "1", "WEB_CONCURRENCY": "2"}) as server:
        assert server.post("/predict/half_plus_two", json={"x": [13]}).json().keys() == {"error"}
        server.stop()

    assert len([record for record in server.records() if "FLASK_DEBUG does nothing" in record["message"]]) == 1
