"""In front of a model server: answers as local ones, and a model server that comes, goes and returns."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import urllib3
import yaml

from tests.live.conftest import MODES
from tests.live.server import LiveServer, wait_until
from tests.pictures import picture
from tests.tf_serving_server import CAPACITY, ModelServer

pytestmark = pytest.mark.tensorflow

MakeServer = Callable[..., ModelServer]
WriteSpec = Callable[..., Path]
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def gateway_spec(tmp_path: Path) -> WriteSpec:
    """Write a spec of models, each given as its fields."""

    def write(**models: dict[str, Any]) -> Path:
        path = tmp_path / "gateway.spec"
        path.write_text(yaml.safe_dump({"models": [{"name": name, **fields} for name, fields in models.items()]}))
        return path

    return write


def remote(*servers: ModelServer, **fields: Any) -> dict[str, Any]:
    return {"backend": "tf_serving", "targets": [server.target for server in servers], **fields}


class Load:
    """Clients that send one request after the other until told to stop, and note when each was answered how."""

    def __init__(self, url: str, clients: int) -> None:
        self._url = url
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._send) for _ in range(clients)]
        self._pool = urllib3.PoolManager(maxsize=clients, retries=False)
        self.answers: list[tuple[float, int]] = []

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _send(self) -> None:
        while not self._over.is_set():
            try:
                response = self._pool.request("POST", self._url, json={"x": [1.0]}, timeout=10)
                status = response.status
            except urllib3.exceptions.HTTPError:
                status = 0
            self.answers.append((time.monotonic(), status))
            # Refusals come back at once; without a pause they would take the processor from everybody.
            self._over.wait(0.01)

    def count(self, since: float = 0.0) -> Counter[int]:
        """How many of each status there were since a moment."""
        return Counter(status for when, status in list(self.answers) if when >= since)


def test_a_remote_model_answers_as_the_same_model_does_here(
    model_server: MakeServer, remote_models: dict[str, Path], gateway_spec: WriteSpec
) -> None:
    server = model_server()
    classifier = {"task": "classification", "labels": ["red", "green", "blue"], "image": {"scale": "unit"}}
    spec = gateway_spec(
        half=remote(server),
        rest={**remote(server), "targets": [server.rest_target], "remote_model": "half"},
        here={"backend": "saved_model", "path": str(remote_models["half"])},
        colors=remote(server, **classifier),
        colors_here={"backend": "saved_model", "path": str(remote_models["colors"]), **classifier},
    )
    with LiveServer("-s", spec, environ={"WEB_CONCURRENCY": "2"}) as gateway:
        body = {"x": [1.0, -3.5, 1e20]}
        half, rest, here = (gateway.post(f"/predict/{name}", json=body).json() for name in ("half", "rest", "here"))
        colors, colors_here = (
            gateway.post("/classify", files={"file": picture("green")}, data={"modelname": name}).json()
            for name in ("colors", "colors_here")
        )
        headers = {"X-Request-Id": "my-id", "traceparent": TRACE, "X-Request-Timeout-Ms": "9000"}
        gateway.post("/predict/half", json=body, headers=headers)
        call = server.calls()[-1]
        server.behave(fail={"half": "INTERNAL"})
        failed = gateway.post("/predict/half", json=body)
        code = gateway.stop()

    assert half == rest == here
    assert colors == colors_here
    assert colors["class"] == "green"
    assert (call["metadata"]["x-request-id"], call["metadata"]["traceparent"]) == ("my-id", TRACE)
    assert 5 < call["remaining_s"] < 9.5
    assert failed.status_code == 502
    assert failed.json() == {"error": "The model server behind 'half' failed or cannot be reached; try again later."}
    assert any("INTERNAL: told to fail" in record["message"] for record in gateway.records())
    assert code == 0


def test_the_server_starts_without_the_model_server_and_is_ready_when_that_comes(
    model_server: MakeServer, gateway_spec: WriteSpec
) -> None:
    server = model_server()
    server.kill()
    host, _, port = server.target.partition(":")
    environ = {"APP_TFSERVING_HOST": host, "APP_TFSERVING_PORT": port, "WEB_CONCURRENCY": "1"}
    gateway = LiveServer("-s", gateway_spec(half={"backend": "tf_serving"}), environ=environ)
    try:
        gateway.wait_up()
        before = gateway.get("/readyz")
        refused = gateway.post("/predict/half", json={"x": [1.0]})
        alive = gateway.get("/livez")
        server.behave(states={"half": "LOADING"})
        server.start()
        wait_until(lambda: gateway.get("/readyz").json()["models"] == {"half": {"latest": "LOADING"}}, "LOADING")
        server.behave(latest={"half": 1})
        wait_until(lambda: gateway.get("/readyz").status_code == 200, "readiness")
        first = gateway.post("/predict/half", json={"x": [1.0]}).json()
        server.behave()
        wait_until(lambda: gateway.get("/readyz").json()["models"] == {"half": {"2": "AVAILABLE"}}, "version 2")
        second = gateway.post("/predict/half", json={"x": [1.0]}).json()
        server.behave(states={"half": "UNLOADING"})
        wait_until(lambda: gateway.get("/readyz").status_code == 503, "the end of readiness")
        assert gateway.stop() == 0
    finally:
        gateway.kill()

    assert (before.status_code, before.json()["models"]) == (503, {"half": {"latest": "UNKNOWN"}})
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
    assert alive.status_code == 200
    assert (first["y"], second["y"]) == ([2.5], [3.5])
    warnings = [record for record in gateway.records() if "model half is not ready" in record["message"]]
    assert len(warnings) == 3, "each reason is logged once, not each second"


def test_a_model_server_that_is_killed_and_returns_costs_no_hang_and_no_error_of_ours(
    model_server: MakeServer, gateway_spec: WriteSpec
) -> None:
    server = model_server()
    server.behave(delay=0.05)
    environ = {"WEB_CONCURRENCY": "2", "REQUEST_TIMEOUT_S": "5"}
    with (
        LiveServer("-s", gateway_spec(half=remote(server)), environ=environ) as gateway,
        Load(gateway.url + "/predict/half", clients=8) as load,
    ):
        wait_until(lambda: load.count()[200] > 40, "answers")
        killed = time.monotonic()
        server.kill()
        wait_until(lambda: load.count(killed)[502] > 100, "refusals")
        wait_until(lambda: gateway.get("/readyz").status_code == 503, "the end of readiness")
        server.start()
        returned = time.monotonic()
        wait_until(lambda: load.count(returned)[200], "an answer")
        first_s = time.monotonic() - returned
        wait_until(lambda: gateway.get("/readyz").status_code == 200, "readiness")
        wait_until(lambda: time.monotonic() > returned + 2, "the two seconds")
        settled = time.monotonic()
        wait_until(lambda: load.count(settled).total() > 100, "answers")

    assert load.count().keys() <= {200, 502, 504}
    assert first_s < 2
    assert load.count(settled + 0.2).keys() == {200}


def test_of_two_model_servers_one_may_die_without_a_failed_request_after_the_first_second(
    model_server: MakeServer, gateway_spec: WriteSpec
) -> None:
    servers = [model_server(), model_server()]
    for server in servers:
        server.behave(delay=0.02)
    with (
        LiveServer("-s", gateway_spec(half=remote(*servers)), environ={"WEB_CONCURRENCY": "2"}) as gateway,
        Load(gateway.url + "/predict/half", clients=8) as load,
    ):
        wait_until(lambda: all(len(server.calls()) > 20 for server in servers), "calls to both")
        servers[0].stop()
        stopped = load.count()
        servers[0].start()
        seen = len(servers[0].calls())
        wait_until(lambda: len(servers[0].calls()) > seen + 20, "calls to the one that returned")
        killed = time.monotonic()
        servers[0].kill()
        wait_until(lambda: load.count(killed + 1).total() > 150, "answers")
        ready = gateway.get("/readyz")

    assert stopped.keys() == {200}, "a server that stops as it is asked to costs nothing"
    assert load.count(killed + 1).keys() == {200}
    assert load.count().keys() <= {200, 502}
    assert ready.status_code == 200


@pytest.mark.parametrize("mode", ["eventlet", "gthread"])
def test_32_requests_at_once_wait_for_a_slow_model_server_side_by_side(
    model_server: MakeServer, gateway_spec: WriteSpec, mode: str
) -> None:
    """How near to the model server's own throughput this comes is measured by ``tests/benchmarks/gateway.py``."""
    server = model_server()
    with (
        LiveServer("-s", gateway_spec(half=remote(server)), environ=MODES[mode]) as gateway,
        urllib3.PoolManager(maxsize=CAPACITY, retries=False) as http,
        ThreadPoolExecutor(CAPACITY) as clients,
    ):

        def ask(_: int) -> int:
            return http.request("POST", gateway.url + "/predict/half", json={"x": [1.0]}, timeout=20).status

        assert set(clients.map(ask, range(CAPACITY))) == {200}
        server.behave(delay=0.5)
        began = time.perf_counter()
        statuses = set(clients.map(ask, range(CAPACITY)))
        taken_s = time.perf_counter() - began

    assert statuses == {200}
    assert taken_s < 1.5, "all at once: 0.5 s, in two halves 1 s"
