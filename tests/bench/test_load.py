"""The load generator against a real server: what it counts, and what it makes of failures."""

from __future__ import annotations

import threading

import pytest

from tests.bench.tiny_server import LAST, OK, REQUEST, tiny_server
from tf_serving_flask_app.bench.exchange import Address
from tf_serving_flask_app.bench.load import MOST_FAILURES, Answers, Load, send_load

SECONDS = 0.2


def load(address: Address, concurrency: int = 2, **options: float) -> Answers:
    return send_load(Load(address, (REQUEST,), concurrency, SECONDS, **options))


def test_every_request_of_a_closed_loop_is_answered_and_counted() -> None:
    with tiny_server() as server:
        answers = load(server.address, concurrency=3)

        assert answers.sent == len(server.bodies)
        assert answers.connections == server.connections == 3
        assert 0 < answers.sent - len(answers.latencies) <= 3  # the last ones come when the time is over
        assert not answers.failures
        assert all(0 < latency < SECONDS for latency in answers.latencies)
        assert 0 < answers.cpu_s < 2 * SECONDS


def test_what_comes_in_the_warm_up_is_sent_and_not_counted() -> None:
    with tiny_server() as server:
        answers = load(server.address, warmup_s=SECONDS)

        assert answers.sent == len(server.bodies)
        assert answers.sent > 1.2 * len(answers.latencies) > 0


def test_no_more_requests_are_under_way_than_connections() -> None:
    under_way, most, lock = 0, 0, threading.Lock()
    pause = threading.Event()

    def answer(connection: int, number: int) -> bytes:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        pause.wait(0.02)
        with lock:
            under_way -= 1
        return OK

    with tiny_server(answer) as server:
        answers = load(server.address, concurrency=4)

        assert most == 4
        assert min(answers.latencies) >= 0.02


def test_requests_are_sent_in_turn() -> None:
    with tiny_server() as server:
        first, second = REQUEST, REQUEST.replace(b"hello", b"world")
        send_load(Load(server.address, (first, second), 1, SECONDS))

        assert server.bodies[:4] == [b"hello", b"world", b"hello", b"world"]


def test_an_open_loop_sends_at_its_rate_and_not_faster() -> None:
    with tiny_server() as server:
        answers = load(server.address, concurrency=4, rate=100.0)

        assert 10 <= answers.sent <= 20
        assert not answers.failures


def test_in_an_open_loop_the_wait_for_a_connection_counts() -> None:
    pause = threading.Event()

    def answer(connection: int, number: int) -> bytes:
        pause.wait(0.02)
        return OK

    with tiny_server(answer) as server:  # one connection can do 50 a second
        answers = load(server.address, concurrency=1, rate=200.0)

        assert answers.latencies[-1] > 3 * answers.latencies[0]


def test_a_server_that_closes_each_connection_politely_fails_nothing() -> None:
    with tiny_server(lambda connection, number: LAST) as server:
        answers = load(server.address)

        assert not answers.failures
        assert answers.connections == answers.sent == len(server.bodies)


def test_a_server_that_closes_idle_connections_fails_nothing_in_an_open_loop() -> None:
    with tiny_server(lambda connection, number: None if number else OK) as server:
        answers = load(server.address, rate=100.0)

        assert not answers.failures
        assert len(answers.latencies) > 10


def test_answers_that_are_not_200_are_failures_and_no_latencies() -> None:
    busy = OK.replace(b"200 OK", b"503 Busy")
    with tiny_server(lambda connection, number: busy if number % 2 else OK) as server:
        answers = load(server.address, rate=100.0)

        assert set(answers.failures) == {"HTTP 503"}
        assert len(answers.latencies) + answers.failures["HTTP 503"] == answers.sent


@pytest.mark.parametrize("listens", [True, False])
def test_a_load_of_failures_ends_before_its_time(listens: bool) -> None:
    with tiny_server(lambda connection, number: None) as server:
        if not listens:
            server.close()
        answers = send_load(Load(server.address, (REQUEST,), 2, 60.0))

        # Both connections may fail before it is looked at.
        assert MOST_FAILURES <= sum(answers.failures.values()) <= MOST_FAILURES + 1
        assert not answers.latencies


def test_an_answer_that_does_not_come_is_not_waited_for_longer_than_said() -> None:
    hold = threading.Event()

    def answer(connection: int, number: int) -> bytes:
        hold.wait(10)
        return OK

    with tiny_server(answer) as server:
        answers = load(server.address, patience_s=0.1)
        hold.set()

        assert answers.failures == {"no answer in time": 2}
