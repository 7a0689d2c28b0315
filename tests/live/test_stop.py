"""Stopping: what was accepted is answered, then nothing is left."""

from __future__ import annotations

import signal
import time
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest

from tests.live.server import LiveServer, wait_until
from tf_serving_flask_app.shared_values import IN_MEMORY, PREFIX

RUNNING = 4
PREDICTION_S = 0.7


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_predictions_lets_each_be_answered_and_ends_soon_after_with_code_0(
    mode: dict[str, str], numpy_spec: Path, sig: signal.Signals
) -> None:
    running = 2 if mode.get("FLASK_WORKER_CLASS") == "sync" else RUNNING  # two processes, one request each
    with LiveServer("-s", numpy_spec, environ=mode) as server, ThreadPoolExecutor(running) as pool:
        answered_at: list[float] = []

        def predict() -> int:
            status = server.post("/predict/slow", json={"x": [PREDICTION_S]}).status_code
            answered_at.append(time.monotonic())
            return status

        predictions = [pool.submit(predict) for _ in range(running)]
        wait_until(lambda: established(server) >= running, "running predictions")
        code = server.stop(sig)
        ended_at = time.monotonic()
        wait(predictions, timeout=30)

    assert [200] * running == [prediction.result() for prediction in predictions]
    assert code == 0
    assert ended_at - max(answered_at) < 2.0


def established(server: LiveServer) -> int:
    """How many connections the server's processes have taken."""
    return sum(
        connection.status == "ESTABLISHED"
        for member in [server.main, *server.workers()]
        for connection in member.net_connections(kind="tcp")
    )


def test_a_worker_that_is_killed_is_replaced_and_serving_goes_on(numpy_spec: Path) -> None:
    with LiveServer("-s", numpy_spec, environ={"WEB_CONCURRENCY": "2"}) as server:
        wait_until(lambda: len(server.workers()) == 2, "two workers")
        victim = server.workers()[0]
        seen = len(server.lines)
        victim.kill()
        server.wait_for_line(lambda line: "Booting worker" in line, "new worker", start=seen)
        statuses = {server.post("/predict/half_plus_two", json={"x": [1.0]}).status_code for _ in range(10)}
        code = server.stop()

    assert statuses == {200}
    assert code == 0
    assert any("SIGKILL" in record["message"] for record in server.records())


def test_what_a_killed_master_leaves_is_removed_by_its_workers_and_the_next_server(
    numpy_spec: Path, tmp_path: Path
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    environ = {"WEB_CONCURRENCY": "2", "TMPDIR": str(temporary)}

    def sockets(server: LiveServer) -> list[Path]:
        names = {f"{worker.pid}.sock" for worker in server.workers()}
        folders = [temporary, Path(IN_MEMORY)]
        found = [path for folder in folders for path in folder.glob(f"{PREFIX}*/control-*/*.sock")]
        return [path for path in found if path.name in names]

    with LiveServer("-s", numpy_spec, environ=environ) as server:
        wait_until(lambda: len(sockets(server)) == 2, "two workers")
        control = sockets(server)[0].parent

        assert server.stop(signal.SIGKILL) == -signal.SIGKILL
    assert not control.exists()
    with LiveServer("-s", numpy_spec, environ=environ) as server:
        assert not control.parent.exists()
        assert server.stop() == 0
    assert list(temporary.iterdir()) == []
