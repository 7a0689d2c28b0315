"""The four kinds of worker and their master, with a toy application: HTTP, overload, stopping, failing."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.live.conftest import MODES
from tests.live.server import LiveServer, wait_until

GUNICORN = [name for name in MODES if name != "development"]
KINDS = [name for name in GUNICORN if name != "multithreaded"]
CONCURRENT = [name for name in GUNICORN if name != "sync"]
HUBS = ["eventlet", "gevent"]
MAX = 6 << 20

Start = Callable[..., LiveServer]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Start a toy server in a mode, with more environment if wished; all are gone at the end."""
    servers: list[LiveServer] = []

    def start_toy(mode: str, *, ready: bool = True, **environ: str) -> LiveServer:
        folder = tmp_path_factory.mktemp(mode)
        defaults = {
            "MAX_CONTENT_LENGTH": str(MAX),
            "TOY_FAILURE": str(folder / "failure"),
            "TOY_STARTED": str(folder / "started"),
        }
        server = LiveServer(
            command=[sys.executable, "-m", "tests.live.toy_server"],
            environ={**MODES[mode], "WEB_CONCURRENCY": "1", **defaults, **environ},
        )
        servers.append(server)
        return server.wait_ready() if ready else server

    yield start_toy
    for server in servers:
        server.kill()


@pytest.fixture(scope="module", params=GUNICORN)
def toy(request: pytest.FixtureRequest, start: Start) -> LiveServer:
    """A server in each mode, for tests that leave it as it was."""
    return start(request.param)


def address(server: LiveServer) -> tuple[str, int]:
    host, port = server.url.split("//")[1].split(":")
    return host, int(port)


def connect(server: LiveServer) -> socket.socket:
    return socket.create_connection(address(server), timeout=20)


def exchange(server: LiveServer, request: bytes) -> bytes:
    """Send bytes on a connection of its own and return all that comes back until the server closes."""
    with connect(server) as client:
        client.sendall(request)
        return b"".join(iter(lambda: client.recv(65536), b""))


def receive_answer(client: socket.socket) -> bytes:
    """Receive one answer of announced length from a connection that stays open."""
    answer = b""
    while len(answer.partition(b"\r\n\r\n")[2]) < int((re.findall(rb"Content-Length: (\d+)", answer) or [b"1"])[0]):
        data = client.recv(65536)
        assert data, answer
        answer += data
    return answer


def body_of(answer: bytes) -> bytes:
    return answer.partition(b"\r\n\r\n")[2]


def wait_sleeping(server: LiveServer, count: int) -> None:
    """Wait until so many requests run."""
    path = Path(server.main.environ()["TOY_STARTED"])
    wait_until(lambda: path.exists() and path.stat().st_size >= count, f"{count} running requests", 20)


def failure_file(server: LiveServer) -> Path:
    return Path(server.main.environ()["TOY_FAILURE"])


def error_lines(server: LiveServer) -> list[str]:
    return [line for line in server.lines if line.startswith(("ERROR", "CRITICAL"))]


# HTTP


@pytest.mark.parametrize("size", [0, 1, 5 << 20])
def test_a_body_comes_back(toy: LiveServer, size: int) -> None:
    body = os.urandom(size)

    assert toy.post("/echo", data=body).content == body


@pytest.mark.parametrize("size", [1, 5 << 20])
def test_a_chunked_body_comes_back(toy: LiveServer, size: int) -> None:
    body = os.urandom(size)
    chunks = (body[start : start + 300_000] for start in range(0, size, 300_000))

    assert toy.post("/echo", data=chunks).content == body


def test_a_head_request_gets_the_headers_of_a_get(toy: LiveServer) -> None:
    answer = exchange(toy, b"HEAD /pid HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert f"Content-Length: {len(toy.get('/pid').content)}\r\n".encode() in answer
    assert body_of(answer) == b""


def test_pipelined_requests_are_answered_in_order(toy: LiveServer) -> None:
    if "sync" in "".join(toy.lines[:3]):
        pytest.skip("it closes the connection after each answer")
    requests = b"".join(
        b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n%s\r\n%d" % (more, number)
        for number, more in enumerate([b"", b"", b"Connection: close\r\n"])
    )

    answers = exchange(toy, requests).split(b"HTTP/1.1 200 OK")[1:]

    assert [body_of(answer) for answer in answers] == [b"0", b"1", b"2"]


@pytest.mark.parametrize("chunked", [False, True], ids=["announced", "chunked"])
def test_a_client_that_sends_too_much_sees_the_413(toy: LiveServer, chunked: bool) -> None:
    connection = http.client.HTTPConnection(*address(toy), timeout=20)
    chunk = b"x" * (1 << 20)
    headers = {} if chunked else {"Content-Length": str(30 * len(chunk))}
    connection.request("POST", "/echo", (chunk for _ in range(30)), headers, encode_chunked=chunked)
    answer = connection.getresponse()

    assert answer.status == 413
    assert json.loads(answer.read())["error"]


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 9000 + b"\r\n\r\n", 431),
        (b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: wonderful\r\n\r\n", 501),
        (b"\x16\x03\x01\xff\xfe\r\n\r\n", 400),
        (b'GET /"\x1b[31m\xff HTTP/1.1\r\nX-Request-Id: forged"\r\nbad header\r\n\r\n', 400),
        (b"GET /break HTTP/1.1\r\nHost: x\r\n\r\n", 500),
    ],
)
def test_what_is_no_request_is_answered_in_json_and_logged_and_the_worker_lives(
    toy: LiveServer, request_bytes: bytes, status: int
) -> None:
    pid, seen = toy.get("/pid").text, len(toy.lines)

    answer = exchange(toy, request_bytes)

    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert b"\r\nContent-Type: application/json\r\n" in answer
    assert b"\r\nX-Request-Id: " in answer
    assert json.loads(body_of(answer)).keys() == {"error"}
    toy.wait_for_line(lambda line: f" {status}: " in line and ".access:" in line, "access line", seen)
    assert toy.get("/pid").text == pid


def test_a_client_that_leaves_in_the_middle_is_logged_and_nothing_else_happens(toy: LiveServer) -> None:
    pid, seen = toy.get("/pid").text, len(toy.lines)

    with connect(toy) as client:
        client.sendall(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf")

    toy.wait_for_line(lambda line: "POST /echo 499" in line, "access line", seen)
    assert toy.get("/pid").text == pid
    assert not [line for line in toy.lines[seen:] if line.startswith("ERROR")]


@pytest.mark.parametrize("mode", KINDS)
def test_tls(start: Start, mode: str, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        [
            *["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"],
            *["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)],
        ],
        check=True,
        capture_output=True,
    )
    server = start(mode, ready=False, TLS_KEY=str(key), TLS_CERT=str(certificate))
    line = server.wait_for_line(lambda line: "https://127.0.0.1:" in line)
    port = int(line.split("https://127.0.0.1:")[1].split()[0])
    context = ssl.create_default_context(cafile=str(certificate))
    body = os.urandom(2 << 20)
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=20)
    for _ in range(2):
        connection.request("POST", "/echo", body)
        assert connection.getresponse().read() == body
    connection.close()
    with socket.create_connection(("127.0.0.1", port), timeout=20) as plain, suppress(ConnectionResetError):
        plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
        while plain.recv(65536):
            pass
    assert server.stop() == 0
    assert not error_lines(server)


# Slow and many clients


@pytest.mark.parametrize("mode", HUBS)
def test_clients_that_are_slow_with_their_header_delay_nobody(start: Start, mode: str) -> None:
    server = start(mode)
    slow = [connect(server) for _ in range(50)]
    try:
        for client in slow:
            client.sendall(b"GET / HT")
        began = time.monotonic()
        assert server.get("/echo").status_code == 200
        assert time.monotonic() - began < 0.5
    finally:
        for client in slow:
            client.close()


@pytest.mark.parametrize("mode", CONCURRENT)
def test_silent_connections_take_no_thread(start: Start, mode: str) -> None:
    server = start(mode, THREADS="1", MAX_QUEUE="0")
    silent = [connect(server) for _ in range(30)]
    try:
        began = time.monotonic()
        assert server.get("/echo").status_code == 200
        assert time.monotonic() - began < 0.5
    finally:
        for client in silent:
            client.close()


@pytest.mark.parametrize("mode", CONCURRENT)
def test_beyond_threads_and_queue_is_503_but_operations_are_answered(start: Start, mode: str) -> None:
    server = start(mode, THREADS="2", MAX_QUEUE="0")
    with ThreadPoolExecutor(2) as pool:
        accepted = [pool.submit(server.post, "/sleep/1.0") for _ in range(2)]
        wait_sleeping(server, 2)
        began = time.monotonic()
        health = server.get("/livez")
        refused = server.post("/echo", data=b"x" * (1 << 20), headers={"X-Request-Id": "mine"})
        assert time.monotonic() - began < 0.5

    assert health.status_code == 200
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
    assert refused.headers["X-Request-Id"] == "mine"
    assert [each.result().status_code for each in accepted] == [200, 200]


# Stopping


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


def test_a_worker_that_loads_obeys_a_signal_and_is_not_taken_for_hung(start: Start, tmp_path: Path) -> None:
    failure = tmp_path / "failure"
    failure.write_text("sleep")
    server = start("eventlet", ready=False, TOY_FAILURE=str(failure), GUNICORN_CMD_ARGS="--timeout 1")
    server.wait_for_line(lambda line: "loading for long" in line)
    (worker,) = server.workers()
    end = time.monotonic() + 2.5
    wait_until(lambda: time.monotonic() > end or not worker.is_running(), "time in which a hung worker is killed")
    assert server.workers() == [worker]

    began = time.monotonic()

    assert server.stop() == 0
    assert time.monotonic() - began < 10.0


# Failing


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
