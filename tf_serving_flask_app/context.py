"""What one request carries through every layer: its ids, its deadline and where its time went."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field

from tf_serving_flask_app.errors import DeadlineExceeded

CLIENT_LOOK_S = 0.02
"""How long a request waits before somebody looks whether its client has gone, and how long until the next look."""


@dataclass(slots=True)
class RequestContext:
    """One request's ids, deadline, model and stage times; made when the request arrives.

    Attributes:
        request_id: from ``X-Request-Id`` if it is sane, else made; sent back and logged.
        deadline: on the clock of ``time.monotonic()``, in seconds.
        trace_id: the 32 hex digits of a W3C ``traceparent`` header, or None.
        traceparent: that header's 55 characters, to be passed on, or None.
        route: the pattern of the route that answers, such as ``/predict/{name}``; None before one is found.
        model_name: of the model that is to answer; None before it is found.
        model_version: of that model.
        client_gone: tells whether the client has closed its connection; a system call.
        joined: how many requests the model call answered, this one among them.
        computes_only: a model was called that does nothing but compute, in this process and in the thread that calls.
        stages: nanoseconds spent in each stage (``decode``, ``predict``, ``postprocess``...).
    """

    request_id: str
    deadline: float
    trace_id: str | None = None
    traceparent: str | None = None
    route: str | None = None
    model_name: str | None = None
    model_version: str | None = None
    client_gone: Callable[[], bool] = bool  # which gives False
    joined: int = 1
    computes_only: bool = False
    stages: dict[str, int] = field(default_factory=dict)

    def stage(self, name: str) -> Stage:
        """Time one stage of the request in a ``with`` block, also when it fails; refuse to begin it after the deadline.

        Raises:
            DeadlineExceeded: the deadline passed before the stage began.
        """
        return Stage(self, name)

    def record(self, name: str, nanoseconds: int) -> None:
        """Add to a stage's time."""
        self.stages[name] = self.stages.get(name, 0) + nanoseconds

    def check_deadline(self, when: str) -> None:
        """Raise DeadlineExceeded if the request's time is over."""
        if time.monotonic() > self.deadline:
            raise DeadlineExceeded(
                f"The deadline passed {when}; allow more time (REQUEST_TIMEOUT_S, timeout_s in the spec,"
                " X-Request-Timeout-Ms) or send fewer requests at once."
            )


class Stage:
    """The block of ``RequestContext.stage``; a class, as it costs half of what a generator does."""

    __slots__ = ("_begin", "_context", "_name")

    def __init__(self, context: RequestContext, name: str) -> None:
        self._context = context
        self._name = name

    def __enter__(self) -> None:
        if time.monotonic() > self._context.deadline:  # before the text is made
            self._context.check_deadline(f"before {self._name}")
        self._begin = time.perf_counter_ns()

    def __exit__(self, *_: object) -> None:
        self._context.record(self._name, time.perf_counter_ns() - self._begin)


def warm_context() -> RequestContext:
    """Make the context of a call that no client waits for."""
    return RequestContext(request_id="warm-up", deadline=math.inf)


current_request: ContextVar[RequestContext | None] = ContextVar("current_request", default=None)
"""The request that this thread works on, for log lines written below the routes; None outside a request."""
