"""Requests whose lines are known, held against gunicorn's own reading of the same bytes."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from gunicorn import http
from gunicorn.config import Config
from gunicorn.http.errors import LimitRequestHeaders
from gunicorn.http.unreader import IterUnreader
from hypothesis import given, settings
from hypothesis import strategies as st

from tf_serving_flask_app.gunicorn.request import LONGEST, MOST, KnownLines, Parser, Request, get_parser
from tf_serving_flask_app.gunicorn.workers import settled

FRIEND, STRANGER = ("127.0.0.1", 1), ("192.0.2.1", 1)

REQUEST_LINES = [
    b"GET / HTTP/1.1",
    b"POST /v1/models/m:predict HTTP/1.1",
    b"GET /a?b=c&d HTTP/1.0",
    b"GET //a/b#c HTTP/1.1",
    b"GET http://other:80/a HTTP/1.1",
    b"OPTIONS * HTTP/1.1",
    b"GET * HTTP/1.1",
    b"CONNECT a:1 HTTP/1.1",
    b"GET a:1 HTTP/1.1",
    b"PROXY /a HTTP/1.1",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2",
    b"get / HTTP/1.1",
    b"G / HTTP/1.1",
    b"GET /%zz%00 HTTP/1.1",
    b"GET /\xff HTTP/1.1",
    b"GET  / HTTP/1.1",
    b"GET /",
    b"GET / HTTP/2.0",
    b"GET / HTTP/1.1\n",
    b"GET http://[a/ HTTP/1.1",
    b"",
    b"GET /" + b"a" * LONGEST + b" HTTP/1.1",
    b"GET /" + b"a" * 5000 + b" HTTP/1.1",
]

HEADER_LINES = [
    b"Host: x",
    b"host: y",
    b"HOST:x",
    b"Content-Type: application/json",
    b"Content-Type: image/png",
    b"Content-Length: 3",
    b"Content-Length: 5",
    b"Content-Length: -1",
    b"Content-Length: x",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: gzip",
    b"Transfer-Encoding: strange",
    b"Connection: close",
    b"Connection: keep-alive",
    b"Expect: 100-continue",
    b"Expect: wonders",
    b"X-Forwarded-Proto: https",
    b"X-Forwarded-Proto: http",
    b"X-Forwarded-Ssl: on",
    b"X-Forwarded-For: 1.2.3.4",
    b"X-Forwarded-For: 5.6.7.8",
    b"Script_Name: /a",
    b"SCRIPT_NAME: /a",
    b"X_Forwarded_For: 1.2.3.4",
    b"Authorization: Bearer secret",
    b"Cookie: a=b",
    b"Accept:  */* \t",
    b"Accept: \xff",
    b"Empty:",
    b" folded",
    b"\tfolded: too",
    b"No colon",
    b": no name",
    b"Spaced : a",
    b"Sp aced: a",
    b"Name\xdf: a",
    b"A: b\0c",
    b"A: b\rc",
    b"A: b\nC: d",
    b"A: b\nContent-Length: 3",
    b"Long: " + b"a" * LONGEST,
    b"Longest: " + b"a" * 9000,
]

CONFIGURATIONS: list[dict[str, Any]] = [
    {},
    {"limit_request_fields": 3, "limit_request_field_size": 200, "limit_request_line": 100},
    {"permit_obsolete_folding": True, "strip_header_spaces": True, "casefold_http_method": True},
    {"header_map": "dangerous", "permit_unconventional_http_method": True},
    {"header_map": "refuse", "proxy_protocol": "auto", "permit_unconventional_http_version": True},
]

ATTRIBUTES = (
    "method",
    "uri",
    "path",
    "query",
    "fragment",
    "version",
    "headers",
    "trailers",
    "scheme",
    "must_close",
    "proxy_protocol_info",
    "_expected_100_continue",
)


def configuration(**values: Any) -> Any:
    cfg = Config()
    for name, value in values.items():
        cfg.set(name, value)
    return settled(cfg)


CASES = [(cfg, KnownLines(cfg)) for cfg in (configuration(**values) for values in CONFIGURATIONS)]
"""What one example taught, the next finds known."""


def reading(make: Any, cfg: Any, pieces: list[bytes], peer: Any, number: int) -> dict[str, Any]:
    """All that can be seen of a request: also its body, and what is left for the next."""
    unreader = IterUnreader(pieces)
    try:
        request = make(cfg, unreader, peer, number)
    except (Exception, StopIteration) as error:  # noqa: BLE001  # all that is raised is compared
        return {"error": (type(error), str(error))}
    seen = {name: getattr(request, name) for name in ATTRIBUTES}
    try:
        body = request.body.read()
    except Exception as error:  # noqa: BLE001  # as above
        body = type(error)
    return seen | {
        "body": (type(request.body.reader), body, request.trailers),
        "closes": request.should_close(),
        "rest": unreader.buf.getvalue() + b"".join(unreader.iter or ()),
    }


def seen_by_both(case: int, pieces: list[bytes], peer: Any = FRIEND, number: int = 2) -> tuple[Any, Any, Any]:
    """What gunicorn sees, and what we see of it at first and when its lines are known."""
    cfg, known = CASES[case]

    def ours(*args: Any) -> Request:
        return Request(*args, known=known)

    return (
        reading(http.Request, cfg, pieces, peer, number),
        reading(ours, cfg, pieces, peer, number),
        reading(ours, cfg, pieces, peer, number),
    )


@st.composite
def heads(draw: st.DrawFn) -> list[bytes]:
    """A request in pieces, as they may arrive."""
    lines = [draw(st.sampled_from(REQUEST_LINES)), *draw(st.lists(st.sampled_from(HEADER_LINES), max_size=6))]
    data = draw(st.sampled_from([b"", b"", b"", b"\r\n", b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n"]))
    data += b"\r\n".join(lines) + draw(st.sampled_from([b"\r\n\r\n", b"\r\n\r\n", b"\n\n", b"\r\n"]))
    data += draw(
        st.sampled_from([b"", b"abcdefg", b"3\r\nabc\r\n0\r\nX-Trailer: a\r\n\r\nGET", b"0\r\nHost: x\r\n\r\n"])
    )
    cut = draw(st.integers(0, len(data)) | st.none())
    return [data] if cut is None else [piece for piece in (data[:cut], data[cut:]) if piece]


@settings(max_examples=600, deadline=None)
@given(
    case=st.integers(0, len(CASES) - 1),
    pieces=heads(),
    peer=st.sampled_from([FRIEND, STRANGER, ""]),
    number=st.integers(1, 2),
)
def test_a_request_is_what_it_is_for_gunicorn(case: int, pieces: list[bytes], peer: Any, number: int) -> None:
    expected, first, again = seen_by_both(case, pieces, peer, number)

    assert first == expected
    assert again == expected


@pytest.mark.parametrize("line", REQUEST_LINES)
@pytest.mark.parametrize("case", range(len(CASES)))
def test_each_request_line_is_what_it_is_for_gunicorn(case: int, line: bytes) -> None:
    expected, first, again = seen_by_both(case, [line + b"\r\nHost: x\r\n\r\n"])

    assert first == again == expected


@pytest.mark.parametrize("line", HEADER_LINES)
@pytest.mark.parametrize("case", range(len(CASES)))
@pytest.mark.parametrize("peer", [FRIEND, STRANGER])
def test_each_header_is_what_it_is_for_gunicorn_after_known_ones(case: int, line: bytes, peer: Any) -> None:
    head = b"POST /v1/models/m:predict HTTP/1.1\r\nHost: x\r\n"
    seen_by_both(case, [head + b"Content-Length: 3\r\n\r\nabc"])
    expected, first, again = seen_by_both(case, [head + line + b"\r\nContent-Length: 3\r\n\r\nabcdef"], peer)

    assert first == again == expected


def test_a_known_request_is_not_read_by_gunicorn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = configuration()
    known = KnownLines(cfg)
    data = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
    Request(cfg, IterUnreader([data]), FRIEND, 1, known=known)
    monkeypatch.delattr(http.Request, "parse_request_line")
    monkeypatch.delattr(http.Message, "parse_headers")
    request = Request(cfg, IterUnreader([data]), STRANGER, 1, known=known)

    assert (request.method, request.path) == ("POST", "/a")
    assert request.headers == [("HOST", "x"), ("CONTENT-LENGTH", "3")]


@pytest.mark.parametrize(
    "line",
    [
        b"Expect: 100-continue",
        b"X-Forwarded-Proto: https",
        b"X_Name: a",
        b"Authorization: a",
        b"Long: " + b"a" * LONGEST,
    ],
)
def test_a_header_is_not_kept_that_is_secret_or_long_or_depends_on_its_sender(line: bytes) -> None:
    cfg = configuration(header_map="dangerous")
    known = KnownLines(cfg)
    Request(cfg, IterUnreader([b"GET / HTTP/1.1\r\nHost: x\r\n" + line + b"\r\n\r\n"]), FRIEND, 1, known=known)

    assert list(known.headers) == [b"Host: x"]


def test_what_is_remembered_is_bounded() -> None:
    cfg = configuration()
    known = KnownLines(cfg)
    for number in range(MOST + 10):
        head = b"GET /%d HTTP/1.1\r\nX-Request-Id: %d\r\n\r\n" % (number, number)
        Request(cfg, IterUnreader([head]), FRIEND, 1, known=known)

    assert len(known.headers) == len(known.request_lines) == 10


def test_known_headers_count_for_the_limit_of_headers() -> None:
    cfg = configuration(limit_request_fields=2)
    known = KnownLines(cfg)
    lines = [b"A: 1", b"B: 2", b"C: 3"]
    for line in lines:
        Request(cfg, IterUnreader([b"GET / HTTP/1.1\r\n" + line + b"\r\n\r\n"]), FRIEND, 1, known=known)
    with pytest.raises(LimitRequestHeaders):
        Request(cfg, IterUnreader([b"GET / HTTP/1.1\r\n" + b"\r\n".join(lines) + b"\r\n\r\n"]), FRIEND, 1, known=known)

    assert len(known.headers) == len(lines)


def test_requests_follow_one_another_also_where_a_body_was_left_unread() -> None:
    cfg = configuration()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"POST /%d HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc" * 3)
        parser = Parser(cfg, ours, FRIEND, KnownLines(cfg))
        bodies = [next(parser).body.read(size) for size in (3, 1, None)]

    assert bodies == [b"abc", b"a", b"abc"]


def test_no_request_follows_one_whose_body_was_broken() -> None:
    cfg = configuration()
    data = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nx\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n"
    parser = Parser(cfg, iter([data]), FRIEND, KnownLines(cfg))
    request = next(parser)
    with pytest.raises(http.errors.InvalidChunkSize):
        request.body.read()
    with pytest.raises(StopIteration):
        next(parser)


def test_another_protocol_has_the_parser_that_gunicorn_has_for_it() -> None:
    cfg = configuration(protocol="uwsgi")

    assert not isinstance(get_parser(cfg, iter([]), FRIEND, KnownLines(cfg)), Parser)
