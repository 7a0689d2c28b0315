"""Native threads that green threads can wait for.

eventlet and gevent bring their own, but eventlet's is one pool for all, runs the function in the calling thread if
anything is being imported at the moment, and never wakes a caller whose function raised SystemExit.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Generic, Protocol, TypeVar

T = TypeVar("T")


class Flag(Protocol):
    """Something that one green thread waits for and another sets."""

    def set(self) -> object:
        """Wake who waits."""

    def wait(self, timeout: float | None = None, /) -> object:
        """Let other green threads run until it is set, or so many seconds are over."""


class Hub(Protocol):
    """What is needed of eventlet or gevent."""

    def spawn(self, function: Callable[..., object], *args: Any) -> Any:
        """Run a function in a green thread."""

    def wait_readable(self, fd: int, seconds: float | None) -> bool:
        """Let other green threads run until there is something to read; False if the time is over first."""

    def flag(self) -> Flag:
        """Make a flag that is not set."""


@dataclass
class Job(Generic[T]):
    """A function on its way through a thread."""

    function: Callable[[], T]
    done: Flag
    result: T | None = None
    error: BaseException | None = None


class NativeThreads:
    """A fixed number of native threads."""

    def __init__(self, hub: Hub, count: int, name: str) -> None:
        """Start the threads; only after the fork, as threads do not survive one."""
        self._hub = hub
        self._waiting: SimpleQueue[Job[Any]] = SimpleQueue()
        self._finished: SimpleQueue[Job[Any]] = SimpleQueue()
        # The hub's flags can only be set in the hub's thread: a byte through a pipe wakes it up.
        self._wake_up, self._tell = os.pipe()
        os.set_blocking(self._wake_up, False)
        os.set_blocking(self._tell, False)
        for number in range(count):
            threading.Thread(target=self._work, name=f"{name}-{number}", daemon=True).start()
        hub.spawn(self._deliver)

    def run(self, function: Callable[[], T]) -> T:
        """Run a function in one of the threads; only the calling green thread waits.

        Raises:
            BaseException: whatever the function raised.
        """
        job = Job(function, self._hub.flag())
        self._waiting.put(job)
        job.done.wait()
        if job.error is not None:
            raise job.error
        return job.result  # type: ignore[return-value]  # set when there is no error

    def _work(self) -> None:
        """One native thread's life."""
        while True:
            job = self._waiting.get()
            try:
                job.result = job.function()
            except BaseException as error:  # noqa: BLE001  # raised again where the result is waited for
                job.error = error
            self._finished.put(job)
            del job  # else an idle thread keeps the last request's memory
            with suppress(BlockingIOError):  # a full pipe wakes the hub as well as one more byte would
                os.write(self._tell, b"\0")

    def _deliver(self) -> None:
        """One green thread's life: wakes the green threads whose functions have ended."""
        while self._hub.wait_readable(self._wake_up, None):
            os.read(self._wake_up, 4096)
            while not self._finished.empty():
                self._finished.get().done.set()
