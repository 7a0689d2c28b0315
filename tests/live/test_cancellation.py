"""Requests that wait: those of clients that went away are not computed, those out of time are answered in time."""

from __future__ import annotations

import json
import select
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.live.conftest import MODES
from tests.live.server import LiveServer, wait_until
from tf_serving_flask_app.context import CLIENT_LOOK_S

THREADS, QUEUE = 6, 3
MOST = 5
"""The threads of six that one of several models may have."""

SPEC = """
models:
  - {name: joined, backend: "numpy_backends:FileGate", path: joined, batching: {max_batch_size: 8}}
  - {name: single, backend: "numpy_backends:FileGate", path: single}
"""


@dataclass
class Served:
    """A server whose models wait for the test."""

    server: LiveServer
    folder: Path
    pool: ThreadPoolExecutor

    def seen(self, model: str) -> list[list[float]]:
        """What the model was called with."""
        file = self.folder / model / "seen"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def open(self, model: str) -> None:
        """Let the model answer."""
        (self.folder / model / "open").touch()

    def shut(self, model: str) -> None:
        """Have the model wait again."""
        for file in (self.folder / model).iterdir():
            file.unlink()

    def ask(self, model: str, x: float, **headers: str) -> Any:
        """Send a request in a thread."""
        return self.pool.submit(
            self.server.post, f"/v1/models/{model}:predict", json={"instances": [x]}, headers=headers
        )

    def connect(self, model: str, x: float) -> socket.socket:
        """Send a request, and wait for nothing."""
        address = urlsplit(self.server.url)
        connection = socket.create_connection((address.hostname, address.port), timeout=20)
        body = json.dumps({"instances": [x]})
        head = f"POST /v1/models/{model}:predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
        connection.sendall(f"{head}Connection: close\r\n\r\n{body}".encode())
        return connection

    def fill_queue(self, model: str, numbers: list[float]) -> list[socket.socket]:
        """Have a request for each number wait for a thread, so that the queue is full; returns the connections."""
        waiting = [self.connect(model, x) for x in numbers]

        def full() -> bool:
            probe = self.ask(model, 200, **{"X-Request-Timeout-Ms": "20"}).result()
            # The probe itself may have had the place of one of them.
            for refused in select.select(waiting, [], [], 0)[0]:
                refused.close()
                index = waiting.index(refused)
                waiting[index] = self.connect(model, numbers[index])
            return bool(probe.status_code == 503)

        wait_until(full, "full queue")
        return waiting

    def samples(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that have these labels."""
        families = text_string_to_metric_families(self.server.get("/metrics").text)
        return sum(
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def gone(self) -> list[dict[str, Any]]:
        """The access lines of clients that went away."""
        return [record for record in self.server.records() if record.get("http.response.status_code") == 499]


@pytest.fixture(scope="module", params=["eventlet", "multithreaded"])
def running(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[LiveServer, Path]]:
    """A server with two such models, and the folder of their gates."""
    folder = tmp_path_factory.mktemp("gates")
    for model in ("joined", "single"):
        (folder / model).mkdir()
    (folder / "gates.spec").write_text(SPEC)
    environ = {**MODES[request.param], "WEB_CONCURRENCY": "1", "THREADS": str(THREADS), "MAX_QUEUE": str(QUEUE)}
    with LiveServer("-s", folder / "gates.spec", environ=environ) as server:
        yield server, folder


@pytest.fixture
def served(running: tuple[LiveServer, Path]) -> Iterator[Served]:
    """The same with all gates shut."""
    server, folder = running
    with ThreadPoolExecutor(16) as pool:
        served = Served(server, folder, pool)
        served.shut("joined")
        served.shut("single")
        yield served
        served.open("joined")
        served.open("single")


def test_of_those_that_wait_for_a_busy_model_only_they_are_computed_whose_clients_are_there(served: Served) -> None:
    before = len(served.gone())
    first = served.ask("joined", 1)
    wait_until(lambda: served.seen("joined") == [[1]], "call of the model")
    clients = [served.connect("joined", x) for x in (2, 3, 4, 5)]
    wait_until(lambda: served.samples("tfsf_http_requests_in_flight") == 5, "all requests under way")
    for client in clients[1::2]:
        client.close()
    wait_until(lambda: len(served.gone()) == before + 2, "line of each client that went")
    served.open("joined")
    answers = [client.makefile("rb").read() for client in clients[::2]]
    for client in clients:
        client.close()

    assert first.result().json() == {"predictions": [2.5]}
    assert [json.loads(answer.partition(b"\r\n\r\n")[2]) for answer in answers] == [
        {"predictions": [3.0]},
        {"predictions": [4.0]},
    ]
    assert [sorted(call) for call in served.seen("joined")] == [[1], [2, 4]]
    assert {record["labels.model_name"] for record in served.gone()[before:]} == {"joined"}
    assert served.samples("tfsf_model_request_duration_seconds_count", model="joined", result="failure") >= 2
    assert served.samples("tfsf_http_requests_total", status="499") >= 2
    wait_until(lambda: served.samples("tfsf_http_requests_in_flight") == 0, "end of all requests")


def test_a_client_that_half_closes_while_it_waits_is_not_answered(served: Served) -> None:
    before = len(served.gone())
    first = served.ask("joined", 1)
    wait_until(lambda: served.seen("joined") == [[1]], "call of the model")
    with served.connect("joined", 2) as client:
        client.shutdown(socket.SHUT_WR)
        received = client.makefile("rb").read()
    served.open("joined")

    assert received == b""
    wait_until(lambda: len(served.gone()) == before + 1, "line of the client that went")
    assert first.result().status_code == 200
    assert served.seen("joined") == [[1]]


def test_a_request_is_not_begun_whose_client_goes_while_it_waits_for_a_thread(served: Served) -> None:
    before = len(served.gone())
    running = [served.ask("single", x) for x in range(1, MOST + 1)]
    wait_until(lambda: len(served.seen("single")) == MOST, "call in each thread")
    clients = served.fill_queue("single", [*range(101, 101 + QUEUE)])
    for client in clients[1:]:
        client.close()
    served.open("joined")
    assert served.ask("joined", 2).result().status_code == 200, "the other model's requests are let in"
    full = time.monotonic()
    wait_until(lambda: time.monotonic() > full + CLIENT_LOOK_S, "time to look")
    served.open("single")
    with clients[0] as client:
        answer = client.makefile("rb").read()

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert [future.result().status_code for future in running] == [200] * MOST
    wait_until(lambda: len(served.gone()) == before + QUEUE - 1, "line of each client that went")
    assert sorted(x for (x,) in served.seen("single")) == [*range(1, MOST + 1), 101]
    assert served.samples("tfsf_http_requests_total", status="499", route="refused") == QUEUE - 1


def test_a_request_out_of_time_is_answered_while_the_model_is_still_busy_and_never_computed(served: Served) -> None:
    first = served.ask("joined", 1)
    wait_until(lambda: served.seen("joined") == [[1]], "call of the model")
    late = served.ask("joined", 2, **{"X-Request-Timeout-Ms": "200"}).result()

    assert late.status_code == 504
    assert not first.done()
    served.open("joined")
    assert first.result().status_code == 200
    assert served.seen("joined") == [[1]]


def test_requests_that_pile_up_for_one_model_leave_threads_to_another(served: Served) -> None:
    piled = [served.ask("single", x) for x in range(1, MOST + 3)]
    wait_until(lambda: len(served.seen("single")) == MOST, "calls of the busy model")
    served.open("joined")

    assert [served.ask("joined", x).result().json() for x in (2, 4)] == [{"predictions": [3.0]}, {"predictions": [4.0]}]
    assert not any(future.done() for future in piled)
    assert len(served.seen("single")) == MOST
    served.open("single")
    assert [future.result().status_code for future in piled] == [200] * len(piled)


def test_a_request_out_of_time_is_answered_while_it_waits_for_a_thread(served: Served) -> None:
    busy = [served.ask("single", x) for x in range(1, MOST + 1)]
    wait_until(lambda: len(served.seen("single")) == MOST, "calls of the busy model")
    late = served.ask("single", 99, **{"X-Request-Timeout-Ms": "100"}).result()

    assert late.status_code == 504
    assert "waited for a thread" in late.json()["error"]
    assert not any(future.done() for future in busy)
    served.open("single")
    assert [future.result().status_code for future in busy] == [200] * MOST
    assert [99] not in served.seen("single")
