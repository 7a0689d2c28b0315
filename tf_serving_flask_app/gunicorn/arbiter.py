"""The master process: gunicorn's, with a start that can fail cleanly and a reload that cannot."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

from gunicorn import sock
from gunicorn.arbiter import Arbiter

from tf_serving_flask_app.gunicorn.boot import STOP_SIGNALS, BootFailure

RETRY_AFTER_S = 2.0
MOST_RETRY_AFTER_S = 30.0
"""A worker that fails to start is tried again after this long, doubled from the former with each failure in a row."""


MasterHook = Callable[[int, int], None]
"""Called in the master with the user and the group that the workers run as."""


class Master(Arbiter):
    """Starts, watches and stops the workers.

    What differs from gunicorn's: Ctrl-C is a graceful stop. A first start that fails ends the server with one line and
    a meaningful exit code. Once a worker has served, no failing one ends the server, and at a reload the old workers
    serve until the new ones do.
    """

    def __init__(self, app: Any, before_fork: MasterHook) -> None:
        super().__init__(app)
        self._before_fork = before_fork
        self._has_served = False
        self._failures = 0
        self._retry_at = 0.0
        self._stopping = False
        self._before_reload = 0  # the age of the youngest worker before the last reload
        self._reload_began: float | None = None
        # For SIGUSR2: gunicorn's own guess does not know ``python -m``.
        self.START_CTX["args"] = [sys.executable, *sys.orig_argv[1:]]

    def start(self) -> None:
        """Listen, then do once, for all workers, what is slow and survives a fork."""
        super().start()
        self._before_fork(self.cfg.uid, self.cfg.gid)

    def handle_int(self) -> None:
        """Ctrl-C: stop gracefully; a second one is quick, see gunicorn's ``stop``."""
        self.handle_term()

    def stop(self, graceful: bool = True) -> None:
        """Stop the workers; from now on it does not matter how one of them started."""
        self._stopping = True
        super().stop(graceful)

    def spawn_worker(self) -> int:
        """Fork one worker; it takes signals once it knows what to do with them, see ``ServingWorker.init_signals``.

        Until then it has the master's handlers, where a signal to stop would be lost.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        try:
            pid: int = super().spawn_worker()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        return pid

    def spawn_workers(self) -> None:
        """Start the workers that are missing, unless the last ones failed a moment ago."""
        if time.monotonic() >= self._retry_at:
            for _ in range(self.num_workers - len(self._current_workers())):
                self.spawn_worker()

    def manage_workers(self) -> None:
        """Start what is missing, and stop what is too much once the workers that stay are serving."""
        self._hear(self.WORKERS.values())
        current = self._current_workers()
        staying = current[max(0, len(current) - self.num_workers) :]
        if len(staying) < self.num_workers:
            self.spawn_workers()
        elif all(worker.report.is_ready for worker in staying):
            self._failures = 0
            if self._reload_began is not None:
                spent = time.monotonic() - self._reload_began
                self.log.info("The reload took %.1f s: new workers serve now, the former ones end.", spent)
                self._reload_began = None
            for worker in self.WORKERS.values():
                if worker not in staying:
                    worker.report.replace()
            super().manage_workers()

    def _current_workers(self) -> list[Any]:
        """The workers that are no older than the last reload, the oldest first."""
        current = [worker for worker in self.WORKERS.values() if worker.age > self._before_reload]
        return sorted(current, key=lambda worker: worker.age)

    def reap_workers(self) -> None:
        """Bury the dead, and draw conclusions from those that died before they served."""
        before = dict(self.WORKERS)
        super().reap_workers()
        self._hear(before.values())
        for pid in before.keys() - self.WORKERS.keys():
            before[pid].share.give_back()
            report = before[pid].report
            if not (self._stopping or report.is_ready or report.is_replaced):
                self._judge(before[pid].report.failure)

    def reload(self) -> None:
        """SIGHUP: read models and configuration again and start new workers; ``manage_workers`` stops the old ones.

        Addresses and the pid file stay: what listens, keeps listening.
        """
        if not self.app.reload():
            return
        self.setup(self.app)
        for pid, worker in list(self.WORKERS.items()):
            if not worker.report.is_ready:  # of a reload a moment ago: nobody needs them any more
                worker.report.replace()
                self.kill_worker(pid, signal.SIGTERM)
        self._before_reload, self._reload_began = self.worker_age, time.monotonic()
        self._failures, self._retry_at = 0, 0.0
        self.spawn_workers()

    def _hear(self, workers: Any) -> None:
        """Notice who has come to serve."""
        if any(worker.report.is_ready for worker in workers):
            self._has_served = True

    def _judge(self, failure: BootFailure | None) -> None:
        """Decide what the death of a worker that never served means; without a report it was killed, or crashed."""
        if failure is not None and not self._has_served:
            self._give_up(failure)
        if time.monotonic() < self._retry_at:
            return  # one of several that failed together, most likely for the same reason
        delay = min(RETRY_AFTER_S * 2**self._failures, MOST_RETRY_AFTER_S)
        self._failures += 1
        self._retry_at = time.monotonic() + delay
        message = failure.message.rstrip(".") if failure is not None else "A worker died before it served"
        if self._reload_began is not None:
            message += ". The workers from before the reload serve on"
        self.log.error(
            "%s. Trying again in %.0f s.", message, delay, exc_info=failure.cause if failure is not None else None
        )

    def _give_up(self, failure: BootFailure) -> NoReturn:
        """End a server that never served: nobody is waiting for an answer, so without ceremony and with one line."""
        for pid in self.WORKERS:
            os.kill(pid, signal.SIGKILL)
        for pid in self.WORKERS:
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)
        sock.close_sockets(self.LISTENERS)
        if self.pidfile is not None:
            self.pidfile.unlink()
        self.log.error("%s", failure.message, exc_info=failure.cause)
        sys.exit(failure.exit_code)
