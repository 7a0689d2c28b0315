"""Which requests are so quick that the thread of the hub answers them itself.

To hand a request to another thread costs more than the smallest models do: each step of it that gives Python's lock
away makes another thread run. But all other connections of the worker wait while the hub's thread answers. So such a
request must be known to be short, and must wait for nothing but the processor: neither for what its model does
elsewhere, nor for a lock that a longer request holds.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from tf_serving_flask_app.gunicorn.turns import kind_of

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

    from tf_serving_flask_app.gunicorn.offload import Run

QUICK_S = 0.002
"""Seconds of the processor that quick requests take, on average, at most."""

WEIGHT = 1 / 8
"""Of the latest request in that average."""

FAR_TOO_LONG_S = 10 * QUICK_S
"""What a request that was taken for quick must not take: its sort keeps to other threads then for ``SHUT_OUT_S``."""

SHUT_OUT_S = 60.0

REMEMBERED = 1024
"""Sorts of requests; when there are more, all are learned anew."""


class Sort(NamedTuple):
    """What requests that cost about the same have in common.

    Attributes:
        kind: see ``kind_of``.
        size: of the body, in bits that its length takes.
    """

    kind: str
    size: int


class QuickRequests:
    """Runs quick requests in the thread that calls, and hands all others over; a ``Run``, for one thread."""

    def __init__(self, hand_over: Run) -> None:
        self._hand_over = hand_over
        self._mean_s: dict[Sort, float] = {}
        self._shut_until: dict[Sort, float] = {}
        self._lock = threading.Lock()
        self._longer = 0  # requests that are not quick, and are worked on

    def __call__(self, work: Callable[[], list[bytes]], environ: WSGIEnvironment, /) -> list[bytes]:
        """Run a request; see ``Run``."""
        sort = Sort(kind_of(environ), int(environ.get("CONTENT_LENGTH") or 0).bit_length())

        def measured(*, here: bool = False) -> list[bytes]:
            began = time.thread_time()
            try:
                return work()
            finally:
                took = time.thread_time() - began
                self._learn(sort, took, environ)
                if here and took > FAR_TOO_LONG_S:
                    self._shut_until[sort] = time.monotonic() + SHUT_OUT_S

        def longer() -> list[bytes]:
            try:
                return measured()
            finally:
                self._count(-1)

        if self._mean_s.get(sort, math.inf) <= QUICK_S and not self._is_shut_out(sort):
            return self._hand_over(measured, environ) if self._longer else measured(here=True)
        self._count(1)
        return self._hand_over(longer, environ)

    def _is_shut_out(self, sort: Sort) -> bool:
        until = self._shut_until.get(sort)
        if until is not None and until <= time.monotonic():
            del self._shut_until[sort]
            return False
        return until is not None

    def _learn(self, sort: Sort, seconds: float, environ: WSGIEnvironment) -> None:
        """Take a request's cost into account: seconds of the processor, in the thread that answered it."""
        context = environ.get("tf_serving.request")
        if context is None or not context.computes_only:
            self._mean_s.pop(sort, None)
            return
        if len(self._mean_s) >= REMEMBERED:
            self._mean_s.clear()
            self._shut_until.clear()
        # Others may have made its call of the model.
        seconds = max(seconds, context.stages.get("predict", 0) / 1e9)
        mean_s = self._mean_s.get(sort, seconds)
        self._mean_s[sort] = mean_s + WEIGHT * (seconds - mean_s)

    def _count(self, change: int) -> None:
        with self._lock:
            self._longer += change
