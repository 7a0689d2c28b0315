"""Processor time and memory of process trees."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.live.server import wait_until
from tf_serving_flask_app.bench.usage import age_s, cpu_seconds, listening_port, memory

BUSY_PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "block = bytearray(b'x') * 50_000_000\\nwhile True: pass"])
child.wait()
"""


@pytest.fixture
def parent() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", BUSY_PARENT], start_new_session=True) as process:
        yield process
        os.killpg(process.pid, 9)


def test_what_a_child_takes_counts(parent: subprocess.Popen[bytes]) -> None:
    wait_until(lambda: memory(parent.pid).pss > 50_000_000, "memory of the child")
    before = cpu_seconds(parent.pid)
    wait_until(lambda: cpu_seconds(parent.pid) > before + 0.05, "processor time of the child")

    assert memory(parent.pid).rss > 50_000_000


def test_the_port_that_a_process_listens_on_is_found() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert listening_port(os.getpid()) == server.getsockname()[1]


def test_this_process_began_a_while_ago() -> None:
    first = age_s()

    assert 0 < first <= age_s() < 86400
