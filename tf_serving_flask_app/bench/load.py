"""The load generator: many connections, one thread and no HTTP library, so that it takes little from the server."""

from __future__ import annotations

import itertools
import select
import time
from array import array
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from tf_serving_flask_app.bench.exchange import Address, BrokenConnection, Exchange

PATIENCE_S = 60.0
"""How long to wait for an answer, where nothing else is said: longer than the server's own deadline."""

OWN_DELAY_S = 0.002
"""A request that is sent so late at most may have been kept by the load generator itself."""

MOST_FAILURES = 100
"""A load that fails so often tells nothing any more and ends at once."""


@dataclass(frozen=True)
class Load:
    """What to send, where, and how hard.

    Attributes:
        address: host and port.
        requests: complete HTTP/1.1 requests, header and body, sent in turn.
        concurrency: connections; each has one request on its way at most.
        seconds: of the time that counts.
        warmup_s: of the time before it, under the same load, that does not count.
        rate: requests a second, sent in even steps whatever the server does; None: each connection sends its next
            request when it has the answer.
        patience_s: how long an answer may take after the last request was sent.
    """

    address: Address
    requests: tuple[bytes, ...]
    concurrency: int
    seconds: float
    warmup_s: float = 0.0
    rate: float | None = None
    patience_s: float = PATIENCE_S


@dataclass
class Answers:
    """What came back.

    Attributes:
        seconds: the time that counts.
        latencies: seconds from a request's first byte to its answer's last, of the good answers that came in that time.
        sent: all requests, those before and after that time too.
        failures: what went wrong -> how often, at any time.
        connections: how many were opened.
        cpu_s: processor time of the load generator, for ``sent``.
    """

    seconds: float
    latencies: array[float] = field(default_factory=lambda: array("d"))
    sent: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    connections: int = 0
    cpu_s: float = 0.0


def send_load(load: Load) -> Answers:
    """Put a server under load, and wait for the last answer."""
    return _Generator(load).run()


class _Generator:
    def __init__(self, load: Load) -> None:
        self._load = load
        self._answers = Answers(load.seconds)
        self._requests = itertools.cycle(load.requests)
        self._all = [Exchange(load.address) for _ in range(load.concurrency)]
        self._idle = deque(self._all)
        self._watched: dict[int, Exchange] = {}
        self._watch_keys: dict[Exchange, tuple[int, int, bool]] = {}
        self._busy: set[Exchange] = set()
        self._poll = select.epoll()
        now = time.perf_counter()
        self._begin = now + load.warmup_s
        self._end = self._begin + load.seconds
        self._due = self._schedule(now)
        self._next_due = next(self._due)

    def run(self) -> Answers:
        cpu = time.process_time()
        try:
            while self._goes_on():
                self._send_what_is_due()
                select.select([self._poll], [], [], self._wait_s())  # epoll's own clock ticks in milliseconds
                for descriptor, events in self._poll.poll(0):
                    self._heed(descriptor, events)
        finally:
            self._poll.close()
            for exchange in self._all:
                exchange.close()
        self._answers.connections = sum(exchange.connections for exchange in self._all)
        self._answers.cpu_s = time.process_time() - cpu
        return self._answers

    def _schedule(self, now: float) -> Iterator[float]:
        """When each request is due; those of a closed loop always are."""
        if self._load.rate is None:
            yield from itertools.repeat(now)
        else:
            yield from (now + number / self._load.rate for number in itertools.count())

    def _goes_on(self) -> bool:
        now = time.perf_counter()
        if sum(self._answers.failures.values()) >= MOST_FAILURES:
            return False
        if now >= self._end + self._load.patience_s:
            self._answers.failures["no answer in time"] += len(self._busy)
            return False
        return now < self._end or bool(self._busy)

    def _wait_s(self) -> float:
        now = time.perf_counter()
        if now >= self._end:
            return self._end + self._load.patience_s - now
        return max(0.0, min(self._end, self._next_due if self._idle else self._end) - now)

    def _send_what_is_due(self) -> None:
        while self._idle:
            now = time.perf_counter()
            if now >= self._end or self._next_due > now:
                return
            exchange = self._idle.popleft()
            # This process may have waited for a core: a request that is a little late for that is not the server's
            # fault, one that had to wait for a connection is.
            exchange.begun = now if self._load.rate is None or now - self._next_due < OWN_DELAY_S else self._next_due
            self._next_due = next(self._due)
            self._answers.sent += 1
            try:
                exchange.send(next(self._requests))
            except BrokenConnection as exc:
                self._fail(exchange, str(exc))
                return
            self._await(exchange)

    def _heed(self, descriptor: int, events: int) -> None:
        exchange = self._watched[descriptor]
        if exchange not in self._busy:
            exchange.close()  # the server ended an idle connection; the next request opens a new one
            return
        if exchange.sending and events & select.EPOLLOUT:
            exchange.send_on()
        status = None
        if events & ~select.EPOLLOUT:
            try:
                status = exchange.receive()
            except BrokenConnection as exc:
                self._fail(exchange, str(exc))
                return
        if status is None:
            self._await(exchange)
            return
        now = time.perf_counter()
        if status != 200:
            self._answers.failures[f"HTTP {status}"] += 1
        elif self._begin <= now < self._end:
            self._answers.latencies.append(now - exchange.begun)
        self._busy.discard(exchange)
        self._idle.append(exchange)

    def _await(self, exchange: Exchange) -> None:
        """Watch a connection, which costs a system call only where something has changed."""
        self._busy.add(exchange)
        descriptor, number, sending = key = exchange.fileno(), exchange.connections, exchange.sending
        former = self._watch_keys.get(exchange)
        if key == former:
            return
        self._watch_keys[exchange], self._watched[descriptor] = key, exchange
        events = select.EPOLLIN | (select.EPOLLOUT if sending else 0)
        if former is not None and former[1] == number:
            self._poll.modify(descriptor, events)
        else:  # what was closed, is not watched any more
            self._poll.register(descriptor, events)

    def _fail(self, exchange: Exchange, reason: str) -> None:
        exchange.close()
        self._answers.failures[reason] += 1
        self._busy.discard(exchange)
        self._idle.append(exchange)
