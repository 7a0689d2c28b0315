"""The four kinds of worker, with a toy application: HTTP, slow clients, overload."""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.live.conftest import Start
from tests.live.server import LiveServer
from tests.live.toy import (
    CONCURRENT,
    HUBS,
    KINDS,
    address,
    body_of,
    connect,
    error_lines,
    exchange,
    receive_all,
    wait_sleeping,
)


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


def test_a_small_answer_is_one_packet(toy: LiveServer) -> None:
    with connect(toy) as client:
        client.sendall(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\ndata")

        assert client.recv(65536).endswith(b"\r\n\r\ndata")


def test_a_large_answer_reaches_a_client_that_takes_its_time_and_the_connection_stays(toy: LiveServer) -> None:
    if "sync" in "".join(toy.lines[:3]):
        pytest.skip("it closes the connection after each answer")
    client = http.client.HTTPConnection(*address(toy), timeout=20)
    client.request("GET", "/large")
    assert toy.get("/pid").status_code == 200  # nobody waits for it meanwhile
    answer = client.getresponse().read()
    client.request("POST", "/echo", b"data")

    assert answer == b"x" * len(answer)
    assert len(answer) == 16 << 20
    assert client.getresponse().read() == b"data"
    client.close()


def test_a_request_that_comes_while_the_last_is_worked_on_is_answered_after_it(toy: LiveServer) -> None:
    if "sync" in "".join(toy.lines[:3]):
        pytest.skip("it closes the connection after each answer")
    with connect(toy) as client:
        sleeping = Path(toy.main.environ()["TOY_STARTED"])
        before = sleeping.stat().st_size if sleeping.exists() else 0
        client.sendall(b"POST /sleep/0.2 HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_sleeping(toy, before + 1)
        client.sendall(b"GET /pid HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        first, second = b"".join(iter(lambda: client.recv(65536), b"")).split(b"HTTP/1.1 200 OK")[1:]

    assert body_of(first) == b"slept"
    assert body_of(second).isdigit()


def test_a_header_that_would_be_two_is_a_500_and_the_client_sees_none_of_it(toy: LiveServer) -> None:
    answer = exchange(toy, b"GET /inject HTTP/1.1\r\nHost: x\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"X-Two" not in answer
    assert list(json.loads(body_of(answer))) == ["error"]


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


@pytest.mark.parametrize("mode", KINDS)
def test_a_body_that_cannot_be_spooled_is_the_servers_fault(start: Start, mode: str, tmp_path: Path) -> None:
    folder = tmp_path / "uploads"
    folder.mkdir()
    server = start(mode, UPLOAD_FOLDER=str(folder), MAX_CONTENT_LENGTH=str(32 << 20))
    folder.rmdir()
    head = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (9 << 20)
    answer = exchange(server, head + b"x" * (2 << 20))

    assert answer.startswith(b"HTTP/1.1 500 ")
    server.wait_for_line(lambda line: "UPLOAD_FOLDER" in line, "reason")
    server.wait_for_line(lambda line: "FileNotFoundError" in line, "traceback")
    assert server.get("/echo").status_code == 200


@pytest.mark.parametrize("mode", CONCURRENT)
def test_connections_for_which_there_are_no_descriptors_wait_and_the_worker_lives(start: Start, mode: str) -> None:
    server = start(mode)
    (worker,) = server.workers()
    pid = server.get("/pid").text
    worker.rlimit(psutil.RLIMIT_NOFILE, (worker.num_fds() + 3, worker.rlimit(psutil.RLIMIT_NOFILE)[1]))
    clients = [connect(server) for _ in range(8)]
    server.wait_for_line(lambda line: "could not be accepted" in line, "complaint")
    for client in clients:
        client.close()

    assert server.get("/pid").text == pid
    assert server.stop() == 0


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


@pytest.mark.parametrize("mode", HUBS)
def test_clients_that_are_slow_with_their_header_delay_nobody(start: Start, mode: str) -> None:
    server = start(mode)
    slow = [connect(server) for _ in range(50)]
    try:
        for client in slow:
            client.sendall(b"GET / HT")
        began = time.monotonic()
        assert server.get("/echo").status_code == 200
        assert time.monotonic() - began < 5.0
    finally:
        for client in slow:
            client.close()


@pytest.mark.parametrize("mode", CONCURRENT)
def test_a_header_that_does_not_come_to_an_end_is_answered_408_and_keeps_no_thread(start: Start, mode: str) -> None:
    server = start(mode, THREADS="1", MAX_QUEUE="0", TOY_HEADER_S="1")
    slow = [connect(server) for _ in range(12)]
    for client in slow:
        client.sendall(b"GET /echo HTTP/1.1\r\nHost: x\r\n")
    for client in slow:
        with client:
            answer = receive_all(client)
            assert answer.startswith(b"HTTP/1.1 408 ")
            assert json.loads(body_of(answer)).keys() == {"error"}

    assert server.get("/echo").status_code == 200
    assert server.stop() == 0
    assert not error_lines(server)


@pytest.mark.parametrize("mode", CONCURRENT)
def test_silent_connections_take_no_thread(start: Start, mode: str) -> None:
    server = start(mode, THREADS="1", MAX_QUEUE="0")
    silent = [connect(server) for _ in range(30)]
    try:
        began = time.monotonic()
        assert server.get("/echo").status_code == 200
        assert time.monotonic() - began < 2.5
    finally:
        for client in silent:
            client.close()


@pytest.mark.parametrize("mode", CONCURRENT)
def test_beyond_threads_and_queue_is_503_but_operations_are_answered(start: Start, mode: str) -> None:
    server = start(mode, THREADS="2", MAX_QUEUE="0")
    with ThreadPoolExecutor(2) as pool:
        accepted = [pool.submit(server.post, "/sleep/2.0") for _ in range(2)]
        wait_sleeping(server, 2)
        health = server.get("/livez")
        refused = server.post("/echo", data=b"x" * (1 << 20), headers={"X-Request-Id": "mine"})
        assert not any(each.done() for each in accepted)

    assert health.status_code == 200
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
    assert refused.headers["X-Request-Id"] == "mine"
    assert [each.result().status_code for each in accepted] == [200, 200]
