"""Numbers that several processes count and each of them can sum up: prometheus_client's files, without its globals.

The library's own counters live where an environment variable says when the library is imported, the same for all of a
process, and each restart of a worker leaves files behind for ever. Here whoever counts has a folder of its own, and a
new process goes on counting in the files of one that has ended. The format of the files, the summing up and the
encoding are the library's.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import shutil
import tempfile
import weakref
from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path
from threading import RLock

from prometheus_client.metrics_core import Metric
from prometheus_client.mmap_dict import MmapedDict, mmap_key
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

IN_MEMORY = "/dev/shm"
PREFIX = "tf_serving_flask_app-"
FOLDER_LOCK = "lock"
FILE_BYTES = 1 << 16
"""A file's size at first; the library doubles it when it is full."""


class SharedFolder:
    """A private folder that a server's processes share; made before the fork, removed by who made it.

    It lies in memory if that can be: with a disk that is slow for a while, all that count would stop, and what tidies
    temporary folders up would take it from a server that runs for weeks. Its lock is held
    while a process lives that made or inherited it, so that the next server can remove what a killed one left.
    """

    def __init__(self) -> None:
        parent = Path(IN_MEMORY if os.access(IN_MEMORY, os.W_OK) else tempfile.gettempdir())
        for left in parent.glob(f"{PREFIX}*"):
            if not is_locked(left / FOLDER_LOCK):
                shutil.rmtree(left, ignore_errors=True)
        self.path = Path(tempfile.mkdtemp("", PREFIX, parent))
        # It gets its name when it is locked: nobody must find it free in between.
        self._lock = take_lock(self.path / "new")
        os.rename(self.path / "new", self.path / FOLDER_LOCK)

    def remove(self) -> None:
        """Remove it and all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def take_lock(path: Path) -> int:
    """Lock a file, which is made if need be, until the descriptor that this returns is closed, by whatever end.

    Raises:
        BlockingIOError: it is locked already.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise
    return descriptor


def is_locked(path: Path) -> bool:
    """Tell whether somebody holds the lock; also of a file that is not there yet, or is another user's."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


class ValueFile(MmapedDict):
    """The library's file of values, which can be written in place: the library's own way costs several times that."""

    def __init__(self, path: Path) -> None:
        """Open it, made if need be; nobody ever sees it empty, over which the library would stumble."""
        if not path.exists():
            new = path.with_suffix(".new")
            with new.open("wb") as file:
                file.truncate(FILE_BYTES)
            new.rename(path)
        super().__init__(str(path))  # type: ignore[no-untyped-call]
        # The values' file as doubles, by its size: when it grows, those that were made before stay in the smaller view.
        self._views: dict[int, memoryview[float]] = {}

    def make_value(self, key: str) -> Value:
        """Find or make a value."""
        self.read_value(key)  # type: ignore[no-untyped-call]
        if self._capacity not in self._views:
            self._views[self._capacity] = memoryview(mmap.mmap(self._f.fileno(), self._capacity)).cast("d")
        return Value(self._views[self._capacity], self._positions[key] // 8)

    def close(self) -> None:
        """Close it; from now on its values refuse to change, as another process may go on in the file."""
        for view in self._views.values():
            view.release()
        super().close()  # type: ignore[no-untyped-call]


class Value:
    """One number of this process; who changes it holds ``SharedValues.lock``."""

    __slots__ = ("_index", "_numbers")

    def __init__(self, numbers: memoryview[float], index: int) -> None:
        self._numbers = numbers
        self._index = index

    def add(self, amount: float) -> None:
        """Count."""
        self._numbers[self._index] += amount

    def set(self, value: float) -> None:
        """Forget what it was."""
        self._numbers[self._index] = value


class SharedValues:
    """The values of this process, and the sum over all processes that use the same folder.

    A process has the lowest number that no living one has, and files that bear it. Which numbers are taken is told by
    locks, which the kernel frees when a process ends, however it ends.
    """

    def __init__(self, folder: Path | None = None) -> None:
        """Take a number; only after the fork.

        Args:
            folder: shared by the processes, who makes it removes it; None for one that is gone with this object.
        """
        own_folder: SharedFolder | None = None
        if folder is None:
            own_folder = SharedFolder()
            folder = own_folder.path
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # systemd may remove a user's who has logged out
        self.folder = folder
        self.lock = RLock()
        """Held while values are made or changed: once for all that one event counts, as that is cheaper."""
        self._values: dict[tuple[str, str], Value] = {}
        self._files: dict[str, ValueFile] = {}
        self._number, claim = self._take_number()
        mark_process_dead(self._number, str(self.folder))  # type: ignore[no-untyped-call]
        self.close = weakref.finalize(self, _release, self._files, claim, own_folder)
        """Let another process have the number; the values cannot be used any more."""

    def value(self, kind: str, family: str, name: str, labels: dict[str, str], text: str) -> Value:
        """Find or make a value.

        Args:
            kind: what the library calls type and mode: ``counter``, ``histogram``, ``gauge_livesum``, ``gauge_max``;
                of a ``live`` gauge only the living processes count.
            family: the metric's name, of a counter without ``_total``.
            name: the sample's name.
            labels: the sample's labels.
            text: one sentence that explains the metric.
        """
        key = mmap_key(family, name, list(labels), list(labels.values()), text)
        with self.lock:
            if (kind, key) not in self._values:
                if kind not in self._files:
                    self._files[kind] = ValueFile(self.folder / f"{kind}_{self._number}.db")
                self._values[kind, key] = self._files[kind].make_value(key)
            return self._values[kind, key]

    def collect(self) -> list[Metric]:
        """Sum up all processes' values; the name is what prometheus_client's registry calls."""
        files = []
        living: dict[str, bool] = {}
        for path in sorted(self.folder.glob("*.db")):
            kind, _, number = path.stem.rpartition("_")
            if kind.startswith("gauge_live"):
                if number not in living:
                    living[number] = is_locked(self.folder / f"{number}.lock")
                if not living[number]:
                    continue
            files.append(str(path))
        return list(MultiProcessCollector.merge(files))  # type: ignore[no-untyped-call]

    def _take_number(self) -> tuple[int, int]:
        """Take the lowest free number; returns it and the descriptor that holds its lock."""
        number = 0
        while True:
            try:
                return number, take_lock(self.folder / f"{number}.lock")
            except BlockingIOError:
                number += 1


class Family:
    """A counter or gauge: a value for each combination of labels.

    Args:
        values: where they live.
        kind: see ``SharedValues.value``.
        name: as Prometheus has it, with ``_total`` for a counter.
        text: one sentence that explains it.
        labels: their names.
    """

    def __init__(self, values: SharedValues, kind: str, name: str, text: str, labels: Sequence[str] = ()) -> None:
        self._values = values
        self._what = kind, name.removesuffix("_total"), name
        self._text = text
        self._labels = tuple(labels)
        self._children: dict[tuple[str, ...], Value] = {}

    def of(self, *labels: str) -> Value:
        """The value for these labels."""
        value = self._children.get(labels)
        if value is None:
            named = dict(zip(self._labels, labels, strict=True))
            value = self._children[labels] = self._values.value(*self._what, named, self._text)
        return value


class Distribution:
    """A histogram's values for one combination of labels."""

    __slots__ = ("_bounds", "_buckets", "_sum")

    def __init__(self, total: Value, bounds: Sequence[float], buckets: Sequence[Value]) -> None:
        self._sum = total
        self._bounds = bounds
        self._buckets = buckets

    def observe(self, amount: float) -> None:
        """Count one observation."""
        self._sum.add(amount)
        self._buckets[bisect_left(self._bounds, amount)].add(1)


class Histogram:
    """A histogram: a distribution for each combination of labels.

    Args:
        values: where they live.
        name: as Prometheus has it, with its unit.
        text: one sentence that explains it.
        labels: their names.
        bounds: the buckets' upper bounds, floats, ascending, without infinity.
    """

    def __init__(
        self, values: SharedValues, name: str, text: str, labels: Sequence[str], bounds: Sequence[float]
    ) -> None:
        self._values = values
        self._name = name
        self._text = text
        self._labels = tuple(labels)
        self._bounds = tuple(bounds)
        self._children: dict[tuple[str, ...], Distribution] = {}

    def of(self, *labels: str) -> Distribution:
        """The distribution for these labels."""
        distribution = self._children.get(labels)
        if distribution is None:
            named = dict(zip(self._labels, labels, strict=True))
            buckets = [self._value("_bucket", {**named, "le": le}) for le in (*map(repr, self._bounds), "+Inf")]
            distribution = Distribution(self._value("_sum", named), self._bounds, buckets)
            self._children[labels] = distribution
        return distribution

    def _value(self, suffix: str, labels: dict[str, str]) -> Value:
        return self._values.value("histogram", self._name, self._name + suffix, labels, self._text)


def _release(files: dict[str, ValueFile], claim: int, own_folder: SharedFolder | None) -> None:
    """Close what a ``SharedValues`` holds, and remove the folder if it is its own."""
    for file in files.values():
        file.close()
    os.close(claim)
    if own_folder is not None:
        own_folder.remove()
