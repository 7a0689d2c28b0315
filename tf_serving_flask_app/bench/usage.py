"""What a process and all below it take: processor time and memory."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass

import psutil


@dataclass(frozen=True)
class Memory:
    """Bytes that several processes hold.

    Attributes:
        pss: what they share is counted once.
        rss: what they share is counted in each.
    """

    pss: int = 0
    rss: int = 0

    def __add__(self, other: Memory) -> Memory:
        return Memory(self.pss + other.pss, self.rss + other.rss)


def family(pid: int) -> list[psutil.Process]:
    """A process and all below it."""
    main = psutil.Process(pid)
    return [main, *main.children(recursive=True)]


def cpu_seconds(pid: int) -> float:
    """Processor time of a process and all below it, user and system, since they began.

    Of a process that ended between two calls, its last moments are missing.
    """
    total = 0.0
    for process in family(pid):
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def memory(pid: int) -> Memory:
    """Memory of a process and all below it; https://docs.kernel.org/filesystems/proc.html, ``smaps_rollup``."""
    total = Memory()
    for process in family(pid):
        with suppress(psutil.NoSuchProcess):
            info = process.memory_full_info()
            total += Memory(info.pss, info.rss)
    return total


def age_s() -> float:
    """Seconds since this process began, before it was Python's."""
    return time.time() - psutil.Process().create_time()


def listening_port(pid: int) -> int | None:
    """The first TCP port that a process listens on, or None if it does not (yet)."""
    with suppress(psutil.NoSuchProcess):
        for connection in psutil.Process(pid).net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN:
                return int(connection.laddr.port)
    return None
