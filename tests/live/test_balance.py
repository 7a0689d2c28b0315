"""Even workers: kept connections spread over two of them, at the start and after one was replaced."""

from __future__ import annotations

import json
import statistics
import time
from collections import Counter
from collections.abc import Iterator

import psutil
import pytest

from tests.live.clients import Load
from tests.live.conftest import MODES
from tests.live.server import LiveServer, wait_until

SPEC = """
models:
  - {name: busy, backend: "numpy_backends:Busy", path: .}
  - {name: slow, backend: "numpy_backends:Slow", path: .}
"""

LOADS = 3
"""How often sixteen connections are opened: what else the machine does for a moment may slow one worker down."""

LATEST = 200
"""Answers at which one looks for the share of each worker."""


@pytest.fixture(scope="module", params=["eventlet", "gevent", "gthread"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """Two workers that both serve."""
    spec = tmp_path_factory.mktemp("balance") / "numpy.spec"
    spec.write_text(SPEC)
    with LiveServer("-s", spec, environ=MODES[request.param]) as running:
        with load(running, "slow", 0.01).running():
            wait_until(lambda: len(answers(running)) == 2, "answers of both workers")
        yield running


def load(server: LiveServer, model: str, seconds: float) -> Load:
    """Clients of a model that takes so long; version 0 is any answer."""
    return Load(f"{server.url}/predict/{model}", {"x": [seconds]}, lambda _: 0)


def answers(server: LiveServer, start: int = 0) -> Counter[int]:
    """How many predictions each worker has answered, by process id, as the access log tells from a line on."""
    records = [json.loads(line) for line in server.lines[start:] if "/predict/" in line]
    return Counter(record["process.pid"] for record in records)


def least_share(counts: Counter[int]) -> float:
    """The share of the less busy one of two workers."""
    return min(counts.values()) / counts.total() if len(counts) == 2 else 0.0


@pytest.mark.parametrize(("model", "seconds"), [("busy", 0.004), ("slow", 0.05)])
def test_sixteen_connections_opened_at_once_spread_over_both_workers(
    server: LiveServer, model: str, seconds: float
) -> None:
    shares = []
    for _ in range(LOADS):
        start = len(server.lines)
        clients = load(server, model, seconds)
        with clients.running():
            clients.wait_for(0, LATEST)
        shares.append(least_share(answers(server, start)))
        assert clients.faults == []

    assert statistics.median(shares) >= 0.4


def test_while_a_worker_hangs_the_other_one_takes_all_new_connections(server: LiveServer) -> None:
    hung, other = server.workers()
    start = len(server.lines)
    clients = load(server, "slow", 0.01)
    hung.suspend()
    try:
        wait_until(lambda: hung.status() == psutil.STATUS_STOPPED, "stopped worker")
        began = time.monotonic()
        with clients.running():
            clients.wait_for(0, 100)
            took = time.monotonic() - began
    finally:
        hung.resume()

    assert clients.faults == []
    assert answers(server, start).keys() == {other.pid}
    assert took < 5.0


def test_after_a_worker_was_replaced_the_new_one_soon_gets_its_part_and_no_request_fails(server: LiveServer) -> None:
    clients = load(server, "slow", 0.03)
    with clients.running():
        clients.wait_for(0, 50)
        old = server.workers()[0]
        start = len(server.lines)
        old.terminate()
        wait_until(lambda: not old.is_running() or answers(server, start).keys() - {old.pid}, "end of the old worker")
        server.wait_for_line(lambda line: "Booting worker" in line, "new worker", start)
        (new,) = {worker.pid for worker in server.workers()} - answers(server).keys()
        wait_until(lambda: new in answers(server, start), "answer of the new worker")
        before = clients.versions[0]

        def is_even() -> bool:
            counts = answers(server, max(start, len(server.lines) - LATEST))
            return new in counts and least_share(counts) >= 0.3

        wait_until(is_even, "new worker that answers its part", 15)
        needed = clients.versions[0] - before

    assert clients.faults == []
    assert needed < 2000
