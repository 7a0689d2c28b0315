"""Calls that wait together are joined and get their own share back; nobody waits for company; the bad fail alone."""

from __future__ import annotations

import itertools
import math
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import pytest

from tests.live.server import wait_until
from tf_serving_flask_app.batching import GONE_SEEN_S, Batcher, batch_sizes, can_batch, has_rows_by_themselves
from tf_serving_flask_app.calls import Line
from tf_serving_flask_app.context import RequestContext
from tf_serving_flask_app.errors import ClientGone, DeadlineExceeded, InvalidInput
from tf_serving_flask_app.gunicorn.presence import has_gone
from tf_serving_flask_app.tensors import Array, Signature, TensorInfo, Tensors

DEADLINE_S = 10.0


class Doubling:
    """y = 2 x, refusing negative x; notes its batches, and needs a permit for each call."""

    def __init__(self) -> None:
        self.batches: list[list[float]] = []
        self.entered = threading.Semaphore(0)
        self._permits = threading.Semaphore(0)

    def permit(self, calls: int = 100) -> None:
        self._permits.release(calls)

    def __call__(self, inputs: Tensors) -> Tensors:
        self.batches.append(inputs["x"].reshape(len(inputs["x"]), -1)[:, 0].tolist())
        self.entered.release()
        assert self._permits.acquire(timeout=DEADLINE_S)
        if (inputs["x"] < 0).any():
            raise InvalidInput("x must not be negative")
        return {"y": inputs["x"] * 2}


@pytest.fixture
def model() -> Doubling:
    return Doubling()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(32) as pool:
        yield pool


def batcher(model: Any, calls_at_once: int = 1, max_batch_size: int = 8, max_wait_ms: float = 0.0) -> Batcher:
    return Batcher("doubling", model, batch_sizes(max_batch_size), max_wait_ms, Line(calls_at_once))


def context(seconds: float = math.inf) -> RequestContext:
    return RequestContext("test", time.monotonic() + seconds)


def x(*values: float, dtype: str = "float32") -> dict[str, Array]:
    return {"x": np.array(values, dtype)}


def waiting(joined: Batcher) -> int:
    return len(joined._line.waiting)


def submit(pool: ThreadPoolExecutor, joined: Batcher, *calls: Tensors) -> list[Future[Tensors]]:
    """Send calls one after the other, each when the one before it waits."""
    futures = []
    for call in calls:
        before = waiting(joined)
        futures.append(pool.submit(joined.run, call, context()))
        wait_until(lambda before=before: waiting(joined) == before + 1, "call in the queue")  # type: ignore[misc]
    return futures


def hold(pool: ThreadPoolExecutor, joined: Batcher, model: Doubling, call: Tensors) -> Future[Tensors]:
    """Send a call that keeps the model busy until the gate opens."""
    future = pool.submit(joined.run, call, context())
    assert model.entered.acquire(timeout=DEADLINE_S)
    return future


def test_a_call_alone_goes_at_once_in_its_own_thread(model: Doubling) -> None:
    model.permit()
    threads: list[threading.Thread] = []

    def run(inputs: Tensors) -> Tensors:
        threads.append(threading.current_thread())
        return model(inputs)

    answer = batcher(run).run(x(1, 2), context())

    assert answer["y"].tolist() == [2.0, 4.0]
    assert threads == [threading.current_thread()]


def test_what_arrives_while_the_model_is_busy_is_the_next_batch_and_each_gets_its_own(
    model: Doubling, pool: ThreadPoolExecutor
) -> None:
    joined = batcher(model)
    first = hold(pool, joined, model, x(1))
    others = submit(pool, joined, x(2), x(3), x(4), x(5))
    model.permit()

    assert [future.result(DEADLINE_S)["y"].tolist() for future in (first, *others)] == [[2], [4], [6], [8], [10]]
    assert model.batches == [[1], [2, 3, 4, 5]]


def test_batches_have_a_size_that_was_warmed_up_and_not_more_rows_than_the_spec_allows(
    model: Doubling, pool: ThreadPoolExecutor
) -> None:
    joined = batcher(model, max_batch_size=11)
    first = hold(pool, joined, model, x(0))
    others = submit(pool, joined, *(x(value) for value in range(1, 15)))
    model.permit()
    for future in (first, *others):
        future.result(DEADLINE_S)

    assert [len(batch) for batch in model.batches] == [1, 10, 4]
    assert list(itertools.chain(*model.batches)) == list(range(15))


def test_calls_of_several_rows_join_as_wholes(model: Doubling, pool: ThreadPoolExecutor) -> None:
    joined = batcher(model, max_batch_size=8)
    first = hold(pool, joined, model, x(0))
    others = submit(pool, joined, x(1, 1, 1), x(2), x(3, 3, 3, 3))
    model.permit()

    assert [future.result(DEADLINE_S)["y"].tolist() for future in (first, *others)] == [
        [0],
        [2, 2, 2],
        [4],
        [6, 6, 6, 6],
    ]
    assert [len(batch) for batch in model.batches] == [1, 8]


def test_a_call_of_another_rank_than_the_models_joins_nobody(model: Doubling, pool: ThreadPoolExecutor) -> None:
    joined = Batcher("doubling", model, batch_sizes(8), ranks={"x": 2})
    first = hold(pool, joined, model, x(0))
    matrix = {"x": np.array([[3.0]], "float32")}
    others = submit(pool, joined, x(1), x(2), matrix, matrix)
    model.permit()
    for future in (first, *others):
        future.result(DEADLINE_S)

    assert model.batches == [[0], [1], [2], [3, 3]]


def test_calls_that_join_nobody_still_wait_in_order_and_in_time(model: Doubling, pool: ThreadPoolExecutor) -> None:
    queue = Batcher("doubling", model, [1])
    first = hold(pool, queue, model, {"x": np.zeros((1, 2), "float32")})
    late = pool.submit(queue.run, x(9), context(0.1))
    with pytest.raises(DeadlineExceeded):
        late.result(DEADLINE_S)
    others = submit(pool, queue, x(1), x(2), x(3, 3))
    model.permit()
    for future in (first, *others):
        future.result(DEADLINE_S)

    assert model.batches == [[0], [1], [2], [3, 3]]


def test_a_call_without_inputs_joins_nobody(pool: ThreadPoolExecutor) -> None:
    gate, entered, calls = threading.Event(), threading.Semaphore(0), itertools.count()

    def count(inputs: Tensors) -> Tensors:
        entered.release()
        assert gate.wait(DEADLINE_S)
        return {"count": np.array(next(calls))}

    queue = Batcher("counter", count, [1])
    first = pool.submit(queue.run, {}, context())
    assert entered.acquire(timeout=DEADLINE_S)
    others = submit(pool, queue, {}, {})
    gate.set()

    assert [int(future.result(DEADLINE_S)["count"]) for future in (first, *others)] == [0, 1, 2]


def test_a_call_larger_than_the_largest_batch_goes_alone(model: Doubling) -> None:
    model.permit()

    assert batcher(model, max_batch_size=2).run(x(1, 2, 3), context())["y"].tolist() == [2, 4, 6]


def test_only_calls_of_one_type_and_shape_join(model: Doubling, pool: ThreadPoolExecutor) -> None:
    joined = batcher(model)
    first = hold(pool, joined, model, x(0))
    wide = {"x": np.ones((1, 3), "float32")}
    others = submit(pool, joined, x(1), x(2, dtype="float64"), wide, x(4))
    model.permit()
    answers = [future.result(DEADLINE_S)["y"] for future in (first, *others)]

    assert model.batches == [[0], [1, 4], [2], [1]]
    assert [answer.shape for answer in answers] == [(1,), (1,), (1,), (1, 3), (1,)]
    assert answers[2].dtype == "float64"


@pytest.mark.parametrize("shapes", [((2,), (3,)), ((2,), ()), ((), ())])
def test_inputs_without_a_common_batch_join_nobody(
    pool: ThreadPoolExecutor, shapes: tuple[tuple[int, ...], tuple[int, ...]]
) -> None:
    seen: list[int] = []

    def run(inputs: Tensors) -> Tensors:
        seen.append(inputs["a"].size)
        return {"y": inputs["a"]}

    joined = batcher(run)
    odd = {"a": np.zeros(shapes[0], "float32"), "b": np.zeros(shapes[1], "float32")}
    futures = [pool.submit(joined.run, odd, context()) for _ in range(4)]

    assert [future.result(DEADLINE_S)["y"].shape for future in futures] == [shapes[0]] * 4
    assert seen == [odd["a"].size] * 4


def test_a_bad_call_in_a_batch_fails_alone(model: Doubling, pool: ThreadPoolExecutor) -> None:
    joined = batcher(model)
    first = hold(pool, joined, model, x(0))
    good, bad, better, best = submit(pool, joined, x(1), x(-1), x(2), x(3))
    model.permit()

    assert [future.result(DEADLINE_S)["y"].tolist() for future in (first, good, better, best)] == [[0], [2], [4], [6]]
    with pytest.raises(InvalidInput, match="negative"):
        bad.result(DEADLINE_S)


def test_the_parts_of_a_bad_batch_do_not_wait_for_those_after_them(model: Doubling, pool: ThreadPoolExecutor) -> None:
    joined = batcher(model)
    first = hold(pool, joined, model, x(0))
    bad, good, *others = submit(pool, joined, x(-1), x(1), x(2), x(3))
    model.permit(5)

    assert good.result(DEADLINE_S)["y"].tolist() == [2]
    assert not any(future.done() for future in others)
    model.permit()
    assert [future.result(DEADLINE_S)["y"].tolist() for future in (first, *others)] == [[0], [4], [6]]
    assert model.batches == [[0], [-1, 1, 2, 3], [-1, 1], [-1], [1], [2, 3]]
    with pytest.raises(InvalidInput):
        bad.result(DEADLINE_S)


def test_the_parts_of_a_bad_batch_have_sizes_that_were_warmed_up_or_are_single_calls(
    model: Doubling, pool: ThreadPoolExecutor
) -> None:
    joined = Batcher("doubling", model, batch_sizes(8, few=True))
    first = hold(pool, joined, model, x(0))
    bad, *others = submit(pool, joined, x(-1), x(1, 1, 1), x(2, 2), x(3, 3))
    model.permit()
    for future in (first, *others):
        future.result(DEADLINE_S)

    assert model.batches == [[0], [-1, 1, 1, 1, 2, 2, 3, 3], [-1, 1, 1, 1], [-1], [1, 1, 1], [2, 2, 3, 3]]
    with pytest.raises(InvalidInput):
        bad.result(DEADLINE_S)


def test_a_call_whose_deadline_passes_while_its_bad_batch_is_taken_apart_is_not_computed(
    model: Doubling, pool: ThreadPoolExecutor
) -> None:
    joined = batcher(model)
    first = hold(pool, joined, model, x(0))
    (bad,) = submit(pool, joined, x(-1))
    late = pool.submit(joined.run, x(1), context(seconds=0.2))
    wait_until(lambda: waiting(joined) == 2, "both in the queue")
    model.permit(1)
    first.result(DEADLINE_S)
    with pytest.raises(DeadlineExceeded):
        late.result(DEADLINE_S)
    model.permit()
    with pytest.raises(InvalidInput):
        bad.result(DEADLINE_S)

    assert joined.run(x(2), context())["y"].tolist() == [4]
    assert model.batches == [[0], [-1, 1], [-1], [2]]


def test_a_call_without_rows_joins_nobody(pool: ThreadPoolExecutor) -> None:
    gate, entered, seen = threading.Event(), threading.Semaphore(0), []

    def run(inputs: Tensors) -> Tensors:
        seen.append(len(inputs["x"]))
        entered.release()
        assert gate.wait(DEADLINE_S)
        return inputs

    for queue in (Batcher("numbers", run, [1]), batcher(run)):
        gate.clear()
        futures = [pool.submit(queue.run, x(1), context())]
        assert entered.acquire(timeout=DEADLINE_S)
        futures += submit(pool, queue, x(2), x(), x())
        gate.set()
        for future in futures:
            future.result(DEADLINE_S)

    assert seen == [1, 1, 0, 0] * 2


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
    joined = batcher(model)
    first = hold(pool, joined, model, x(0))
    (leader,) = submit(pool, joined, x(1))
    late = pool.submit(joined.run, x(2), context(seconds=0.3))
    wait_until(lambda: waiting(joined) == 2, "both in the queue")
    model.permit(1)
    first.result(DEADLINE_S)
    with pytest.raises(DeadlineExceeded):
        late.result(DEADLINE_S)
    model.permit()

    assert leader.result(DEADLINE_S)["y"].tolist() == [2]
    assert model.batches == [[0], [1, 2]]


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


def test_a_stream_of_one_kind_does_not_keep_a_call_of_another_or_a_larger_one_waiting(
    model: Doubling, pool: ThreadPoolExecutor
) -> None:
    joined = batcher(model, max_batch_size=2)
    stream = [hold(pool, joined, model, x(0))]
    (other,) = submit(pool, joined, x(-5, dtype="float64"))
    (oversize,) = submit(pool, joined, x(3, 3, 3))
    for _ in range(3):  # the stream: there are always two more of its kind in the queue
        stream += submit(pool, joined, x(1), x(1))
        model.permit(1)
        assert model.entered.acquire(timeout=DEADLINE_S)
    model.permit()
    for future in (*stream, oversize):
        future.result(DEADLINE_S)

    assert model.batches[:3] == [[0], [-5], [3, 3, 3]]
    with pytest.raises(InvalidInput):
        other.result(DEADLINE_S)


def test_a_model_whose_outputs_are_no_rows_is_found_out_and_served_call_by_call(
    pool: ThreadPoolExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    inside, gate, calls = threading.Semaphore(0), threading.Event(), []

    def total(inputs: Tensors) -> Tensors:
        calls.append(len(inputs["x"]))
        inside.release()
        assert gate.wait(DEADLINE_S)
        return {"y": inputs["x"].sum(keepdims=True)}

    joined = batcher(total)
    first = pool.submit(joined.run, x(1), context())
    assert inside.acquire(timeout=DEADLINE_S)
    others = submit(pool, joined, x(2), x(3))
    gate.set()

    assert [future.result(DEADLINE_S)["y"].tolist() for future in (first, *others)] == [[1], [2], [3]]
    assert calls == [1, 2, 1, 1]
    assert "max_batch_size: 1" in caplog.text


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


def test_as_many_calls_run_side_by_side_as_are_allowed(model: Doubling, pool: ThreadPoolExecutor) -> None:
    joined = batcher(model, calls_at_once=2)
    running = [hold(pool, joined, model, x(1)), hold(pool, joined, model, x(2))]
    others = submit(pool, joined, x(3), x(4))
    model.permit()

    assert [future.result(DEADLINE_S)["y"].tolist() for future in (*running, *others)] == [[2], [4], [6], [8]]
    assert sorted(model.batches[:2]) == [[1], [2]]


def test_signatures_that_run_one_after_the_other_wait_in_one_line_and_are_not_joined(
    model: Doubling, pool: ThreadPoolExecutor
) -> None:
    line = Line()
    one, other = (Batcher("doubling", model, batch_sizes(8), line=line) for _ in range(2))
    first = hold(pool, one, model, x(0))
    futures = [*submit(pool, other, x(1)), *submit(pool, one, x(2)), *submit(pool, other, x(3))]
    with pytest.raises(DeadlineExceeded, match="waited for the model"):
        other.run(x(9), context(0.05))
    assert not first.done()
    model.permit()

    assert [future.result(DEADLINE_S)["y"].tolist() for future in (first, *futures)] == [[0], [2], [4], [6]]
    assert model.batches == [[0], [1, 3], [2]]


def test_queue_and_model_are_timed_apart(model: Doubling, pool: ThreadPoolExecutor) -> None:
    joined = batcher(model)
    first = hold(pool, joined, model, x(0))
    request = context()
    second = pool.submit(joined.run, x(1), request)
    wait_until(lambda: waiting(joined) == 1, "call in the queue")
    model.permit()
    first.result(DEADLINE_S)
    second.result(DEADLINE_S)

    assert request.stages["queue"] > 0
    assert request.stages["predict"] > 0


def test_many_threads_lose_and_mix_up_nothing(pool: ThreadPoolExecutor) -> None:
    joined = batcher(lambda inputs: {"y": inputs["x"] * 2}, max_batch_size=8)
    values = range(3000)
    answers = pool.map(lambda value: joined.run(x(value), context())["y"].tolist(), values)

    assert list(answers) == [[2.0 * value] for value in values]
    assert waiting(joined) == 0


def test_sizes_are_closer_together_where_they_are_small() -> None:
    assert batch_sizes(1) == [1]
    assert batch_sizes(5) == [1, 2, 3, 4, 5]
    assert batch_sizes(33) == [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32]


def test_sizes_that_take_long_to_prepare_are_powers_of_two() -> None:
    assert batch_sizes(12, few=True) == [1, 2, 4, 8]


@pytest.mark.parametrize(
    ("takes", "gives", "joins"),
    [
        ((None, 3), (None,), True),
        ((1, 3), (1,), False),
        ((None, 3), (), False),
        (None, (None,), False),
        ((), (None,), False),
    ],
)
def test_calls_join_where_the_first_dimension_of_every_tensor_is_free(takes: Any, gives: Any, joins: bool) -> None:
    signature = Signature(
        "serving_default",
        {"x": TensorInfo("x", np.dtype("float32"), takes)},
        {"y": TensorInfo("y", np.dtype("float32"), gives)},
    )

    assert can_batch(signature) is joins


@pytest.mark.parametrize(
    ("takes", "gives", "alike"),
    [
        ((None, 3), (None, 2), True),
        ((None,), (None,), True),
        ((None,), (None, None), False),
        ((None, 3), (None, 2, None), False),
        ((None, None), (None, None), True),
        ((None, 3), None, False),
    ],
)
def test_a_free_length_in_an_answer_comes_from_values_where_none_in_the_inputs_is_free(
    takes: Any, gives: Any, alike: bool
) -> None:
    signature = Signature(
        "serving_default",
        {"x": TensorInfo("x", np.dtype("float32"), takes)},
        {"y": TensorInfo("y", np.dtype("float32"), gives)},
    )

    assert has_rows_by_themselves(signature) is alike


def test_a_signature_without_inputs_changes_state_and_is_called_once_a_call() -> None:
    output = TensorInfo("y", np.dtype("float32"), (None,))

    assert not can_batch(Signature("incr", {}, {"y": output}))
