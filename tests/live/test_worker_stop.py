"""How the four kinds of worker stop: what was accepted is answered, and there is an end to waiting."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.live.conftest import GUNICORN, Start
from tests.live.server import LiveServer, wait_until
from tests.live.toy import CONCURRENT, KINDS, address, connect, error_lines, receive_answer, wait_sleeping


@pytest.mark.parametrize(("sig", "to_group"), [(signal.SIGTERM, False), (signal.SIGINT, True)])
@pytest.mark.parametrize("mode", GUNICORN)
def test_stopping_answers_what_runs_and_what_waits_in_the_kernel(
    start: Start, mode: str, sig: signal.Signals, to_group: bool
) -> None:
    running = 1 if mode == "sync" else 8
    server = start(mode)
    server.workers()
    ended: list[float] = []

    def request() -> int:
        status = server.post("/sleep/0.5").status_code
        ended.append(time.monotonic())
        return status

    with ThreadPoolExecutor(running + 1) as pool, ExitStack() as stack:
        if mode != "sync":  # it would serve nobody else while it waits for a first byte
            stack.enter_context(connect(server))
        requests = [pool.submit(request) for _ in range(running)]
        wait_sleeping(server, running)
        before = established(server)
        requests.append(pool.submit(request))
        wait_until(lambda: established(server) > before, "last connection", 10)
        if to_group:
            os.killpg(server.process.pid, sig)
        else:
            server.process.send_signal(sig)
        code = server.wait()
        stopped = time.monotonic()

    assert [each.result() for each in requests] == [200] * (running + 1)
    assert code == 0
    assert stopped - max(ended) < 2.0
    assert server.lines[-1] == "INFO root: the end"
    assert not error_lines(server)


def established(server: LiveServer) -> int:
    """How many clients the kernel has connected, accepted by the server or not."""
    port = f"{address(server)[1]:04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[1].endswith(port) and row[3] == "01" for row in rows)


@pytest.mark.parametrize("mode", CONCURRENT)
def test_a_request_that_comes_on_a_kept_connection_while_stopping_is_answered(start: Start, mode: str) -> None:
    server = start(mode, GUNICORN_CMD_ARGS="--keep-alive 30")
    server.workers()
    with connect(server) as client:
        client.sendall(b"GET /pid HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"Connection: keep-alive" in receive_answer(client)

        server.process.send_signal(signal.SIGTERM)
        server.wait_for_line(lambda line: "drained" in line)
        client.sendall(b"GET /pid HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = b"".join(iter(lambda: client.recv(65536), b""))

    assert answer.startswith(b"HTTP/1.1 200")
    assert b"Connection: close" in answer
    assert server.wait() == 0


@pytest.mark.parametrize(
    ("mode", "signals"),
    [*((mode, [signal.SIGQUIT]) for mode in KINDS), ("eventlet", [signal.SIGINT, signal.SIGINT])],
)
def test_a_quick_stop_waits_for_nobody(start: Start, mode: str, signals: list[signal.Signals]) -> None:
    server = start(mode)
    server.workers()
    with ThreadPoolExecutor(1) as pool:
        request = pool.submit(server.post, "/sleep/20.0")
        wait_sleeping(server, 1)
        began = time.monotonic()
        for number, sig in enumerate(signals):
            if number:
                server.wait_for_line(lambda line: "Handling signal" in line)
            server.process.send_signal(sig)
        code = server.wait()

    assert time.monotonic() - began < 10.0
    assert code == 0
    assert request.exception() is not None


def test_the_grace_has_an_end(start: Start) -> None:
    server = start("eventlet", GUNICORN_CMD_ARGS="--graceful-timeout 1")
    server.workers()
    with ThreadPoolExecutor(1) as pool:
        request = pool.submit(server.post, "/sleep/20.0")
        wait_sleeping(server, 1)
        began = time.monotonic()
        code = server.stop()

    assert 0.9 < time.monotonic() - began < 10.0
    assert code == 0
    assert request.exception() is not None
