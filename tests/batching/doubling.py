"""A model that waits for the test, and calls of it."""

from __future__ import annotations

import math
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from tests.live.server import wait_until
from tf_serving_flask_app.batching import Batcher, batch_sizes
from tf_serving_flask_app.calls import Line
from tf_serving_flask_app.context import RequestContext
from tf_serving_flask_app.errors import DeadlineExceeded, InvalidInput
from tf_serving_flask_app.tensors import Array, Tensors

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


def begin_and_be_late(pool: ThreadPoolExecutor, joined: Batcher, model: Doubling, leader: Tensors) -> Future[Tensors]:
    """Have the model work on a batch of two calls, the second of which runs out of time then; returns the first."""
    first = hold(pool, joined, model, x(0))
    (leads,) = submit(pool, joined, leader)
    request = context()
    late = pool.submit(joined.run, x(1), request)
    wait_until(lambda: waiting(joined) == 2, "both in the queue")
    model.permit(1)
    first.result(DEADLINE_S)
    assert model.entered.acquire(timeout=DEADLINE_S)
    request.deadline = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        late.result(DEADLINE_S)
    return leads
