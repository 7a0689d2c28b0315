"""Calls wait no longer than they may, and for nobody who has gone; a window has an end."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import pytest

from tests.batching.doubling import DEADLINE_S, Doubling, batcher, begin_and_be_late, context, hold, submit, waiting, x
from tests.live.server import wait_until
from tf_serving_flask_app.batching import GONE_SEEN_S, Batcher
from tf_serving_flask_app.context import RequestContext
from tf_serving_flask_app.errors import ClientGone, DeadlineExceeded
from tf_serving_flask_app.gunicorn.presence import has_gone
from tf_serving_flask_app.tensors import Tensors


def test_a_call_whose_deadline_passes_in_the_queue_leaves_it(model: Doubling, pool: ThreadPoolExecutor) -> None:
    joined = batcher(model)
    first = hold(pool, joined, model, x(0))
    with pytest.raises(DeadlineExceeded, match="waited for the model"):
        joined.run(x(1), context(seconds=0.01))
    model.permit()
    first.result(DEADLINE_S)

    assert joined.run(x(2), context())["y"].tolist() == [4]
    assert model.batches == [[0], [2]]


def test_a_call_whose_deadline_passes_while_others_run_its_batch_gives_up(
    model: Doubling, pool: ThreadPoolExecutor
) -> None:
    leader = begin_and_be_late(pool, batcher(model), model, x(2))
    model.permit()

    assert leader.result(DEADLINE_S)["y"].tolist() == [4]
    assert model.batches == [[0], [2, 1]]


def test_the_late_are_answered_at_their_deadline_and_not_when_the_model_is_free(
    model: Doubling, pool: ThreadPoolExecutor
) -> None:
    joined = batcher(model)
    first = hold(pool, joined, model, x(0))
    requests = [context(seconds) for seconds in (0.3, 0.1, 0.2)]
    late = [pool.submit(joined.run, x(1), request) for request in requests]
    for future, request in zip(late, requests, strict=True):
        with pytest.raises(DeadlineExceeded):
            future.result(DEADLINE_S)
        assert time.monotonic() > request.deadline
    assert not first.done()
    model.permit()
    first.result(DEADLINE_S)

    assert model.batches == [[0]]


def test_a_window_is_no_longer_than_the_leaders_deadline(model: Doubling, pool: ThreadPoolExecutor) -> None:
    model.permit()
    joined = batcher(model, max_wait_ms=10_000.0)
    with pytest.raises(DeadlineExceeded, match="waited for the model"):
        joined.run(x(1), context(seconds=0.01))

    assert model.batches == []
    assert joined._line.free == 1


class Client:
    """A client's connection, and the context of the request that came by it."""

    def __init__(self) -> None:
        self.end, self.servers_end = socket.socketpair()
        self.context = RequestContext(
            "test", time.monotonic() + DEADLINE_S, client_gone=partial(has_gone, self.servers_end)
        )

    def leave(self) -> None:
        """Hang up."""
        self.end.close()


@pytest.fixture
def clients() -> Iterator[list[Client]]:
    clients = [Client() for _ in range(8)]
    yield clients
    for client in clients:
        client.end.close()
        client.servers_end.close()


def queue_up(pool: ThreadPoolExecutor, joined: Batcher, clients: list[Client]) -> list[Future[Tensors]]:
    """Have clients send 1, 2, 3..., each when the one before it waits."""
    futures = []
    for number, client in enumerate(clients, 1):
        before = waiting(joined)
        futures.append(pool.submit(joined.run, x(number), client.context))
        wait_until(lambda before=before: waiting(joined) == before + 1, "call in the queue")  # type: ignore[misc]
    return futures


def hang_up(joined: Batcher, clients: list[Client]) -> None:
    """Have clients leave, and let all calls wait until it is time to look whether theirs have."""
    for client in clients:
        client.leave()
    wait_until(lambda: all(call.due < time.monotonic() for call in list(joined._line.waiting)), "time to look")


def test_calls_whose_clients_have_gone_are_not_computed_and_end_with_the_call_before_them(
    model: Doubling, pool: ThreadPoolExecutor, clients: list[Client]
) -> None:
    joined = batcher(model)
    first = hold(pool, joined, model, x(0))
    futures = queue_up(pool, joined, clients)
    hang_up(joined, clients[1::2])
    model.permit(1)
    first.result(DEADLINE_S)
    for gone in futures[1::2]:
        with pytest.raises(ClientGone):
            gone.result(DEADLINE_S)
    assert model.entered.acquire(timeout=DEADLINE_S)
    model.permit()

    assert [future.result(DEADLINE_S)["y"].tolist() for future in futures[::2]] == [[2], [6], [10], [14]]
    assert model.batches == [[0], [1, 3, 5, 7]]


def test_where_the_client_of_the_next_leader_has_gone_the_turn_goes_on(
    model: Doubling, pool: ThreadPoolExecutor, clients: list[Client]
) -> None:
    joined = batcher(model, max_batch_size=1)
    first = hold(pool, joined, model, x(0))
    futures = queue_up(pool, joined, clients)
    hang_up(joined, clients[:-1])
    model.permit()
    first.result(DEADLINE_S)

    assert futures[-1].result(DEADLINE_S)["y"].tolist() == [16]
    assert model.batches == [[0], [8]]
    for gone in futures[:-1]:
        with pytest.raises(ClientGone):
            gone.result(DEADLINE_S)


def test_where_all_clients_have_gone_the_next_call_finds_the_model_free(
    model: Doubling, pool: ThreadPoolExecutor, clients: list[Client]
) -> None:
    joined = batcher(model)
    first = hold(pool, joined, model, x(0))
    futures = queue_up(pool, joined, clients)
    hang_up(joined, clients)
    model.permit()
    first.result(DEADLINE_S)
    for gone in futures:
        with pytest.raises(ClientGone):
            gone.result(DEADLINE_S)

    assert joined.run(x(9), context())["y"].tolist() == [18]
    assert model.batches == [[0], [9]]


def test_a_call_whose_client_goes_does_not_wait_for_the_model_to_be_free(
    model: Doubling, pool: ThreadPoolExecutor, clients: list[Client]
) -> None:
    joined = batcher(model)
    first = hold(pool, joined, model, x(0))
    (future,) = queue_up(pool, joined, clients[:1])
    hang_up(joined, clients[:1])
    with pytest.raises(ClientGone):
        future.result(DEADLINE_S)
    assert not first.done()
    assert waiting(joined) == 0
    model.permit()

    assert first.result(DEADLINE_S)["y"].tolist() == [0]


def test_an_answer_that_is_being_computed_is_given_whoever_is_there(
    model: Doubling, pool: ThreadPoolExecutor, clients: list[Client]
) -> None:
    joined = batcher(model)
    first = hold(pool, joined, model, x(0))
    futures = queue_up(pool, joined, clients[:2])
    model.permit(1)
    first.result(DEADLINE_S)
    assert model.entered.acquire(timeout=DEADLINE_S)
    for client in clients[:2]:
        client.leave()
    with pytest.raises(TimeoutError):
        futures[1].result(GONE_SEEN_S * 1.2)
    model.permit()

    assert [future.result(DEADLINE_S)["y"].tolist() for future in futures] == [[2], [4]]


def test_a_window_waits_for_company_no_longer_than_it_is_long(model: Doubling, pool: ThreadPoolExecutor) -> None:
    model.permit()
    joined = batcher(model, max_batch_size=2, max_wait_ms=10_000.0)
    futures = [pool.submit(joined.run, x(value), context()) for value in (1, 2)]

    assert sorted(future.result(DEADLINE_S / 2)["y"].tolist() for future in futures) == [[2], [4]]
    assert [sorted(batch) for batch in model.batches] == [[1, 2]]
    assert batcher(model, max_wait_ms=1.0).run(x(3), context())["y"].tolist() == [6]


def test_a_window_ends_when_the_batch_has_as_many_rows_as_it_may(model: Doubling, pool: ThreadPoolExecutor) -> None:
    model.permit()
    joined = batcher(model, max_batch_size=4, max_wait_ms=10_000.0)
    futures = [pool.submit(joined.run, x(value, value), context()) for value in (1, 2)]

    assert sorted(future.result(DEADLINE_S / 2)["y"].tolist() for future in futures) == [[2, 2], [4, 4]]
    assert [len(batch) for batch in model.batches] == [4]


def test_a_call_that_has_waited_for_the_model_as_long_as_the_window_is_waits_no_longer(
    model: Doubling, pool: ThreadPoolExecutor
) -> None:
    joined = batcher(model, max_batch_size=2, max_wait_ms=10_000.0)
    running = [hold(pool, joined, model, x(1, 1))]
    running += submit(pool, joined, x(2), x(3, dtype="float64"))
    for call in joined._line.waiting:
        call.arrived -= 10**10
    model.permit()

    assert [future.result(DEADLINE_S / 2)["y"].tolist() for future in running] == [[2, 2], [4], [6]]
