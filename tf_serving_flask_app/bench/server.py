"""The real server as a process of its own, in production, on a port of this machine."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from http import HTTPStatus
from pathlib import Path
from types import TracebackType

import orjson
import psutil

from tf_serving_flask_app.bench.exchange import Address
from tf_serving_flask_app.bench.modes import MODES
from tf_serving_flask_app.bench.usage import family, listening_port
from tf_serving_flask_app.errors import ConfigurationError

START_S = 300.0
STOP_S = 15.0
LOOK_S = 0.05
MOST_TAIL = 1 << 14
"""Bytes that are kept of what a server wrote, for when it ends."""

HOST = "127.0.0.1"

NOT_MEASURED = ("FLASK_DEBUG", "FLASK_PROFILE", "METRICS_PORT", "MODEL_FOLDER", "TLS_CERT", "TLS_KEY")
"""Settings that would change what is measured, or how it is reached."""


def mode_environ(environ: Mapping[str, str], mode: str, workers: int) -> dict[str, str]:
    """The environment of a server in that mode; what the user has set for it otherwise, stays."""
    kept = {name: value for name, value in environ.items() if name not in NOT_MEASURED}
    return {**kept, "FLASK_ENV": "production", "WEB_CONCURRENCY": str(workers), **MODES[mode]}


class StartTimeout(ConfigurationError):
    """A server is not ready in the time that it had."""


class RunningServer:
    """Starts a server and waits until it is ready; it is ended by ``close``.

    What it writes goes to a file, with everything on that is on in production.

    Args:
        command: what starts it.
        environ: its whole environment.
        port: where ``command`` has it listen; None: the first port of its main process.
    """

    def __init__(self, command: Sequence[str], environ: Mapping[str, str], port: int | None = None) -> None:
        self._output = tempfile.NamedTemporaryFile(prefix="bench-", suffix=".log", mode="ab")  # noqa: SIM115
        # In a session of its own, since Ctrl-C goes to all processes of a terminal: this one is ours to end.
        self._process = subprocess.Popen(
            command,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._port = port
        self._taken = b""
        self.address: Address = (HOST, port or 0)

    def __enter__(self) -> RunningServer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """Of the main process."""
        return self._process.pid

    def wait_ready(self, path: str = "/readyz", patience_s: float = START_S) -> None:
        """Wait until it listens and answers 200 there, at most so many seconds.

        Raises:
            ConfigurationError: it ended; the text has the end of what it wrote.
            StartTimeout: it is not ready in time; likewise.
        """
        deadline = time.monotonic() + patience_s
        while not self._is_ready(path):
            self.check_running()
            if time.monotonic() > deadline:
                raise StartTimeout(f"The server is not ready after {patience_s:.0f} s:\n{self.tail()}")
            time.sleep(LOOK_S)

    def check_running(self) -> None:
        """Raise if it has ended.

        Raises:
            ConfigurationError: its main process has; the text has the end of what it wrote.
        """
        if self._process.poll() is not None:
            raise ConfigurationError(f"The server ended with exit code {self._process.returncode}:\n{self.tail()}")

    def get(self, path: str) -> tuple[int, bytes]:
        """Ask for a path: status and body of the answer."""
        with closing(http.client.HTTPConnection(*self.address, timeout=START_S)) as connection:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()

    def tail(self) -> str:
        """The last lines that it wrote."""
        written = self._taken + Path(self._output.name).read_bytes()
        return "\n".join(map(_message, written.decode("utf-8", "replace").splitlines()[-10:]))

    def take_output(self) -> bytes:
        """What it has written since the last call; forgotten here, so that the file stays small."""
        written = Path(self._output.name).read_bytes()
        self._output.truncate(0)
        self._taken = written[-MOST_TAIL:] or self._taken
        return written

    def close(self, patience_s: float = STOP_S) -> None:
        """Stop it as an operator would, then, after so many seconds, what is left of it."""
        with suppress(psutil.NoSuchProcess):
            self._process.send_signal(signal.SIGTERM)  # first of all: what comes now may be interrupted
            processes = family(self.pid)
            _, left = psutil.wait_procs(processes, timeout=patience_s)
            for process in left:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        self._process.wait()
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)  # what a main process that died before left behind
        self._output.close()

    def _is_ready(self, path: str) -> bool:
        port = self._port or listening_port(self.pid)
        if port is None:
            return False
        self.address = (HOST, port)
        try:
            return self.get(path)[0] == HTTPStatus.OK
        except OSError:
            return False


def start_server(spec: Path, assets: Path | None, environ: Mapping[str, str]) -> RunningServer:
    """Start the server that ``./run.sh -s SPEC`` is.

    Args:
        spec: the spec file.
        assets: folder of its relative paths, or None for its own.
        environ: see ``mode_environ``.
    """
    command = [sys.executable, "-m", "tf_serving_flask_app", "-s", str(spec)]
    command += ["-a", str(assets)] if assets is not None else []
    return RunningServer(command, {**environ, "HOST": HOST, "PORT": "0"})


def package_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """An environment in which a new Python finds this package wherever it was imported from."""
    root = str(Path(__file__).resolve().parents[2])
    paths = [path for path in environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    return {**environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys([*paths, root]))}


def _message(line: str) -> str:
    """What a JSON line of a log says; another line as it is."""
    try:
        return str(orjson.loads(line)["message"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return line
