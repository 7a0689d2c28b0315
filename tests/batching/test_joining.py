"""Calls that wait together are joined and get their own share back; nobody waits for company."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.batching.doubling import DEADLINE_S, Doubling, batcher, context, hold, submit, waiting, x
from tests.live.server import wait_until
from tf_serving_flask_app.batching import Batcher, batch_sizes
from tf_serving_flask_app.calls import Line
from tf_serving_flask_app.errors import DeadlineExceeded, InvalidInput
from tf_serving_flask_app.tensors import Tensors


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
