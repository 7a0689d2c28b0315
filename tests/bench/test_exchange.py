"""One connection of the load generator: what it takes for an answer, and what it makes of a broken one."""

from __future__ import annotations

import select
import threading

import pytest

from tests.bench.tiny_server import LAST, OK, REQUEST, tiny_server
from tf_serving_flask_app.bench.exchange import CROSSED_S, Address, BrokenConnection, Exchange


def ask(exchange: Exchange, request: bytes = REQUEST) -> int:
    """Send a request and wait for its answer."""
    exchange.send(request)
    status = None
    while status is None:
        readable, writable, _ = select.select([exchange], [exchange] if exchange.sending else [], [], 10)
        assert readable or writable, "no answer"
        if writable:
            exchange.send_on()
        if readable:
            status = exchange.receive()
    return status


def statuses(address: Address, requests: int = 1) -> tuple[list[int], int]:
    """The statuses of several requests on one exchange, and how many connections it took."""
    exchange = Exchange(address)
    try:
        return [ask(exchange) for _ in range(requests)], exchange.connections
    finally:
        exchange.close()


def test_a_connection_is_kept_for_the_next_request() -> None:
    with tiny_server() as server:
        assert statuses(server.address, 3) == ([200, 200, 200], 1)
        assert server.bodies == [b"hello"] * 3


def test_a_connection_that_the_answer_closes_is_opened_anew() -> None:
    with tiny_server(lambda connection, number: LAST) as server:
        assert statuses(server.address, 3) == ([200, 200, 200], 3)


def test_an_idle_connection_that_was_closed_costs_no_request() -> None:
    with tiny_server(lambda connection, number: OK if connection or not number else None) as server:
        assert statuses(server.address, 2) == ([200, 200], 2)


def test_a_request_that_the_server_had_for_a_while_and_dropped_is_broken() -> None:
    def answer(connection: int, number: int) -> bytes | None:
        if not number:
            return OK
        threading.Event().wait(3 * CROSSED_S)
        return None

    with tiny_server(answer) as server, pytest.raises(BrokenConnection, match="closed by the server"):
        statuses(server.address, 2)


def test_a_new_connection_that_is_closed_unanswered_is_broken() -> None:
    with tiny_server(lambda connection, number: None) as server, pytest.raises(BrokenConnection, match="closed by"):
        statuses(server.address)


def test_an_answer_that_ends_early_is_broken() -> None:
    short = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\nok"
    with tiny_server(lambda connection, number: short) as server, pytest.raises(BrokenConnection, match="amid"):
        statuses(server.address)


@pytest.mark.parametrize("answer", [b"SSH-2.0 hello\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\nhello"])
def test_an_answer_whose_end_nobody_can_tell_is_broken(answer: bytes) -> None:
    with tiny_server(lambda connection, number: answer) as server, pytest.raises(BrokenConnection, match="answer"):
        statuses(server.address)


def test_an_answer_in_chunks_is_complete_with_the_last() -> None:
    chunks = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    with tiny_server(lambda connection, number: chunks) as server:
        assert statuses(server.address, 2) == ([200, 200], 1)


def test_a_status_other_than_200_is_told() -> None:
    with tiny_server(lambda connection, number: OK.replace(b"200 OK", b"503 Busy")) as server:
        assert statuses(server.address) == ([503], 1)


def test_a_request_larger_than_the_connection_holds_at_once_is_sent_whole() -> None:
    body = b"x" * 20_000_000
    with tiny_server() as server:
        exchange = Exchange(server.address)

        assert ask(exchange, REQUEST.replace(b"5", str(len(body)).encode()).replace(b"hello", body)) == 200
        assert [len(body) for body in server.bodies] == [20_000_000]
        exchange.close()


def test_where_nobody_listens_there_is_no_connection() -> None:
    with tiny_server() as server:
        address = server.address

    with pytest.raises(BrokenConnection, match="no connection"):
        statuses(address)
