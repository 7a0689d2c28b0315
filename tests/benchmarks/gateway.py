"""How much of a slow model server's throughput gets through the gateway, against asking the model server directly.

Run it with ``.venv/bin/python -m tests.benchmarks.gateway``; interleaved rounds, medians.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import urllib3
import yaml

from tests.live.conftest import MODES
from tests.live.server import LiveServer
from tests.tf_serving_server import CAPACITY, ModelServer, ModelServers
from tf_serving_flask_app.backends.tf_serving import TensorFlowServing
from tf_serving_flask_app.spec import ModelSpec

ROUNDS = 5
REQUESTS = 6 * CAPACITY
DELAY_S = 0.2


def seconds(work: Callable[[int], object], clients: ThreadPoolExecutor) -> float:
    """How long the requests of one round take, CAPACITY of them at once."""
    began = time.perf_counter()
    for _ in clients.map(work, range(REQUESTS)):
        pass
    return time.perf_counter() - began


def measure(mode: str, server: ModelServer, folder: Path) -> list[float]:
    """The share of each round in one mode of the gateway."""
    fields = {"name": "half", "backend": "tf_serving", "targets": [server.target]}
    spec = folder / f"{mode}.spec"
    spec.write_text(yaml.safe_dump({"models": [fields]}))
    direct = TensorFlowServing(ModelSpec.model_validate(fields))
    with (
        LiveServer("-s", spec, environ=MODES[mode]) as gateway,
        urllib3.PoolManager(maxsize=CAPACITY, retries=False) as http,
        ThreadPoolExecutor(CAPACITY) as clients,
    ):

        def ask(_: int) -> int:
            return http.request("POST", gateway.url + "/predict/half", json={"x": [1.0]}, timeout=20).status

        def ask_directly(_: int) -> object:
            return direct.run("serving_default", {"x": np.ones(1, np.float32)})

        seconds(ask, clients)
        server.behave(delay=DELAY_S)
        shares = [seconds(ask_directly, clients) / seconds(ask, clients) for _ in range(ROUNDS)]
        server.behave(delay=0)
    direct.close()
    return shares


def main() -> None:
    """Print the median share for each mode."""
    servers = ModelServers()
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            servers.ask(write=str(folder / "models"))
            models = {path.name: path for path in (folder / "models").iterdir()}
            server = ModelServer(servers, folder / "server", models).start()
            for mode in ("eventlet", "gthread"):
                share = statistics.median(measure(mode, server, folder))
                print(f"{mode}: {share:.2f} of what {CAPACITY} clients get from the model server directly")
            server.kill()
    finally:
        servers.close()


if __name__ == "__main__":
    main()
