"""How an answer is written, with gunicorn's own request and response, without a server."""

from __future__ import annotations

import socket
from functools import partial
from typing import Any

import pytest
from gunicorn import http
from gunicorn.config import Config
from gunicorn.http.errors import InvalidResponseHeader, InvalidResponseHeaderName
from gunicorn.http.wsgi import Response

from tf_serving_flask_app.gunicorn.answer import SMALL, Answer, Pieces


def response_to(request: bytes) -> Any:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(request)
        return Response(next(http.get_parser(Config(), ours, ("127.0.0.1", 1))), ours, Config())


def encode(answer: Answer, request: bytes = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n") -> list[bytes]:
    return answer.encode(response_to(request))


def written_by_gunicorn(answer: Answer, response: Any) -> bytes:
    """The same answer through all of gunicorn's ``Response``, told the length as it would else write chunks."""
    response.sock = Pieces()
    body = b"".join(answer.chunks)
    response.start_response(answer.status, answer.headers)
    if response.chunked:
        response.chunked, response.response_length = False, len(body)
        response.headers.append(("Content-Length", str(len(body))))
    if body and response.req.method != "HEAD":
        response.write(body)
    response.close()
    return b"".join(response.sock)


@pytest.mark.parametrize(
    "request_head",
    [b"GET / HTTP/1.1", b"HEAD / HTTP/1.1", b"GET / HTTP/1.0", b"GET / HTTP/1.1\r\nConnection: close"],
)
@pytest.mark.parametrize("status", ["200 OK", "204 No Content", "304 Not Modified", "404 ", "500"])
@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("Content-Length", "8")],
        [("content-length", " 3 ")],
        [("Content-Length", "9"), ("X-A", "1"), ("X-A", " 2\t"), ("X-Latin", "\xe9")],
        [("Connection", "keep-alive"), ("Date", "x"), ("Server", "y"), ("Transfer-Encoding", "chunked")],
        [("Connection", "upgrade"), ("Upgrade", "websocket")],
        [("Upgrade", "h2c")],
    ],
)
@pytest.mark.parametrize("chunks", [[], [b"four", b"four"]])
def test_an_answer_is_byte_for_byte_what_gunicorn_writes(
    monkeypatch: pytest.MonkeyPatch,
    request_head: bytes,
    status: str,
    headers: list[tuple[str, str]],
    chunks: list[bytes],
) -> None:
    monkeypatch.setattr("time.time", lambda: 1795311497.9)
    request = request_head + b"\r\nHost: x\r\n\r\n"
    answer = Answer(status, headers, chunks)
    ours, theirs = response_to(request), response_to(request)
    written = b"".join(answer.encode(ours))

    assert written == written_by_gunicorn(answer, theirs)
    assert (ours.sent, ours.headers_sent, ours.should_close()) == (theirs.sent, True, theirs.should_close())


def test_each_second_has_its_date(monkeypatch: pytest.MonkeyPatch) -> None:
    dates = []
    for second in (0.0, 0.99, 1.0):
        monkeypatch.setattr("time.time", partial(float, second))
        (data,) = encode(Answer("200 OK", [], []))
        dates += [line[-12:] for line in data.split(b"\r\n") if line.startswith(b"Date: ")]

    assert dates == [b"00:00:00 GMT", b"00:00:00 GMT", b"00:00:01 GMT"]


def test_header_and_body_are_one_piece() -> None:
    (data,) = encode(Answer("200 OK", [("Content-Length", "6")], [b"one", b"two"]))

    assert data.startswith(b"HTTP/1.1 200 OK\r\n")
    assert data.endswith(b"\r\nContent-Length: 6\r\n\r\nonetwo")
    assert b"\r\nDate: " in data


def test_a_large_body_is_not_copied() -> None:
    body = b"x" * (SMALL + 1)

    assert encode(Answer("200 OK", [("Content-Length", str(len(body)))], [body]))[1] is body


@pytest.mark.parametrize("chunks", [[], [b"one"], [b"one", b"two"]])
def test_the_length_is_told_also_where_the_application_did_not(chunks: list[bytes]) -> None:
    response = response_to(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    (data,) = Answer("200 OK", [], chunks).encode(response)
    body = b"".join(chunks)

    assert data.endswith(b"\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    assert b"chunked" not in data
    assert not response.should_close()


@pytest.mark.parametrize(
    ("request_line", "status"), [(b"HEAD", "200 OK"), (b"GET", "204 No Content"), (b"GET", "304 Not Modified")]
)
def test_where_there_may_be_no_body_there_is_none(request_line: bytes, status: str) -> None:
    chunks = [] if status.startswith("20") else [b"four"]
    answer = Answer(status, [("Content-Length", "4")], [b"four"] if request_line == b"HEAD" else chunks)
    (data,) = encode(answer, request_line + b" / HTTP/1.1\r\nHost: x\r\n\r\n")

    assert data.endswith(b"\r\n\r\n")
    assert (b"Content-Length" in data) is not status.startswith("204")


@pytest.mark.parametrize(
    ("header", "error"),
    [
        (("X-A", "1\r\nSet-Cookie: stolen"), InvalidResponseHeader),
        (("X-A", "1\n\n<script>"), InvalidResponseHeader),
        (("X-A: 1\r\nX-B", "2"), InvalidResponseHeaderName),
    ],
)
def test_a_header_that_would_be_two_is_refused_and_there_can_be_another_answer(
    header: tuple[str, str], error: type[Exception]
) -> None:
    response = response_to(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    with pytest.raises(error):
        Answer("200 OK", [header], [b"body"]).encode(response)

    assert not response.headers_sent
    assert isinstance(response.sock, socket.socket)


def test_a_body_that_is_no_bytes_leaves_room_for_another_answer() -> None:
    response = response_to(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    with pytest.raises(TypeError):
        Answer("200 OK", [], ["text"]).encode(response)  # type: ignore[list-item]

    assert not response.headers_sent


@pytest.mark.parametrize(("value", "expected"), [("close", True), ("Close", True), ("keep-alive", False)])
def test_an_answer_may_ask_for_the_end_of_its_connection(value: str, expected: bool) -> None:
    assert Answer("200 OK", [("connection", value)]).closes is expected
