"""Even workers: the less loaded one accepts first, and an overloaded one gives connections up.

All workers accept from one socket, and a connection stays where it was accepted. Whoever wakes up first would get it,
so that one worker may serve everybody while the others have nothing to do. A worker with more connections in use than
another therefore waits a moment before it accepts. What gets uneven later, because clients leave or a worker is new,
is mended on kept-alive connections: a worker with clearly more than the mean answers some requests with ``Connection:
close``, and their clients come back to a less loaded one.

Only connections in use count: those with a request under way or a moment ago, and new ones. Idle ones are no load.

The kernel offers two other ways. With ``SO_REUSEPORT`` each worker has a socket of its own, and a hash of the addresses
chooses: 16 connections on 2 workers are split 10 to 6 or worse in nearly half of the cases, a busy worker gets as many
as an idle one, and what waits in the socket of a worker that ends is reset. ``EPOLLEXCLUSIVE`` wakes one worker and
not all, but mostly the same one, whatever it has to do, and neither eventlet nor gevent can ask for it.
"""

from __future__ import annotations

import math
import mmap
import threading
import time
from collections.abc import Callable, Hashable

MOST_WORKERS = 4096
"""Places in the shared memory, for workers that end and those that replace them at the same time too."""

TICK_S = 0.5
"""How often a worker shows that it lives and accepts, and looks whether it has too much."""

STALE_S = 3 * TICK_S
"""A worker that has not shown itself for so long hangs: nobody waits for it."""

RECENT_S = 0.5
"""A connection is in use for so long after its last request, or after it was accepted."""

SETTLE_S = 1.0
"""How long clients that were sent away have to come back before a worker sends more of them away."""

STEP_S = 0.001
"""How long a worker that lets another one accept first waits before it looks again."""

PATIENCE_S = 0.01
"""How long a worker lets another one accept first, for each connection that it has more."""

MOST_PATIENCE_S = 0.05
"""The same in all: no connection waits longer for a worker that cannot take it, as it hangs or has no processor."""

SLACK = 16
"""With so many connections in use, one more than another worker is even enough; with twice as many, two more."""

CLEARLY = 4
"""A worker gives connections up when it has more than the mean by one and by the mean divided by this."""

FEW = 8
"""So many connections may be given up at once; of more than four times as many, a quarter."""


class Loads:
    """How many connections each worker has in use, in memory that all of them share; made before the first fork.

    A number is written by one process only and is an aligned machine word, so there is no lock.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Make it, with a clock that is the same in all processes, as the system's monotonic one is."""
        self.clock = clock
        # How many places may be in use; then for each place when its worker showed itself last (in nanoseconds, 0 if
        # it does not accept), and its load.
        self._cells = memoryview(mmap.mmap(-1, 8 * (1 + 2 * MOST_WORKERS))).cast("q")
        self._taken: set[int] = set()

    def take(self) -> int:
        """Find a place for a new worker, in the master; should there be none, the last one is shared."""
        place = next((number for number in range(MOST_WORKERS) if number not in self._taken), MOST_WORKERS - 1)
        self._taken.add(place)
        self._cells[0] = max(self._cells[0], place + 1)
        return place

    def free(self, place: int) -> None:
        """Give the place of a worker that has ended to the next one, in the master."""
        self.show(place, accepts=False)
        self.write(place, 0)
        self._taken.discard(place)

    def show(self, place: int, *, accepts: bool) -> None:
        """Say that a worker lives, and whether it accepts connections."""
        self._cells[1 + 2 * place] = int(self.clock() * 1e9) if accepts else 0

    def write(self, place: int, load: int) -> None:
        """Say how many connections a worker has in use."""
        self._cells[2 + 2 * place] = load

    def others(self, place: int) -> list[int]:
        """Read the loads of all other workers that live and accept."""
        numbers = self._cells[1 : 1 + 2 * self._cells[0]].tolist()
        stale = (self.clock() - STALE_S) * 1e9
        return [
            load
            for other, (seen, load) in enumerate(zip(numbers[::2], numbers[1::2], strict=True))
            if seen > stale and seen and other != place
        ]


class Share:
    """One worker's share of the load; made in the master, before the fork, and used in the worker's main thread."""

    def __init__(self, loads: Loads) -> None:
        self._loads = loads
        self._place = loads.take()
        # A connection in use -> when its last request ended, infinity while there is one under way.
        self._in_use: dict[Hashable, float] = {}
        self._running = 0
        self._next_tick = 0.0
        self._settled_at = 0.0
        self.surplus = 0
        """Connections to give up, see ``give_up_one``."""
        self._lock = threading.Lock()

    def opened(self, connection: Hashable) -> None:
        """A connection was accepted."""
        with self._lock:
            self._in_use[connection] = self._loads.clock()
            self._publish()

    def begins(self, connection: Hashable) -> None:
        """A request comes in."""
        with self._lock:
            before = self._in_use.get(connection)
            if before != math.inf:
                self._running += 1
                self._in_use[connection] = math.inf
            if before is None:
                self._publish()

    def ends(self, connection: Hashable) -> None:
        """No request is under way, the connection stays; from any thread."""
        with self._lock:
            if self._in_use.get(connection) == math.inf:
                self._running -= 1
                self._in_use[connection] = self._loads.clock()

    def closed(self, connection: Hashable) -> None:
        """The connection is gone."""
        with self._lock:
            if self._in_use.pop(connection, None) == math.inf:
                self._running -= 1
            self._publish()

    def tick(self, *, accepts: bool) -> None:
        """Forget connections that are idle, show the others what is left, and see whether that is too much.

        To be called at least each ``TICK_S``; more often costs nothing.

        Args:
            accepts: the worker would take one more connection.
        """
        now = self._loads.clock()
        if now < self._next_tick:
            return
        self._next_tick = now + TICK_S
        self._loads.show(self._place, accepts=accepts)
        with self._lock:
            for connection in [each for each, used in self._in_use.items() if used < now - RECENT_S]:
                del self._in_use[connection]
            self._publish()
            if now >= self._settled_at:
                self.surplus = self._too_many()

    def leave(self) -> None:
        """The worker stops accepting, for good."""
        self._loads.show(self._place, accepts=False)
        self._next_tick = math.inf

    def give_back(self) -> None:
        """The worker has ended; called in the master."""
        self._loads.free(self._place)

    def patience_s(self) -> float:
        """How long others should have had the chance to accept a connection before this worker does."""
        load = len(self._in_use)
        if not load:
            return 0.0
        more = load - min(self._loads.others(self._place), default=load)
        return min(PATIENCE_S * more, MOST_PATIENCE_S) if more > load // SLACK else 0.0

    def give_up_one(self) -> bool:
        """Tell whether a connection that can be closed now should be, and count it as given up; from any thread.

        Where no other request is under way beside it, nothing would be gained.
        """
        with self._lock:
            if not self.surplus or self._running < 2:
                return False
            self.surplus -= 1
            self._settled_at = self._loads.clock() + SETTLE_S
            return True

    def _publish(self) -> None:
        self._loads.write(self._place, len(self._in_use))

    def _too_many(self) -> int:
        """How many connections to give up, so that this worker comes down to the mean."""
        load = len(self._in_use)
        loads = [load, *self._loads.others(self._place)]
        mean = sum(loads) / len(loads)
        surplus = int(load - mean)
        return min(surplus, max(FEW, load // 4)) if surplus >= mean / CLEARLY else 0
