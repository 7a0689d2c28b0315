"""Servers that are measured: also one that says nothing of its port, and one whose main process dies."""

from __future__ import annotations

import os
import signal
import sys

import psutil
import pytest

from tests.benchmarks.peers.running import free_port
from tests.live.server import wait_until
from tf_serving_flask_app.bench.server import RunningServer
from tf_serving_flask_app.errors import ConfigurationError

LISTENS_BELOW = """
import signal, subprocess, sys
child = subprocess.Popen([sys.executable, "-m", "http.server", "--bind", "127.0.0.1", sys.argv[1]])
signal.signal(signal.SIGTERM, lambda *_: child.terminate())
child.wait()
"""


def test_a_server_that_listens_in_a_child_is_found_by_its_port_and_ends_with_its_children() -> None:
    port = free_port()
    with RunningServer([sys.executable, "-c", LISTENS_BELOW, str(port)], os.environ, port) as server:
        server.wait_ready("/")
        (child,) = psutil.Process(server.pid).children()

        assert server.get("/")[0] == 200
    assert not child.is_running()


def test_a_server_that_has_ended_is_told_with_the_end_of_what_it_wrote() -> None:
    with RunningServer([sys.executable, "-c", "print('out of luck'); raise SystemExit(3)"], os.environ) as server:
        wait_until(lambda: psutil.Process(server.pid).status() == psutil.STATUS_ZOMBIE, "its end")
        server.take_output()
        assert server.take_output() == b""

        with pytest.raises(ConfigurationError, match="ended with exit code 3:\nout of luck"):
            server.check_running()


def test_what_a_dead_main_process_left_behind_is_ended() -> None:
    port = free_port()
    with RunningServer([sys.executable, "-c", LISTENS_BELOW, str(port)], os.environ, port) as server:
        server.wait_ready("/")
        (child,) = psutil.Process(server.pid).children()
        os.kill(server.pid, signal.SIGKILL)
        wait_until(lambda: child.ppid() != server.pid, "the death of the main process")

    wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, "the end of the child")
