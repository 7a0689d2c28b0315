"""A process of our own that does one job after the other, so that it shares nothing with what is measured."""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Generic, TypeVar

from tf_serving_flask_app.errors import ConfigurationError, ServingError

Job = TypeVar("Job")
Result = TypeVar("Result")

EXIT_S = 10.0


class Helper(Generic[Job, Result]):
    """Starts a process that makes its worker once, then works on what it is given; ended by ``close``, or with us.

    What it writes is shown only if it fails.

    Args:
        make: called there with ``arguments``; returns what does a job. Both are found there by import.
        arguments: anything that can be pickled.
        name: for errors.
    """

    def __init__(self, make: Callable[..., Callable[[Job], Result]], *arguments: Any, name: str) -> None:
        self._name = name
        # Spawned, as a fork would share TensorFlow's state, and give the child this process's signal handlers.
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._output = tempfile.NamedTemporaryFile(prefix="bench-", suffix=".log")  # noqa: SIM115
        self.process = context.Process(target=_work, args=(theirs, self._output.name, make, arguments), daemon=True)
        # Ctrl-C goes to all processes of a terminal, and this one is ours to end: it inherits that the signal is
        # blocked. Here it is but late: ignored meanwhile, it would be lost.
        resource_tracker.ensure_running()  # which unblocks the signal when it starts
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        theirs.close()

    def wait_ready(self) -> None:
        """Wait until its worker is made.

        Raises:
            ConfigurationError: it could not be made.
        """
        self.answer()

    def give(self, job: Job) -> None:
        """Give it a job; ``answer`` waits for what comes of it."""
        self._connection.send(job)

    def answer(self) -> Result:
        """Wait for the last job's result.

        Raises:
            ConfigurationError: it failed.
        """
        try:
            result, failure = self._connection.recv()
        except EOFError as exc:
            self.process.join(EXIT_S)
            written = Path(self._output.name).read_text("utf-8", "replace").splitlines()[-10:]
            raise ConfigurationError("\n".join([f"{self._name} ended early:", *written])) from exc
        if failure is not None:
            raise ConfigurationError(f"{self._name}: {failure}")
        done: Result = result
        return done

    def close(self) -> None:
        """End it, whatever it does at the moment."""
        self._connection.close()
        self.process.terminate()
        self.process.join(EXIT_S)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.process.close()
        self._output.close()


def _work(
    connection: Connection, output: str, make: Callable[..., Callable[[Any], Any]], arguments: tuple[Any, ...]
) -> None:
    """The life of the process; ends when the other end of the connection is closed."""
    descriptor = os.open(output, os.O_WRONLY | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    with suppress(EOFError, BrokenPipeError):
        try:
            work = make(*arguments)
        except ServingError as exc:
            connection.send((None, str(exc)))
            return
        connection.send((None, None))
        while True:
            job = connection.recv()
            try:
                result = work(job)
            except ServingError as exc:
                connection.send((None, str(exc)))
            else:
                connection.send((result, None))
