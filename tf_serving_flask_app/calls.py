"""One request's call of a model, while it waits for its turn or for the batch that it is in; and where it waits."""

from __future__ import annotations

import time
from dataclasses import dataclass
from threading import Condition, Lock

from tf_serving_flask_app.context import CLIENT_LOOK_S, RequestContext
from tf_serving_flask_app.errors import ClientGone
from tf_serving_flask_app.tensors import Tensors


@dataclass(eq=False)
class Call:
    """One request's part in a batch; ``news`` is notified when it is its turn to lead, and when it is over.

    Attributes:
        inputs: the tensors.
        rows: their first dimension.
        kind: what calls that can be joined have in common: the signature, dtypes and the other dimensions.
        context: the request's.
        due: when to look whether its answer is still wanted, on the clock of ``time.monotonic()``, in seconds.
        arrived: when it came, on the clock of ``time.perf_counter_ns()``.
        news: of the batcher's lock; only a call that has to wait has it.
        leads: it is this call's turn to run a batch, itself in it.
        over: there is an answer, or an error.
        outputs: its share of the answer.
        error: why there is none.
        began: when the model was called, on the same clock.
        took: how long that lasted, in nanoseconds.
        joined: how many calls were answered by it.
    """

    inputs: Tensors
    rows: int
    kind: object
    context: RequestContext
    due: float
    arrived: int
    news: Condition | None = None
    leads: bool = False
    over: bool = False
    outputs: Tensors | None = None
    error: Exception | None = None
    began: int = 0
    took: int = 0
    joined: int = 1

    def check_wanted(self) -> None:
        """Raise if nobody waits for the answer any more; not to be asked again at once.

        Raises:
            DeadlineExceeded: it would come too late.
            ClientGone: the client has closed its connection.
        """
        self.context.check_deadline("while the request waited for the model")
        if self.context.client_gone():
            raise ClientGone
        self.due = min(time.monotonic() + CLIENT_LOOK_S, self.context.deadline)

    def tell(self) -> None:
        """Wake who waits for it; with the batcher's lock."""
        if self.news is not None:
            self.news.notify()


class Line:
    """The calls that wait for a model, in the order of their arrival; of all signatures that run one after the other.

    Attributes:
        lock: to be held for all that follows.
        arrival: of the lock; notified when a call comes to wait.
        free: how many calls of the model may begin before others have to wait.
        waiting: the calls.
    """

    def __init__(self, calls_at_once: int = 1) -> None:
        self.lock = Lock()
        self.arrival = Condition(self.lock)
        self.free = calls_at_once
        self.waiting: list[Call] = []
