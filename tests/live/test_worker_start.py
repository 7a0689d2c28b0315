"""How workers start, fail, are replaced and are reloaded, with a toy application."""

from __future__ import annotations

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.live.conftest import Start
from tests.live.server import wait_until
from tests.live.toy import KINDS, body_of, connect, error_lines, failure_file, receive_answer, wait_sleeping


def test_a_worker_that_loads_obeys_a_signal_and_is_not_taken_for_hung(start: Start, tmp_path: Path) -> None:
    failure = tmp_path / "failure"
    failure.write_text("sleep")
    server = start("eventlet", ready=False, TOY_FAILURE=str(failure), GUNICORN_CMD_ARGS="--timeout 3")
    server.wait_for_line(lambda line: "loading for long" in line)
    (worker,) = server.workers()
    end = time.monotonic() + 5.0
    wait_until(lambda: time.monotonic() > end or not worker.is_running(), "time in which a hung worker is killed")
    assert server.workers() == [worker]

    began = time.monotonic()

    assert server.stop() == 0
    assert time.monotonic() - began < 10.0


def test_before_the_fork_there_is_one_thread(start: Start) -> None:
    server = start("eventlet")

    assert "INFO root: threads before the fork: 1" in server.lines


@pytest.mark.parametrize("mode", ["eventlet", "sync"])
def test_a_wrong_configuration_stops_the_first_start_with_one_line(start: Start, mode: str, tmp_path: Path) -> None:
    failure = tmp_path / "failure"
    failure.write_text("model.spec line 3: no such file")
    server = start(mode, ready=False, TOY_FAILURE=str(failure), WEB_CONCURRENCY="3")

    assert server.wait() == 2
    assert error_lines(server) == ["ERROR gunicorn.error: model.spec line 3: no such file"]
    assert server.lines[-2:] == [error_lines(server)[0], "INFO root: the end"]


def test_an_unforeseen_failure_stops_the_first_start_with_one_traceback(start: Start, tmp_path: Path) -> None:
    failure = tmp_path / "failure"
    failure.write_text("out of luck")
    server = start("eventlet", ready=False, TOY_FAILURE=str(failure), WEB_CONCURRENCY="3")

    assert server.wait() == 1
    assert error_lines(server) == ["ERROR gunicorn.error: The application failed to load: ValueError: out of luck"]
    assert sum(line == "ValueError: out of luck" for line in server.lines) == 1


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("--bogus", "GUNICORN_CMD_ARGS: unrecognized arguments: --bogus"),
        ("--threads many", "GUNICORN_CMD_ARGS: argument --threads: invalid int value: 'many'"),
        ("--threads -1", "GUNICORN_CMD_ARGS: threads=-1 cannot be used"),
        ("--preload", "preload_app is refused"),
        ("--daemon", "daemon is refused"),
        ("-k tornado", "worker_class='tornado': take one of eventlet, gevent, gthread, sync"),
        ("-c /nowhere.py", "/nowhere.py"),
    ],
)
def test_wrong_arguments_stop_the_start_with_one_line(start: Start, arguments: str, complaint: str) -> None:
    server = start("eventlet", ready=False, GUNICORN_CMD_ARGS=arguments)

    assert server.wait() == 2
    (line,) = error_lines(server)
    assert complaint in line
    assert server.lines == [line, "INFO root: the end"]


def test_arguments_win_over_the_settings(start: Start) -> None:
    server = start("eventlet", GUNICORN_CMD_ARGS="--workers 2 -k gthread")

    wait_until(lambda: len(server.workers()) == 2, "two workers", 10)
    assert any("ThreadWorker" in line for line in server.lines)


def test_a_failing_worker_does_not_stop_a_server_that_serves_and_is_tried_again(start: Start) -> None:
    server = start("eventlet", WEB_CONCURRENCY="2")
    wait_until(lambda: len({server.get("/pid").text for _ in range(8)}) == 2, "two serving workers", 20)
    failure_file(server).write_text("model.spec is gone")
    server.workers()[0].kill()
    server.wait_for_line(lambda line: "model.spec is gone. Trying again in 2 s." in line)

    assert {server.get("/echo").status_code for _ in range(8)} == {200}
    failure_file(server).unlink()
    wait_until(lambda: len({server.get("/pid").text for _ in range(8)}) == 2, "two serving workers", 20)
    assert server.stop() == 0


@pytest.mark.parametrize("mode", KINDS)
def test_a_killed_worker_is_replaced(start: Start, mode: str) -> None:
    server = start(mode)
    (victim,) = server.workers()
    victim.kill()

    assert server.get("/pid", timeout=20).text != str(victim.pid)
    assert server.stop() == 0


def test_a_reload_replaces_the_workers_and_no_request_is_lost(start: Start) -> None:
    server = start("eventlet")
    (old,) = server.workers()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(lambda: server.post("/sleep/0.5").status_code)  # an answer keeps its connection
        wait_sleeping(server, 1)
        server.process.send_signal(signal.SIGHUP)
        statuses = set()

        def replaced() -> bool:
            answer = server.get("/pid")
            statuses.add(answer.status_code)
            return answer.text != str(old.pid) and not old.is_running()

        wait_until(replaced, "replacement", 20)

    assert running.result() == 200
    assert statuses == {200}
    assert server.stop() == 0


@pytest.mark.parametrize("mode", ["eventlet", "gthread"])
def test_after_a_reload_connections_are_kept_as_long_as_was_promised(start: Start, mode: str) -> None:
    server = start(mode, GUNICORN_CMD_ARGS="--keep-alive 30")
    (old,) = server.workers()
    with connect(server) as client:
        client.sendall(b"GET /pid HTTP/1.1\r\nHost: x\r\n\r\n")
        receive_answer(client)
        server.process.send_signal(signal.SIGHUP)
        server.wait_for_line(lambda line: "drained" in line)
        end = time.monotonic() + 0.6  # twice as long as a server that stops would wait
        wait_until(lambda: time.monotonic() > end or not old.is_running(), "time in which it would have ended")
        client.sendall(b"GET /pid HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = b"".join(iter(lambda: client.recv(65536), b""))

    assert answer.startswith(b"HTTP/1.1 200")
    assert b"Connection: close" in answer
    assert body_of(answer) == str(old.pid).encode()
    wait_until(lambda: not old.is_running(), "end of the old worker", 10)
    assert server.stop() == 0


def test_a_reload_that_fails_leaves_the_old_workers_serving_and_is_tried_again(start: Start) -> None:
    server = start("eventlet", WEB_CONCURRENCY="2")
    wait_until(lambda: len({server.get("/pid").text for _ in range(8)}) == 2, "two serving workers", 20)
    old = server.workers()
    failure_file(server).write_text("model.spec is gone.")
    server.process.send_signal(signal.SIGHUP)
    server.wait_for_line(lambda line: "model.spec is gone" in line)
    serving = {server.get("/pid").text for _ in range(10)}
    failure_file(server).unlink()
    server.wait_for_line(lambda line: "The reload took" in line)
    wait_until(lambda: not any(worker.is_running() for worker in old), "replacement", 20)

    assert serving <= {str(worker.pid) for worker in old}
    assert error_lines(server)[0] == (
        "ERROR gunicorn.error: model.spec is gone. The workers from before the reload serve on. Trying again in 2 s."
    )
    assert len(server.workers()) == 2
    assert server.stop() == 0


def test_reloads_one_after_the_other_do_not_pile_up_workers(start: Start) -> None:
    server = start("eventlet")
    failure_file(server).write_text("sleep")
    for loading in range(1, 4):
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda n=loading: sum("loading for long" in line for line in server.lines) == n, "start of a worker")  # type: ignore[misc]
        wait_until(lambda: len(server.workers()) == 2, "end of the worker before")
    failure_file(server).unlink()
    server.process.send_signal(signal.SIGHUP)
    server.wait_for_line(lambda line: "The reload took" in line)

    assert error_lines(server) == []
    assert server.stop() == 0
