"""How many tensors a second each protocol takes in, of a picture's size, for a model that does nothing.

Run it with ``.venv/bin/python -m tests.benchmarks.protocols``; interleaved rounds, medians. One worker serves, and the
client is a process of its own, so that each has a core where there are two. The ratios to hold: binary at least 8 times
as fast as JSON, and JSON at least 3 times as fast as in a bare Flask route.
"""

from __future__ import annotations

import json
import multiprocessing
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from tests.live.server import LiveServer

ROUNDS = 7
ROUND_S = 1.5
CONNECTIONS = 2
"""One request is on its way while another is worked on."""

SHAPE = (1, 299, 299, 3)
SPEC = """
models:
  - {name: swallow, backend: "numpy_backends:Swallow", path: ., inputs: {image: {shape: [-1, 299, 299, 3]}}}
"""
MODES = {
    "eventlet": {"WEB_CONCURRENCY": "1", "FLASK_WORKER_CLASS": "eventlet"},
    "gthread": {"WEB_CONCURRENCY": "1", "FLASK_WORKER_CLASS": "gthread"},
}
BINARY, JSON, BARE = "/v2 binary", "/v1 JSON", "bare Flask route"


@dataclass(frozen=True)
class Load:
    """A request that is sent again and again."""

    address: tuple[str, int]
    request: bytes


def rate(load: Load) -> float:
    """Requests a second; runs in the client's process."""
    with ExitStack() as connections:
        sockets = [connections.enter_context(socket.create_connection(load.address)) for _ in range(CONNECTIONS)]
        answered = [0] * CONNECTIONS
        began = time.perf_counter()

        def ask(number: int) -> None:
            while time.perf_counter() < began + ROUND_S:
                exchange(sockets[number], load.request)
                answered[number] += 1

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(CONNECTIONS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(answered) / (time.perf_counter() - began)


def exchange(connection: socket.socket, request: bytes) -> None:
    """Send a request and read its answer, which must be a good one."""
    connection.sendall(request)
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += connection.recv(1 << 16)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), answer[:500]
    length = int(head.lower().partition(b"content-length:")[2].split()[0])
    while len(body) < length:
        body += connection.recv(1 << 16)


def post(url: str, path: str, body: bytes, **headers: str) -> Load:
    """Prepare a request."""
    address = urlsplit(url)
    assert address.hostname is not None
    assert address.port is not None
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return Load((address.hostname, address.port), "\r\n".join([*lines, "", ""]).encode() + body)


@contextmanager
def loads(mode: dict[str, str]) -> Iterator[dict[str, Load]]:
    """The requests, and servers that answer them."""
    tensor = np.random.default_rng(0).random(SHAPE, np.float32)
    text = json.dumps({"instances": tensor.tolist()}).encode()
    sent = {"name": "image", "shape": SHAPE, "datatype": "FP32", "parameters": {"binary_data_size": tensor.nbytes}}
    header = json.dumps({"inputs": [sent]}).encode()
    with ExitStack() as servers:
        folder = Path(servers.enter_context(tempfile.TemporaryDirectory()))
        spec = folder / "swallow.spec"
        spec.write_text(SPEC)
        server = servers.enter_context(LiveServer("-s", spec, environ=mode))
        bare = servers.enter_context(
            LiveServer(command=[sys.executable, "-m", "tests.benchmarks.bare_server"], environ=mode)
        )
        yield {
            BINARY: post(
                server.url,
                "/v2/models/swallow/infer",
                header + tensor.tobytes(),
                Content_Type="application/octet-stream",
                Inference_Header_Content_Length=str(len(header)),
            ),
            JSON: post(server.url, "/v1/models/swallow:predict", text, Content_Type="application/json"),
            BARE: post(bare.url, "/predict", text, Content_Type="application/json"),
        }


def measure(mode: dict[str, str], client: ProcessPoolExecutor) -> list[dict[str, float]]:
    """The rates of each round in one mode."""
    with loads(mode) as requests:

        def one_round() -> dict[str, float]:
            return {name: client.submit(rate, load).result() for name, load in requests.items()}

        one_round()
        return [one_round() for _ in range(ROUNDS)]


def main() -> None:
    """Print the medians and their ratios for each mode."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as client:
        for mode, environ in MODES.items():
            rounds = measure(environ, client)
            for name in (BINARY, JSON, BARE):
                print(f"{mode}: {name} {statistics.median(rates[name] for rates in rounds):.1f} requests/s")
            for name, other, least in ((BINARY, JSON, 8), (JSON, BARE, 3)):
                ratio = statistics.median(rates[name] / rates[other] for rates in rounds)
                print(f"{mode}: {name} is {ratio:.1f} times as fast as {other}; it must be {least} at least")


if __name__ == "__main__":
    main()
