"""The servers of one measurement: started, checked, loaded, and ended."""

from __future__ import annotations

import os
import socket
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from http.client import HTTPException
from pathlib import Path

import psutil

from tests.benchmarks.peers.catalogue import Peer, Setup, peer_environ
from tests.benchmarks.peers.check import NOISE, check_answer
from tests.benchmarks.peers.wire import ask
from tests.benchmarks.peers.works import Group, Section, Way, form_of
from tests.clients.environment import ROOT
from tf_serving_flask_app.bench.helper import Helper
from tf_serving_flask_app.bench.load import Answers, Load
from tf_serving_flask_app.bench.measure import Point, Sample, ServerTarget, Target
from tf_serving_flask_app.bench.server import (
    HOST,
    RunningServer,
    mode_environ,
    package_environ,
    start_server,
)
from tf_serving_flask_app.bench.usage import cpu_seconds, family
from tf_serving_flask_app.errors import ConfigurationError

WORKERS = 2
OUR_MODE = "eventlet"
"""As shipped."""

END_S = 5.0
"""How long a peer may take to end by itself."""

IDLE_LOOK_S = 0.5
IDLE_SHARE = 0.01
"""Of a core: what takes more while nobody asks it, is stopped while others are measured."""

Client = Helper[Load, Answers]


class PausedTarget:
    """A target whose server stands still while it is not measured.

    Args:
        target: what is measured.
        server: that of the target.
    """

    def __init__(self, target: Target, server: RunningServer) -> None:
        self.name = target.name
        self.ceiling = target.ceiling
        self._target = target
        self._server = server

    def measure(self, point: Point, seconds: float) -> Sample:
        """See ``Target``."""
        wake(self._server)
        try:
            return self._target.measure(point, seconds)
        finally:
            pause(self._server)


def pause(server: RunningServer) -> None:
    """Stop a server's processes where they are."""
    for process in family(server.pid):
        with suppress(psutil.NoSuchProcess):
            process.suspend()


def wake(server: RunningServer) -> None:
    """Let them go on."""
    with suppress(psutil.NoSuchProcess):
        for process in family(server.pid):
            with suppress(psutil.NoSuchProcess):
                process.resume()


def quiet_target(stack: ExitStack, target: ServerTarget, server: RunningServer) -> Target:
    """Pause a target's server between its turns, if it takes processor time when it is idle."""
    before = cpu_seconds(server.pid)
    time.sleep(IDLE_LOOK_S)
    if (cpu_seconds(server.pid) - before) / IDLE_LOOK_S <= IDLE_SHARE:
        return target
    stack.callback(wake, server)  # what is stopped cannot be asked to end
    pause(server)
    return PausedTarget(target, server)


def end(servers: Iterable[RunningServer]) -> None:
    """End servers, all at once and soon: some take longer than a measurement to end as an operator would have it."""
    processes = []
    for server in servers:
        with suppress(psutil.NoSuchProcess):
            processes += family(server.pid)
            psutil.Process(server.pid).terminate()
    _, left = psutil.wait_procs(processes, timeout=END_S)
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def start_peer(stack: ExitStack, peer: Peer, setup: Setup, group: Group, environments: Path) -> RunningServer:
    """Start a peer; it is not ready yet, and ends with the stack."""
    python = peer.make_environment(environments)
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
    port = free_port()
    served = group.served(setup, port)
    environ = {**peer_environ(os.environ, python, folder), **served.to_environ()}
    return stack.enter_context(RunningServer(peer.command(python, served, folder), environ, port))


def start_ours(stack: ExitStack, section: Section) -> RunningServer:
    """Start our own server in its shipped mode, with two workers."""
    environ = mode_environ(package_environ(os.environ), OUR_MODE, WORKERS)
    return stack.enter_context(start_server(section.spec, None, environ))


def start_bare(stack: ExitStack) -> RunningServer:
    """Start the bare Flask route under gunicorn's plainest workers."""
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "--worker-class", "sync", "--workers", str(WORKERS)]
    command += ["--bind", f"{HOST}:{port}", "tests.benchmarks.peers.bare_flask:create_app()"]
    return stack.enter_context(RunningServer(command, {**os.environ, "PYTHONPATH": str(ROOT)}, port))


def free_port() -> int:
    """A port of this machine on which nothing listens."""
    with socket.create_server((HOST, 0)) as found:
        port: int = found.getsockname()[1]
        return port


def check_peer(
    name: str, peer: Peer, way: Way, server: RunningServer, group: Group, rights: Sequence[list[float]]
) -> None:
    """Compare a peer's answers with the right ones.

    Raises:
        ConfigurationError: one is wrong, or does not come.
    """
    form = form_of(peer, way)
    assert form is not None
    for request, right in zip(group.requests(peer, way), rights, strict=True):
        try:
            reply = ask(server.address, request)
        except (OSError, HTTPException) as exc:
            raise ConfigurationError(f"{name} does not answer: {exc!r}\n{server.tail()}") from exc
        if reply.status != 200:
            raise ConfigurationError(f"{name} answers {reply.status}: {reply.body[:300]!r}\n{server.tail()}")
        check_answer(name, right, form.read(reply), NOISE)


@contextmanager
def standing(
    peer: Peer, setups: Sequence[Setup], group: Group, environments: Path
) -> Iterator[dict[Setup, RunningServer]]:
    """Start a peer in several set-ups at once, ready to be asked.

    Args:
        peer: which.
        setups: in which.
        group: what it serves.
        environments: folder of the peers' environments.

    Raises:
        ConfigurationError: it does not start; the text has what it wrote.
    """
    with ExitStack() as stack:
        servers = {setup: start_peer(stack, peer, setup, group, environments) for setup in setups}
        stack.callback(end, servers.values())
        for setup, server in servers.items():
            try:
                server.wait_ready(peer.ready)
            except ConfigurationError as exc:
                raise ConfigurationError(f"{peer.name}, {setup}: {exc}") from exc
        yield servers
