"""Of calls that are joined, only those fail that must, and nobody waits for them."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.batching.doubling import DEADLINE_S, Doubling, batcher, begin_and_be_late, context, hold, submit, x
from tf_serving_flask_app.batching import Batcher, batch_sizes
from tf_serving_flask_app.errors import InvalidInput
from tf_serving_flask_app.tensors import Tensors


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
    bad = begin_and_be_late(pool, joined, model, x(-1))
    model.permit()
    with pytest.raises(InvalidInput):
        bad.result(DEADLINE_S)

    assert joined.run(x(2), context())["y"].tolist() == [4]
    assert model.batches == [[0], [-1, 1], [-1], [2]]


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
