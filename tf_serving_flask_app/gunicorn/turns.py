"""The queue of requests before the threads: how many work at once, and whose turn is next."""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tf_serving_flask_app.errors import Overloaded
from tf_serving_flask_app.gunicorn.native import Flag

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

_MODEL = re.compile(r"(?:^|&)modelname=([^&]*)")


def kind_of(environ: WSGIEnvironment) -> str:
    """What tells the requests for one model from those for another, before they are read: path and ``modelname``."""
    path: str = environ["PATH_INFO"]
    found = _MODEL.search(environ["QUERY_STRING"])
    return f"{path}?{found[1]}" if found else path


@dataclass(eq=False)
class Turn:
    """A request's place in the queue.

    Attributes:
        kind: of the request.
        flag: set when its turn has come.
        has_come: the same, to be read.
    """

    kind: str
    flag: Flag
    has_come: bool = False


class Turns:
    """A number of places to work, lent to requests of several kinds; those of one kind in the order of their arrival.

    No kind may have more places than three times those that are free then. So requests that pile up for a slow model
    find an end at three quarters of all places, the next kind at three quarters of the rest, and one that comes now and
    then finds a place at once. A place that is given back goes to the kind that has the fewest. The room to wait is
    shared by the same rule.
    """

    def __init__(self, places: int, room: int, flag: Callable[[], Flag], *, shared: bool) -> None:
        """Lend places.

        Args:
            places: how many requests work at once.
            room: how many may wait, to be shared; whoever lets requests in sees to it that there are no more.
            flag: makes what a request waits for.
            shared: whether one kind has to leave places to others.
        """
        self.shared = shared
        self._free = places
        self._room = room
        self._flag = flag
        self._lock = threading.Lock()
        self._working: dict[str, int] = {}
        self._waiting: dict[str, deque[Turn]] = {}

    def take(self, kind: str) -> Turn | None:
        """Take a place, or get in line for one: then it is ``wait`` that says when it is there.

        Raises:
            Overloaded: too many of this kind wait already.
        """
        with self._lock:
            if kind not in self._waiting and self._may_work(kind):
                self._lend(kind)
                return None
            if self.shared and len(self._waiting.get(kind, ())) >= 3 * self._room:
                raise Overloaded
            turn = Turn(kind, self._flag())
            self._waiting.setdefault(kind, deque()).append(turn)
            self._room -= 1
            return turn

    def wait(self, turn: Turn, seconds: float) -> bool:
        """Wait for a turn; False if the time is over first: then the place in the line is given up."""
        turn.flag.wait(seconds)
        with self._lock:
            if not turn.has_come:
                self._leave_line(turn)
            return turn.has_come

    def give_back(self, kind: str) -> None:
        """Give a place back."""
        with self._lock:
            self._free += 1
            self._working[kind] -= 1
            if not self._working[kind]:
                del self._working[kind]
            while self._waiting and (chosen := self._next()) is not None:
                turn = self._waiting[chosen][0]
                self._leave_line(turn)
                self._lend(chosen)
                turn.has_come = True
                turn.flag.set()

    def _leave_line(self, turn: Turn) -> None:
        self._room += 1
        line = self._waiting[turn.kind]
        line.remove(turn)
        if not line:
            del self._waiting[turn.kind]

    def _next(self) -> str | None:
        """The kind whose turn it is; None where all have to wait."""
        allowed = [kind for kind in self._waiting if self._may_work(kind)]
        return min(allowed, key=lambda kind: self._working.get(kind, 0), default=None)

    def _may_work(self, kind: str) -> bool:
        return self._free > (self._working.get(kind, 0) // 3 if self.shared else 0)

    def _lend(self, kind: str) -> None:
        self._free -= 1
        self._working[kind] = self._working.get(kind, 0) + 1
