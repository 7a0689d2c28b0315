"""The real server as a process of its own, for tests."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import psutil
import requests

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 60.0


class LiveServer:
    """Starts the server, keeps every line it prints, and leaves no process behind.

    Args:
        arguments: of ``python -m tf_serving_flask_app``, such as ``-s SPEC``.
        environ: on top of this process's environment.
        command: what to run in place of ``python -m tf_serving_flask_app``.
        cwd: the working folder.
    """

    def __init__(
        self,
        *arguments: str | Path,
        environ: Mapping[str, str] | None = None,
        command: list[str] | None = None,
        cwd: Path = ROOT,
    ) -> None:
        self.lines: list[str] = []
        self._news = threading.Condition()
        self._ended = False
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("FLASK_", "GUNICORN_"))}
        pythonpath = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
        self.process = subprocess.Popen(
            [*(command or [sys.executable, "-m", "tf_serving_flask_app"]), *map(str, arguments)],
            env={**inherited, "PYTHONPATH": pythonpath, "HOST": "127.0.0.1", "PORT": "0", **(environ or {})},
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._family: dict[int, psutil.Process] = {}
        self.url = ""

    def __enter__(self) -> LiveServer:
        return self.wait_ready()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if error is not None:
            print("\n".join(self.lines[-50:]))
        self.kill()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as output:
            for line in output:
                with self._news:
                    self.lines.append(line.decode("utf-8", "backslashreplace").rstrip("\n"))
                    self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    def wait_for_line(self, matches: Callable[[str], object], what: str = "the line", start: int = 0) -> str:
        """Wait for a line; fail if the server ends, or the deadline passes, without it."""
        with self._news:
            found = self._news.wait_for(
                lambda: next(filter(matches, self.lines[start:]), None) or self._ended, timeout=DEADLINE_S
            )
        line = next(filter(matches, self.lines[start:]), None)
        assert line is not None, f"no {what} in {'time' if not found else 'what it printed'}:\n" + "\n".join(self.lines)
        return line

    def wait_ready(self) -> LiveServer:
        """Wait until a worker answers and is ready; the kernel holds the request until one is up."""
        response = self.wait_up().get("/readyz", timeout=DEADLINE_S)
        assert response.status_code == 200, response.text
        return self

    def wait_up(self) -> LiveServer:
        """Wait until the server listens."""
        line = self.wait_for_line(lambda line: re.search(r"https?://[\d.]+:\d+", line), "address")
        found = re.search(r"https?://[\d.]+:\d+", line)
        assert found is not None
        self.url = found[0]
        return self

    def get(self, path: str, **options: Any) -> requests.Response:
        """Send a GET on a connection of its own."""
        return requests.get(self.url + path, **{"timeout": 30, **options})

    def post(self, path: str, **options: Any) -> requests.Response:
        """Send a POST on a connection of its own."""
        return requests.post(self.url + path, **{"timeout": 30, **options})

    def send_raw(self, data: bytes) -> bytes:
        """Send bytes that no client library would, and return all that comes back."""
        address = urlsplit(self.url)
        assert address.hostname is not None
        with socket.create_connection((address.hostname, address.port or 0), timeout=20) as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: connection.recv(65536), b""))

    def records(self) -> list[dict[str, Any]]:
        """Every line as JSON; fails on the first that is not an object."""
        records = [json.loads(line) for line in self.lines]
        assert all(isinstance(record, dict) for record in records)
        return records

    @property
    def main(self) -> psutil.Process:
        """The main process."""
        return psutil.Process(self.process.pid)

    def workers(self) -> list[psutil.Process]:
        """The processes below the main one, the log pump not among them."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        self._family.update({child.pid: child for child in children})
        return [child for child in children if os.getsid(child.pid) == os.getsid(self.process.pid)]

    def shared_folder(self) -> Path:
        """The folder in which the server's processes count and tell each other what to load."""
        files: list[Path] = []
        for process in (self.main, *self.workers()):
            with suppress(psutil.NoSuchProcess):  # one that is being replaced
                files += [Path(file.path) for file in process.open_files()]
        (folder,) = {file.parent for file in files if file.suffix == ".db"}
        return folder

    def stop(self, sig: int = signal.SIGTERM) -> int:
        """Send the main process a signal and wait for its end; returns its exit code."""
        self.workers()
        self.process.send_signal(sig)
        return self.wait()

    def wait(self) -> int:
        """Wait for the end of the main process, of all it printed, and of every process below it."""
        code = self.process.wait(timeout=DEADLINE_S)
        self._reader.join(timeout=DEADLINE_S)
        assert not self._reader.is_alive(), "the output is still held open"
        gone, alive = psutil.wait_procs(list(self._family.values()), timeout=10)
        assert not alive, f"left behind: {alive} (gone: {gone})"
        return code

    def kill(self) -> None:
        """End all of it, however it is."""
        if self.process.poll() is None:
            family = [*psutil.Process(self.process.pid).children(recursive=True), psutil.Process(self.process.pid)]
            for member in family:
                with suppress(psutil.NoSuchProcess):
                    member.kill()
        self.process.wait(timeout=DEADLINE_S)
        self._reader.join(timeout=DEADLINE_S)


def wait_until(condition: Callable[[], object], what: str, deadline_s: float = DEADLINE_S) -> None:
    """Wait until a condition of the outside world holds, which nothing announces."""
    end = time.monotonic() + deadline_s
    waiting = threading.Event()
    while not condition():
        assert time.monotonic() < end, f"no {what} within {deadline_s} s"
        waiting.wait(0.02)
