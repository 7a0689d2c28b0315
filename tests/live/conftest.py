"""What live tests share: the modes, and specs to serve."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.clients.environment import RegistryUnreachable, make_environment
from tests.live.commands import started  # noqa: F401  # a fixture
from tests.live.server import ROOT, LiveServer

MODES: dict[str, dict[str, str]] = {
    "eventlet": {"WEB_CONCURRENCY": "2"},
    "gevent": {"WEB_CONCURRENCY": "2", "FLASK_WORKER_CLASS": "gevent"},
    "gthread": {"WEB_CONCURRENCY": "2", "FLASK_WORKER_CLASS": "gthread"},
    "sync": {"WEB_CONCURRENCY": "2", "FLASK_WORKER_CLASS": "sync"},
    "multithreaded": {"FLASK_MODE": "multithreaded"},
    "development": {"FLASK_ENV": "development"},
}
"""Every way to run the server: its name -> what the environment says."""

GUNICORN = [name for name in MODES if name != "development"]
Start = Callable[..., LiveServer]

MAX = 6 << 20
"""The largest body that a toy server takes."""

NUMPY_SPEC = """
models:
  - {name: half_plus_two, backend: "numpy_backends:HalfPlusTwo", path: .}
  - {name: slow, backend: "numpy_backends:Slow", path: .}
  - name: colors
    task: classification
    backend: "numpy_backends:Colors"
    path: .
    labels: [red, green, blue]
"""


INSTALL_S = 900
RunPython = Callable[..., str]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.live)
            item.add_marker(pytest.mark.xdist_group("live"))
            if "run_client" in getattr(item, "fixturenames", ()):  # the first one may have to install the clients
                item.add_marker(pytest.mark.timeout(INSTALL_S))


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> dict[str, str]:
    """The environment of one mode; the test runs in each."""
    return MODES[request.param]


@pytest.fixture
def numpy_spec(tmp_path: Path) -> Path:
    """A spec of models that need no TensorFlow, so that the server is up in a second."""
    path = tmp_path / "numpy.spec"
    path.write_text(NUMPY_SPEC)
    return path


@pytest.fixture(scope="session")
def run_client() -> RunPython:
    """Run a program with the Python that has the clients, as a user would, and return what it printed."""
    try:
        python = make_environment()
    except RegistryUnreachable as exc:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"the clients cannot be installed, as pip reaches no registry: {exc}")

    def run(*arguments: str | Path) -> str:
        done = subprocess.run(
            [python, *arguments],
            cwd=ROOT,
            env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


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
