"""Clients that keep a server under load, and judge each answer."""

from __future__ import annotations

import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import requests

from tests.live.server import LiveServer, wait_until

CONNECTIONS = 16


class Load:
    """Clients that ask all the time, each on a connection that it keeps.

    Args:
        url: where they post.
        body: what they post.
        judge: says which version an answer is of, or raises where it is of none or of two.
    """

    def __init__(self, url: str, body: Any, judge: Callable[[Any], int]) -> None:
        self.versions: Counter[int] = Counter()
        self.faults: list[str] = []
        self._url, self._body, self._judge = url, body, judge
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(CONNECTIONS)]

    def _ask(self) -> None:
        with requests.Session() as session:
            while not self._stop.is_set():
                try:
                    response = session.post(self._url, json=self._body, timeout=30)
                    assert response.status_code == 200, response.text
                    self.versions[self._judge(response.json())] += 1
                except Exception as error:  # noqa: BLE001  # shown by the test
                    self.faults.append(repr(error))

    def wait_for(self, version: int, more: int = 1) -> None:
        """Wait until so many more answers are of a version."""
        wanted = self.versions[version] + more
        wait_until(lambda: self.versions[version] >= wanted or self.faults, f"answers of version {version}", 30)

    @contextmanager
    def running(self) -> Iterator[Load]:
        """Ask as long as the block runs."""
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join()


def reload(server: LiveServer) -> None:
    """Send SIGHUP, and wait until none of the old workers is left."""
    before = server.workers()
    server.process.send_signal(signal.SIGHUP)
    wait_until(lambda: not any(worker.is_running() for worker in before), "replacement")


def wait_for_report(server: LiveServer, model: str, states: dict[str, str]) -> requests.Response:
    """Wait until one of the workers answers `/readyz` with an error and these states of a model."""
    reports: list[requests.Response] = []

    def reported() -> bool:
        reports.append(server.get("/readyz"))
        body = reports[-1].json()
        return "errors" in body and body["models"][model] == states

    wait_until(reported, "report")
    return reports[-1]
