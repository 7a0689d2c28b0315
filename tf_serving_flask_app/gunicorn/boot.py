"""How a worker's start ends, told to the master in memory that both share, and the watch kept meanwhile."""

from __future__ import annotations

import json
import mmap
import os
import select
import signal
import threading
import traceback
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any

from tf_serving_flask_app.errors import ConfigurationError

SIZE = 1 << 16
EMPTY, READY, FAILED = b"\0", b"\1", b"\2"
REPLACED = b"\1"
STOP_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGQUIT})


class BootError(Exception):
    """The traceback of a worker's failed start, as text, since tracebacks do not travel between processes."""


@dataclass(frozen=True)
class BootFailure:
    """Why a worker did not start.

    Attributes:
        message: one sentence.
        exit_code: 2 if a setting, a spec or a model file is wrong, 1 for anything else.
        traceback: None where the message says it all.
    """

    message: str
    exit_code: int
    traceback: str | None = None

    @classmethod
    def of(cls, error: BaseException) -> BootFailure:
        """Describe what was raised while the application loaded."""
        if isinstance(error, ConfigurationError):
            return cls(str(error), 2)
        text = "".join(traceback.format_exception(error))
        return cls(f"The application failed to load: {type(error).__name__}: {error}", 1, text)

    @property
    def cause(self) -> BootError | None:
        """The traceback in the shape that loggers take as ``exc_info``."""
        return None if self.traceback is None else BootError(self.traceback)


class BootReport:
    """What one worker and its master tell each other; made before the fork, read by the master also after its death.

    Shared memory rather than a pipe: nothing to close, to inherit by mistake or to read in time.
    """

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, SIZE)

    def ready(self) -> None:
        """Say that the worker serves."""
        self._memory[:1] = READY

    def fail(self, failure: BootFailure) -> None:
        """Say why the worker does not serve; the end of a very long traceback is what is kept."""
        text = json.dumps(asdict(failure)).encode()
        while len(text) > SIZE - 6:
            cut = len(text) - SIZE + 6
            failure = BootFailure(failure.message[:8000], failure.exit_code, (failure.traceback or "")[cut:] or None)
            text = json.dumps(asdict(failure)).encode()
        self._memory[1:5] = len(text).to_bytes(4, "big")
        self._memory[5 : 5 + len(text)] = text
        self._memory[:1] = FAILED

    def replace(self) -> None:
        """Say, as the master, that others serve in the worker's place, so that it has time to end."""
        self._memory[-1:] = REPLACED

    @property
    def is_replaced(self) -> bool:
        """Whether the worker ends because others serve in its place, and not because the server ends."""
        return self._memory[-1:] == REPLACED

    @property
    def is_ready(self) -> bool:
        """Whether the worker has come to serve."""
        return self._memory[:1] == READY

    @property
    def failure(self) -> BootFailure | None:
        """Why the worker did not start, or None if it did, or is still at it, or died without a word."""
        if self._memory[:1] != FAILED:
            return None
        length = int.from_bytes(self._memory[1:5], "big")
        return BootFailure(**json.loads(self._memory[5 : 5 + length]))


class LoadingWatch:
    """While the application loads, perhaps for minutes: the heartbeat, and an ear for signals.

    gunicorn kills a worker whose heartbeat stops, and Python runs signal handlers between two instructions of the
    main thread, so not before a long call into a model library returns. Nothing is being served yet, so whoever is
    told to stop, or has lost the master, simply goes.
    """

    def __init__(self, worker: Any) -> None:
        self._worker = worker
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="loading-watch", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._over.set()
        os.write(self._worker.PIPE[1], b"\0")
        self._thread.join()

    def _watch(self) -> None:
        wake_up = self._worker.PIPE[0]  # Python writes the number of each signal here as it arrives
        pause_s = min(1.0, self._worker.timeout or 1.0)  # gunicorn gives half of --timeout, and 0 for none
        while not self._over.is_set():
            self._worker.notify()
            readable, _, _ = select.select([wake_up], [], [], pause_s)
            arrived = os.read(wake_up, 64) if readable else b""
            if STOP_SIGNALS.intersection(arrived) or os.getppid() != self._worker.ppid:
                os._exit(0)
