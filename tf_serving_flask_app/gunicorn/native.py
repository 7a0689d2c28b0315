"""Native threads, and what they need to have green threads wait for them.

eventlet and gevent bring their own, but eventlet's is one pool for all, runs the function in the calling thread if
anything is being imported at the moment, and never wakes a caller whose function raised SystemExit.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

T = TypeVar("T")


class Flag(Protocol):
    """Something that one thread waits for and any other sets."""

    def set(self) -> object:
        """Wake who waits."""

    def wait(self, timeout: float | None = None, /) -> object:
        """Wait until it is set, or so many seconds are over."""


class HubCalls:
    """Calls that other threads want made in the hub's thread, the only one in which green threads can be woken."""

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], object]] = deque()
        # A byte through a pipe tells the hub that there are some.
        self.wake_up, self._tell = os.pipe()
        self._told = False
        os.set_blocking(self.wake_up, False)
        os.set_blocking(self._tell, False)

    def add(self, call: Callable[[], object]) -> None:
        """Have a call made soon; from any thread."""
        self._waiting.append(call)
        if not self._told:
            self._told = True
            with suppress(BlockingIOError):  # a full pipe wakes the hub as well as one more byte would
                os.write(self._tell, b"\0")

    def make(self, _descriptor: int = 0) -> None:
        """Make them; to be called in the hub's thread when ``wake_up`` is readable."""
        os.read(self.wake_up, 4096)
        self._told = False  # before the calls are taken: who adds one from now on tells it again
        while self._waiting:
            self._waiting.popleft()()


class Waiter(Protocol):
    """A green thread that waits for a job."""

    def notices(self, job: Job[Any]) -> bool:
        """Tell, in the job's thread, whether the waiter sees by itself that the job is done, and in time."""

    def wake(self, job: Job[Any]) -> None:
        """Go on, in the hub's thread, if that job is still what the green thread waits for."""


@dataclass(eq=False)
class Job(Generic[T]):
    """A function on its way through a thread."""

    function: Callable[[], T]
    waiter: Waiter
    done: bool = False
    result: T | None = None
    error: BaseException | None = None


class NativeThreads:
    """A fixed number of native threads. Work goes to the one that became idle last: its memory is warm."""

    def __init__(self, hub_calls: HubCalls, count: int, name: str) -> None:
        """Start the threads; only after the fork, as threads do not survive one."""
        self._hub_calls = hub_calls
        self._waiting: deque[Job[Any]] = deque()
        self._idle: list[threading.Lock] = []
        for number in range(count):
            threading.Thread(target=self._work, name=f"{name}-{number}", daemon=True).start()

    def start(self, function: Callable[[], T], waiter: Waiter) -> Job[T]:
        """Run a function in one of the threads."""
        job = Job(function, waiter)
        self._waiting.append(job)
        with suppress(IndexError):  # all are busy: the first that is not looks what waits
            self._idle.pop().release()
        return job

    def _work(self) -> None:
        """One native thread's life."""
        rest = threading.Lock()
        rest.acquire()
        while True:
            job = self._take(rest)
            try:
                job.result = job.function()
            except BaseException as error:  # noqa: BLE001  # raised again where the result is waited for
                job.error = error
            job.done = True
            if not job.waiter.notices(job):
                self._hub_calls.add(partial(job.waiter.wake, job))
            del job  # else an idle thread keeps the last request's memory

    def _take(self, rest: threading.Lock) -> Job[Any]:
        """Wait for a job; ``rest`` is released when there may be one."""
        while True:
            with suppress(IndexError):
                return self._waiting.popleft()
            self._idle.append(rest)
            if self._waiting:  # it came before it could be seen that this thread is idle
                with suppress(ValueError):  # it was seen
                    self._idle.remove(rest)
                    continue
            rest.acquire()
