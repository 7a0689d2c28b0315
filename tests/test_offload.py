"""The layer between gunicorn and the application, without gunicorn and without threads."""

from __future__ import annotations

import io
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from tests.live.server import wait_until
from tf_serving_flask_app.context import CLIENT_LOOK_S
from tf_serving_flask_app.gunicorn.offload import Offload
from tf_serving_flask_app.gunicorn.refusal import Refusal
from tf_serving_flask_app.gunicorn.turns import Turns

MAX = 100


def direct(work: Callable[[], list[bytes]], environ: dict[str, Any]) -> list[bytes]:
    return work()


def forbidden(_work: Callable[[], list[bytes]], environ: dict[str, Any]) -> list[bytes]:
    raise AssertionError("this request has to go another way")


def echo(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    return [environ["wsgi.input"].read()]


class Trickle(io.RawIOBase):
    """A body that arrives in pieces of any size but the one asked for, as gunicorn's never does; counts its reads."""

    def __init__(self, data: bytes, error: Exception | None = None) -> None:
        self._data = io.BytesIO(data)
        self._error = error
        self.taken = 0

    def read(self, size: int = -1) -> bytes:
        data = self._data.read(min(size, 7))
        if not data and self._error is not None:
            raise self._error
        self.taken += len(data)
        return data


class Exchange:
    """One request through an ``Offload``."""

    def __init__(self, app: Any, *, body: Trickle | None = None, path: str = "/", **options: Any) -> None:
        environ_options = options.pop("environ", {})
        arguments = {"run": direct, "run_operation": direct, "most_in_flight": 1, "max_content_length": MAX}
        arguments |= {"turns": Turns(1, 1, threading.Event, shared=True), "request_timeout_s": 30}
        self.offload = Offload(app, **{**arguments, **options})
        self.environ = {
            "REQUEST_METHOD": "POST",
            "PATH_INFO": path,
            "QUERY_STRING": "",
            "REMOTE_ADDR": "192.0.2.1",
            "wsgi.early_hints": print,
            "wsgi.input": body or Trickle(b""),
            **environ_options,
        }
        self.status = ""
        self.headers: dict[str, str] = {}

    def start_response(self, status: str, headers: list[tuple[str, str]], *_exc_info: Any) -> Any:
        self.status, self.headers = status, dict(headers)

    def run(self) -> bytes:
        client, server = socket.socketpair()
        with client, server:
            self.environ.setdefault("gunicorn.socket", server)
            return b"".join(self.offload(self.environ, self.start_response))


def announced(length: int) -> dict[str, str]:
    return {"CONTENT_LENGTH": str(length)}


CHUNKED = {"HTTP_TRANSFER_ENCODING": "chunked"}


def test_the_application_reads_a_body_of_announced_length() -> None:
    exchange = Exchange(echo, body=Trickle(b"x" * MAX), environ=announced(MAX))

    assert exchange.run() == b"x" * MAX
    assert exchange.status == "200 OK"
    assert "Connection" not in exchange.headers


def test_bytes_of_the_next_request_are_not_read() -> None:
    body = Trickle(b"this" + b"next")

    assert Exchange(echo, body=body, environ=announced(4)).run() == b"this"
    assert body.taken == 4


def test_a_chunked_body_comes_with_its_length() -> None:
    exchange = Exchange(echo, body=Trickle(b"x" * MAX), environ=CHUNKED)

    assert exchange.run() == b"x" * MAX
    assert exchange.environ["CONTENT_LENGTH"] == str(MAX)
    assert "HTTP_TRANSFER_ENCODING" not in exchange.environ


def test_without_length_and_chunks_there_is_no_body() -> None:
    body = Trickle(b"not part of this request")

    assert Exchange(echo, body=body).run() == b""
    assert body.taken == 0


def test_a_body_announced_too_large_is_not_read_and_its_length_is_left_for_the_application_to_refuse() -> None:
    body = Trickle(b"x" * 500)
    exchange = Exchange(echo, body=body, environ=announced(MAX + 1))

    assert exchange.run() == b""
    assert body.taken == 0
    assert exchange.environ["CONTENT_LENGTH"] == str(MAX + 1)
    assert exchange.headers["Connection"] == "close"


def test_a_chunked_body_that_is_too_large_is_read_one_byte_too_far() -> None:
    body = Trickle(b"x" * 500)
    exchange = Exchange(echo, body=body, environ=CHUNKED)

    exchange.run()

    assert body.taken == MAX + 1
    assert exchange.environ["CONTENT_LENGTH"] == str(MAX + 1)
    assert exchange.headers["Connection"] == "close"


@pytest.mark.parametrize(
    "body", [Trickle(b"too short"), Trickle(b"x", TimeoutError("silent")), Trickle(b"x", ConnectionResetError(104))]
)
def test_a_client_that_goes_away_is_logged_and_not_answered(body: Trickle, caplog: pytest.LogCaptureFixture) -> None:
    exchange = Exchange(forbidden, body=body, environ=announced(50), path="/upload")

    with caplog.at_level(logging.INFO), pytest.raises(ConnectionResetError):
        exchange.run()

    (record,) = caplog.records
    assert record.name == "tf_serving_flask_app.access"
    assert vars(record)["http.response.status_code"] == 499
    assert vars(record)["http.request.method"] == "POST"
    assert vars(record)["url.path"] == "/upload"
    assert exchange.status == ""


def test_the_connection_is_out_of_the_applications_reach_and_the_arrival_is_known() -> None:
    exchange = Exchange(echo)
    exchange.run()

    assert not {"gunicorn.socket", "wsgi.early_hints"} & exchange.environ.keys()
    assert exchange.environ["tf_serving.received"] > 0


def test_a_head_request_gets_headers_only() -> None:
    def app(_environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Length", "4")])
        return [b"body"]

    exchange = Exchange(app, environ={"REQUEST_METHOD": "HEAD"})

    assert exchange.run() == b""
    assert exchange.headers == {"Content-Length": "4"}


def test_written_and_iterated_bytes_keep_their_order() -> None:
    def app(_environ: Any, start_response: Any) -> Iterator[bytes]:
        write = start_response("200 OK", [])
        write(b"1")
        yield b"2"
        write(b"3")
        yield b"4"

    assert Exchange(app).run() == b"1234"


def test_an_error_replaces_an_answer_that_has_begun() -> None:
    def app(_environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("X-First", "yes")])
        yield b"half an ans"
        error = ValueError("late")
        start_response("500 Oops", [], (ValueError, error, None))
        yield b"sorry"

    exchange = Exchange(app)

    assert exchange.run() == b"sorry"
    assert (exchange.status, exchange.headers) == ("500 Oops", {})


def test_a_second_start_without_an_error_is_the_applications_fault() -> None:
    def app(_environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        start_response("200 OK", [])
        return []

    with pytest.raises(AssertionError, match="twice"):
        Exchange(app).run()


def test_an_application_that_does_not_start_its_response_is_at_fault() -> None:
    with pytest.raises(AssertionError, match="start_response"):
        Exchange(lambda _environ, _start: []).run()


class Closing:
    """An application's iterable that remembers whether it was closed."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self.closed = False

    def __iter__(self) -> Iterator[bytes]:
        return self._chunks

    def close(self) -> None:
        self.closed = True


def failing() -> Iterator[bytes]:
    yield b"first"
    raise ValueError("second")


def test_the_iterable_is_closed() -> None:
    chunks = Closing([b"all"])

    assert Exchange(lambda _environ, start: (start("200 OK", []), chunks)[1]).run() == b"all"
    assert chunks.closed


def test_the_iterable_is_closed_also_when_it_fails() -> None:
    chunks = Closing(failing())

    with pytest.raises(ValueError, match="second"):
        Exchange(lambda _environ, start: (start("200 OK", []), chunks)[1]).run()
    assert chunks.closed


def test_an_application_cannot_end_the_process() -> None:
    def app(_environ: Any, _start_response: Any) -> list[bytes]:
        raise SystemExit(3)

    with pytest.raises(RuntimeError, match="end the process"):
        Exchange(app).run()


def test_a_request_too_many_is_refused_with_503_and_an_access_line(caplog: pytest.LogCaptureFixture) -> None:
    body = Trickle(b"x" * 50)
    exchange = Exchange(
        forbidden, body=body, most_in_flight=0, environ={**announced(50), "HTTP_X_REQUEST_ID": "from-client"}
    )

    with caplog.at_level(logging.INFO):
        answer = exchange.run()

    assert exchange.status == "503 Service Unavailable"
    assert exchange.headers["Retry-After"] == "1"
    assert exchange.headers["X-Request-Id"] == "from-client"
    assert exchange.headers["Content-Length"] == str(len(answer))
    assert list(json.loads(answer)) == ["error"]
    assert body.taken == 0
    (record,) = caplog.records
    assert vars(record)["http.response.status_code"] == 503


def test_the_place_of_a_request_is_free_again_after_it_also_if_it_failed() -> None:
    def app(_environ: Any, _start_response: Any) -> list[bytes]:
        raise ValueError("broken")

    exchange = Exchange(app, most_in_flight=1)
    for _ in range(3):
        with pytest.raises(ValueError, match="broken"):
            exchange.run()


def test_a_refused_request_is_told_to_who_counts_it() -> None:
    refused: list[Refusal] = []
    Exchange(echo, most_in_flight=0, on_refusal=refused.append).run()
    with pytest.raises(ConnectionResetError):
        Exchange(echo, body=Trickle(b"half"), environ=announced(8), on_refusal=refused.append).run()

    assert [(each.method, each.status) for each in refused] == [("POST", 503), ("POST", 499)]


def test_a_request_waits_from_the_moment_when_its_body_is_complete() -> None:
    body_complete: list[float] = []

    class Slow(Trickle):
        def read(self, size: int = -1) -> bytes:
            body_complete[:] = [time.perf_counter()]
            return super().read(size)

    exchange = Exchange(echo, body=Slow(b"x" * MAX), environ=announced(MAX))
    exchange.run()

    assert exchange.environ["tf_serving.received"] < body_complete[0] < exchange.environ["tf_serving.queued"]


def after_a_while(work: Callable[[], list[bytes]], environ: dict[str, Any]) -> list[bytes]:
    """Run the work when it has waited so long for a thread that somebody looks whether the client is still there."""
    began = time.perf_counter()
    wait_until(lambda: time.perf_counter() - began > CLIENT_LOOK_S, "end of the wait")
    return work()


def untouched(_environ: Any, _start_response: Any) -> list[bytes]:
    raise AssertionError("this request must not be begun")


def test_a_request_whose_client_goes_while_it_waits_for_a_thread_is_not_begun() -> None:
    client, server = socket.socketpair()
    refused: list[Refusal] = []
    with server:
        client.close()
        environ = {"gunicorn.socket": server, "HTTP_X_REQUEST_ID": "gone"}
        exchange = Exchange(untouched, run=after_a_while, on_refusal=refused.append, environ=environ)
        with pytest.raises(ConnectionResetError):
            exchange.run()

    assert [(each.status, each.request_id) for each in refused] == [(499, "gone")]


def test_what_the_application_says_to_a_client_that_has_gone_is_not_sent() -> None:
    def app(_environ: Any, start_response: Any) -> list[bytes]:
        start_response("499 Client Closed Request", [])
        return [b"{}"]

    with pytest.raises(ConnectionResetError):
        Exchange(app).run()


def test_nobody_looks_for_the_client_of_a_request_that_did_not_wait() -> None:
    client, server = socket.socketpair()
    with server:
        client.close()
        exchange = Exchange(echo, environ={"gunicorn.socket": server})
        exchange.run()

    assert exchange.status == "200 OK"


def test_a_request_that_waited_is_begun_where_its_client_has_waited_too() -> None:
    exchange = Exchange(echo, run=after_a_while)
    exchange.run()

    assert exchange.status == "200 OK"


def test_a_request_whose_turn_does_not_come_in_time_is_answered_504_and_counted() -> None:
    refused: list[Refusal] = []
    turns = Turns(1, 1, threading.Event, shared=True)
    assert turns.take("a busy one") is None
    environ = {"HTTP_X_REQUEST_TIMEOUT_MS": "10"}
    exchange = Exchange(untouched, turns=turns, on_refusal=refused.append, environ=environ)
    answer = json.loads(exchange.run())

    assert exchange.status == "504 Gateway Timeout"
    assert "waited for a thread" in answer["error"]
    assert [each.status for each in refused] == [504]
    turns.give_back("a busy one")
    assert Exchange(echo, turns=turns).run() == b""


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
def test_operations_are_answered_when_everything_is_full(path: str) -> None:
    exchange = Exchange(echo, path=path, run=forbidden, most_in_flight=0)

    exchange.run()

    assert exchange.status == "200 OK"


@pytest.mark.parametrize("sent", ["", "two\nlines", "x" * 129, "sp ace", "ünicode"])
def test_an_unfit_request_id_is_replaced(sent: str) -> None:
    exchange = Exchange(echo, most_in_flight=0, environ={"HTTP_X_REQUEST_ID": sent})
    exchange.run()

    assert len(exchange.headers["X-Request-Id"]) == 32


def test_a_refusal_can_be_sent_without_wsgi() -> None:
    head, _, body = Refusal(400, 'a "quoted"\nword').raw.partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"\r\nConnection: close" in head
    assert f"\r\nContent-Length: {len(body)}\r\n".encode() in head
    assert json.loads(body) == {"error": 'a "quoted"\nword'}
