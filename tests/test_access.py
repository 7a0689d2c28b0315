from __future__ import annotations

import io
import json
import logging
import math
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.handlers import SimpleHandler

import pytest
from flask import Flask, request
from prometheus_client.parser import text_string_to_metric_families
from werkzeug.test import Client, EnvironBuilder

from tf_serving_flask_app.context import RequestContext, current_request
from tf_serving_flask_app.metrics import Metrics
from tf_serving_flask_app.observability.access import AccessLog, sane_request_id
from tf_serving_flask_app.observability.formatters import JsonFormatter

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
WsgiApp = Callable[[dict[str, Any], Any], Iterable[bytes]]


def ok(_environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """A small application."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hel", b"lo"]


def access_line(caplog: pytest.LogCaptureFixture) -> dict[str, Any]:
    """The one access line of a test, as production writes it."""
    (record,) = [record for record in caplog.records if record.name == "tf_serving_flask_app.access"]
    line = json.loads(JsonFormatter().format(record))
    assert isinstance(line, dict)
    return line


def serve(app: WsgiApp, **environ: Any) -> tuple[str, str]:
    """Serve one request by a WSGI server that sends headers late, as servers do; return head and body."""
    output = io.BytesIO()
    full = {**EnvironBuilder(path="/served").get_environ(), **environ}
    server = SimpleHandler(io.BytesIO(), output, io.StringIO(), full, multithread=False)
    server.run(app)
    head, _, body = output.getvalue().decode("latin-1").partition("\r\n\r\n")
    return head, body


@pytest.fixture(autouse=True)
def _info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def context_of(headers: dict[str, str], timeout_s: float = 30, **environ: Any) -> RequestContext:
    """Send a request with these headers; return the context that the application saw."""
    seen: list[RequestContext] = []

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        context = current_request.get()
        assert context is not None
        assert context is environ["tf_serving.request"]
        seen.append(context)
        return ok(environ, start_response)

    Client(AccessLog(app, timeout_s)).get("/", buffered=True, headers=headers, environ_overrides=environ)
    return seen[0]


def test_one_line_tells_the_whole_request(caplog: pytest.LogCaptureFixture) -> None:
    app = Flask(__name__)

    @app.post("/a/<name>")
    def view(name: str) -> tuple[str, int]:
        context: RequestContext = request.environ["tf_serving.request"]
        context.model_name, context.model_version = "m", "3"
        with context.stage("predict"):
            return f"{name} {len(request.data)}", 201

    response = Client(AccessLog(app, 30)).post(
        "/a/%C3%A9%0A%F0?token=secret",
        buffered=True,
        data=b"12345",
        headers={
            "X-Request-Id": "my-id",
            "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01",
            "User-Agent": "x" * 600,
        },
        environ_overrides={"REMOTE_ADDR": "192.0.2.7"},
    )

    line = access_line(caplog)
    assert response.status_code == 201
    assert response.headers.getlist("X-Request-Id") == ["my-id"]
    expected = {
        "log.level": "info",
        "event.kind": "event",
        "event.category": ["web"],
        "event.type": ["access"],
        "event.dataset": "tf_serving_flask_app.access",
        "event.outcome": "success",
        "http.request.method": "POST",
        "url.path": "/a/é\n\ufffd",
        "http.version": "1.1",
        "http.request.body.bytes": 5,
        "http.response.status_code": 201,
        "http.response.body.bytes": len(response.data),
        "client.address": "192.0.2.7",
        "client.ip": "192.0.2.7",
        "user_agent.original": "x" * 512,
        "http.request.id": "my-id",
        "trace.id": TRACE,
        "labels.model_name": "m",
        "labels.model_version": "3",
    }
    assert {key: line.get(key) for key in expected} == expected
    assert 0 < line["model_server.predict.duration"] < line["event.duration"]
    assert "secret" not in json.dumps(line)


@pytest.mark.parametrize("sent", ["a", "A-1_b.c:d", "x" * 128])
def test_a_sane_request_id_is_kept(sent: str) -> None:
    assert context_of({"X-Request-Id": sent}).request_id == sent


@pytest.mark.parametrize(
    "sent",
    ["", " ", "a b", "a\t", 'a"', "a/b", "é", "a\x1b", "１", "x" * 129, "{}", "a,b"],  # noqa: RUF001
)
def test_any_other_request_id_is_replaced(sent: str) -> None:
    made = {context_of({}, HTTP_X_REQUEST_ID=sent).request_id for _ in range(2)}

    assert len(made) == 2
    assert all(len(request_id) == 32 and request_id.isalnum() for request_id in made)


def test_processes_that_were_forked_make_ids_of_their_own() -> None:
    with multiprocessing.get_context("fork").Pool(3) as pool:
        ids = pool.map(sane_request_id, [None] * 300, chunksize=10)

    assert len({*ids, sane_request_id(None)}) == 301


@pytest.mark.parametrize("sent", ["a\n", "a\r\nX-Forged: 1"])
def test_a_request_id_cannot_hold_a_line_end(sent: str) -> None:
    assert "\n" not in context_of({}, HTTP_X_REQUEST_ID=sent).request_id


@pytest.mark.parametrize(
    ("sent", "trace_id"),
    [
        (f"00-{TRACE}-00f067aa0ba902b7-01", TRACE),
        (f"01-{TRACE}-00f067aa0ba902b7-01-more", TRACE),
        (f"00-{TRACE}-00f067aa0ba902b7-01-more", None),
        (f"ff-{TRACE}-00f067aa0ba902b7-01", None),
        (f"00-{'0' * 32}-00f067aa0ba902b7-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE.upper()}-00f067aa0ba902b7-01", None),
        ("nonsense", None),
        ("", None),
    ],
)
def test_the_trace_id_comes_from_a_valid_traceparent(sent: str, trace_id: str | None) -> None:
    context = context_of({"traceparent": sent})

    assert context.trace_id == trace_id
    assert context.traceparent == (f"00{sent[2:55]}" if trace_id else None)


@pytest.mark.parametrize(
    ("sent", "seconds"),
    [
        ("500", 0.5),
        ("1.5", 0.0015),
        ("60000", 30),
        ("inf", 30),
        ("nan", 30),
        ("1e999", 30),
        ("0", 30),
        ("-5", 30),
        ("soon", 30),
        ("", 30),
    ],
)
def test_the_client_can_shorten_the_deadline_and_not_lengthen_it(sent: str, seconds: float) -> None:
    before = time.monotonic()
    deadline = context_of({"X-Request-Timeout-Ms": sent}, timeout_s=30).deadline
    after = time.monotonic()

    # The two clocks are read one after the other: allow for the moment between.
    assert before + seconds - 0.01 <= deadline <= after + seconds


def test_duration_and_deadline_count_from_the_arrival_that_the_server_saw(caplog: pytest.LogCaptureFixture) -> None:
    context = context_of({}, timeout_s=30, **{"tf_serving.received": time.perf_counter() - 20})

    assert 9 < context.deadline - time.monotonic() <= 10
    assert access_line(caplog)["event.duration"] >= 20e9


def test_the_context_is_there_while_the_answer_is_made_and_gone_between() -> None:
    seen: list[RequestContext | None] = []

    def app(_environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        try:
            for _ in range(2):
                seen.append(current_request.get())
                yield b"x"
        finally:
            seen.append(current_request.get())

    answer = AccessLog(app, 30)(EnvironBuilder().get_environ(), lambda *_: lambda _: None)
    for _ in answer:
        assert current_request.get() is None
    answer.close()  # type: ignore[attr-defined]

    assert current_request.get() is None
    assert len(seen) == 3
    assert None not in seen


def test_the_line_is_written_once_when_the_answer_is_closed(caplog: pytest.LogCaptureFixture) -> None:
    answer = AccessLog(ok, 30)(EnvironBuilder().get_environ(), lambda *_: lambda _: None)
    assert list(answer) == [b"hel", b"lo"]
    assert caplog.records == []

    answer.close()  # type: ignore[attr-defined]
    answer.close()  # type: ignore[attr-defined]

    assert access_line(caplog)["http.response.body.bytes"] == 5


def test_an_exception_is_logged_with_its_traceback_and_answered_500(caplog: pytest.LogCaptureFixture) -> None:
    def app(_environ: dict[str, Any], _start_response: Any) -> Iterable[bytes]:
        raise ValueError("internal detail")

    response = Client(AccessLog(app, 30)).get("/x", buffered=True, headers={"X-Request-Id": "my-id"})

    assert response.status_code == 500
    assert response.headers["X-Request-Id"] == "my-id"
    assert response.json == {"error": "Internal server error; the log has the details under request id my-id"}
    line = access_line(caplog)
    assert (line["http.response.status_code"], line["event.outcome"]) == (500, "failure")
    (failure,) = [record for record in caplog.records if record.exc_info]
    assert "internal detail" in JsonFormatter().format(failure)


def test_an_exception_before_the_first_byte_replaces_the_answer(caplog: pytest.LogCaptureFixture) -> None:
    closed: list[bool] = []

    def app(_environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("X-Mine", "1")])
        try:
            yield from ()
            raise ValueError("late")
        finally:
            closed.append(True)

    head, body = serve(AccessLog(app, 30))

    assert head.startswith("HTTP/1.0 500 Internal Server Error")
    assert "X-Mine" not in head
    assert json.loads(body)["error"].startswith("Internal server error")
    assert access_line(caplog)["http.response.status_code"] == 500
    assert closed == [True]


def test_an_exception_after_the_first_byte_cuts_the_answer_off(caplog: pytest.LogCaptureFixture) -> None:
    def app(_environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"part"
        raise ValueError("late")

    _, body = serve(AccessLog(app, 30))

    assert body == "part"
    line = access_line(caplog)
    assert (line["http.response.status_code"], line["event.outcome"]) == (200, "failure")


def test_a_request_that_ends_its_worker_still_gets_its_line(caplog: pytest.LogCaptureFixture) -> None:
    def app(_environ: dict[str, Any], _start_response: Any) -> Iterable[bytes]:
        sys.exit(1)

    with pytest.raises(SystemExit):
        AccessLog(app, 30)(EnvironBuilder().get_environ(), lambda *_: lambda _: None)

    assert access_line(caplog)["event.outcome"] == "failure"


@pytest.mark.parametrize(("status", "outcome"), [("204 x", "success"), ("404 x", "failure"), ("503 x", "failure")])
def test_the_outcome_follows_the_status(caplog: pytest.LogCaptureFixture, status: str, outcome: str) -> None:
    def app(_environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response(status, [("x-request-id", "the application's own")])
        return []

    response = Client(AccessLog(app, 30)).get("/", buffered=True, headers={"X-Request-Id": "mine"})

    assert response.headers.getlist("X-Request-Id") == ["mine"]
    assert access_line(caplog)["event.outcome"] == outcome


def test_what_is_sent_by_write_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    def app(_environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])(b"old")
        return [b" style"]

    assert serve(AccessLog(app, 30))[1] == "old style"
    assert access_line(caplog)["http.response.body.bytes"] == 9


@pytest.mark.parametrize("length", [None, "", "-1", "1x", "²", "9" * 30])
def test_a_body_of_no_sane_length_is_counted(caplog: pytest.LogCaptureFixture, length: str | None) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        body = environ["wsgi.input"]
        read = [body.read(2), body.readline(), *body.readlines(1), *body]
        assert b"".join(read) == b"one\ntwo\nthree\n"
        return ok(environ, start_response)

    environ = EnvironBuilder(method="POST").get_environ()
    environ["wsgi.input"] = io.BytesIO(b"one\ntwo\nthree\n")
    environ.pop("CONTENT_LENGTH", None)
    if length is not None:
        environ["CONTENT_LENGTH"] = length
    AccessLog(app, 30)(environ, lambda *_: lambda _: None).close()  # type: ignore[attr-defined]

    assert access_line(caplog)["http.request.body.bytes"] == 14


@pytest.mark.parametrize(
    ("address", "ip"),
    [("192.0.2.1", "192.0.2.1"), ("2001:db8::1", "2001:db8::1"), ("fe80::1%eth0", None), ("host", None), ("", None)],
)
def test_only_a_valid_address_is_an_ip(caplog: pytest.LogCaptureFixture, address: str, ip: str | None) -> None:
    Client(AccessLog(ok, 30)).get("/", buffered=True, environ_overrides={"REMOTE_ADDR": address})

    line = access_line(caplog)
    assert line.get("client.ip") == ip
    assert line.get("client.address", "") == address


def test_a_client_forges_no_line_and_no_field(caplog: pytest.LogCaptureFixture) -> None:
    forged = '\n{"@timestamp": "x"}", "http.response.status_code": 1, "\x00\u0085'
    headers = {"HTTP_USER_AGENT": forged, "HTTP_X_REQUEST_ID": forged, "HTTP_TRACEPARENT": forged}

    Client(AccessLog(ok, 30)).get(
        "/", buffered=True, environ_overrides={**headers, "PATH_INFO": forged, "REMOTE_ADDR": forged}
    )

    (record,) = caplog.records
    assert JsonFormatter().format(record).splitlines() == [JsonFormatter().format(record)]
    line = access_line(caplog)
    assert line["http.response.status_code"] == 200
    assert math.isclose(time.time(), record.created, abs_tol=60)


def counted(metrics: Metrics) -> dict[tuple[str, str], float]:
    """What was counted of requests: status and route -> how many."""
    return {
        (sample.labels["status"], sample.labels["route"]): sample.value
        for family in text_string_to_metric_families(metrics.exposition(None)[0].decode())
        for sample in family.samples
        if sample.name == "tfsf_http_requests_total"
    }


def test_a_request_is_counted_when_its_answer_is_closed() -> None:
    metrics = Metrics()
    answer: Any = AccessLog(ok, 30, metrics)(EnvironBuilder().get_environ(), lambda *_: lambda _: None)
    before = counted(metrics)
    answer.close()
    answer.close()

    assert (before, counted(metrics)) == ({}, {("200", "other"): 1})


def test_a_request_that_breaks_the_application_is_counted_as_a_500() -> None:
    def app(_environ: dict[str, Any], _start_response: Any) -> Iterable[bytes]:
        raise ValueError("broken")

    metrics = Metrics()
    Client(AccessLog(app, 30, metrics)).get("/", buffered=True)

    assert counted(metrics) == {("500", "other"): 1}


def test_without_access_lines_requests_are_still_counted(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "tf_serving_flask_app.access")
    metrics = Metrics()
    Client(AccessLog(ok, 30, metrics)).get("/", buffered=True)

    assert caplog.records == []
    assert counted(metrics) == {("200", "other"): 1}


def test_the_time_in_the_queue_is_a_stage(caplog: pytest.LogCaptureFixture) -> None:
    Client(AccessLog(ok, 30)).get("/", buffered=True, environ_overrides={"tf_serving.queued": time.perf_counter() - 5})

    assert 5e9 <= access_line(caplog)["model_server.queue.duration"] < 6e9
