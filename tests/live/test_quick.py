"""Quick requests in the thread of the hub, all others in threads of their own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.live.conftest import MODES
from tests.live.server import LiveServer, wait_until
from tests.live.toy import HUBS, body_of, exchange

SPEC = """
models:
  - {name: prompt, backend: "numpy_backends:Prompt", path: .}
  - {name: hooked, backend: "numpy_backends:Prompt", path: ., preprocess: "copy:copy"}
  - {name: gate, backend: "numpy_backends:FileGate", path: .}
"""
HUB = "MainThread"


@pytest.fixture(scope="module", params=HUBS)
def hub(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def folder(hub: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp(hub)


@pytest.fixture(scope="module")
def server(hub: str, folder: Path) -> Iterator[LiveServer]:
    (folder / "quick.spec").write_text(SPEC)
    with LiveServer("-s", folder / "quick.spec", environ={**MODES[hub], "WEB_CONCURRENCY": "1"}) as server:
        yield server


def predict(server: LiveServer, model: str) -> str:
    """Ask a model, check the answer, and return the name of the thread that gave it."""
    answer = server.post(f"/v1/models/{model}:predict", json={"instances": [2.0]})
    assert answer.json() == {"predictions": [3.0]}
    line = server.wait_for_line(lambda line: answer.headers["X-Request-Id"] in line, "access line")
    return str(json.loads(line)["process.thread.name"])


def wait_quick(server: LiveServer) -> None:
    """Send requests until they are known to be quick, which a busy machine may put off."""
    wait_until(lambda: predict(server, "prompt") == HUB, "request that the hub answers")


def test_a_quick_request_is_answered_by_the_hub_and_one_whose_model_may_wait_by_a_thread(server: LiveServer) -> None:
    wait_quick(server)

    assert HUB not in {predict(server, "hooked") for _ in range(3)}


def test_pipelined_quick_requests_are_answered_in_order(server: LiveServer) -> None:
    wait_quick(server)
    requests = b"".join(
        b"POST /v1/models/prompt:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 18\r\n%s\r\n" % more
        + b'{"instances":[ %d]}' % number
        for number, more in enumerate([b"", b"", b"Connection: close\r\n"])
    )

    answers = exchange(server, requests).split(b"HTTP/1.1 200 OK")[1:]

    assert [body_of(answer) for answer in answers] == [b'{"predictions":[%.1f]}' % y for y in (2.0, 2.5, 3.0)]


def test_a_quick_request_finds_a_thread_while_a_longer_one_is_in_work(server: LiveServer, folder: Path) -> None:
    wait_quick(server)
    with ThreadPoolExecutor(1) as pool:
        longer = pool.submit(predict, server, "gate")
        wait_until((folder / "seen").exists, "longer request")
        thread = predict(server, "prompt")
        (folder / "open").touch()

        assert longer.result() != HUB
    assert thread != HUB
    wait_quick(server)
