"""How an answer is written, with gunicorn's own request and response, without a server."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from gunicorn import http
from gunicorn.config import Config
from gunicorn.http.errors import InvalidResponseHeader, InvalidResponseHeaderName
from gunicorn.http.wsgi import Response

from tf_serving_flask_app.gunicorn.answer import SMALL, Answer


def response_to(request: bytes) -> Any:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(request)
        return Response(next(http.get_parser(Config(), ours, ("127.0.0.1", 1))), ours, Config())


def encode(answer: Answer, request: bytes = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n") -> list[bytes]:
    return answer.encode(response_to(request))


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
