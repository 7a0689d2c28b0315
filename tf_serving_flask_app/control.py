"""Tells every worker process of a server what is to be loaded and unloaded, and hears from each that it is.

The processes share a private folder. ``wishes.json`` in it holds what was asked for through the API, so that a worker
that starts later heeds it too. Each worker listens on a Unix socket in it: one line in, the name of a model whose wish
is new, and one line out when the worker has heeded it, what went wrong as a JSON string.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from tf_serving_flask_app.errors import ConfigurationError, DeadlineExceeded, ServingError

logger = logging.getLogger(__name__)

LOCK_POLL_S = 0.02
READ_TIMEOUT_S = 5.0
"""How long a worker waits for the line of one that has connected."""


@dataclass(frozen=True)
class Wish:
    """What was asked for last, of one model.

    Attributes:
        number: counts the wishes of this model from 1.
        loaded: whether it is to be loaded; a new such wish of a model that is, is to load it anew.
    """

    number: int
    loaded: bool


class Control:
    """One worker's part."""

    def __init__(self, folder: Path, heed: Callable[[str, Wish], None]) -> None:
        """Listen from now on.

        Args:
            folder: what the processes share; private, made before the fork.
            heed: does what a wish says, and raises where it cannot; runs in a thread of its own.
        """
        self._folder = folder
        self._heed = heed
        self._parent = os.getppid()
        folder.mkdir(mode=0o700, exist_ok=True)  # what tidies temporary folders up may have taken it
        # A socket's path may be 107 bytes long, a folder's 4095: so by way of a descriptor.
        self._descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._own = folder / f"{os.getpid()}.sock"
        self._listener = socket.socket(socket.AF_UNIX)
        # It gets its name when it listens: one that refuses is taken for a dead worker's, and removed.
        temporary = self._own.with_suffix(".new")
        temporary.unlink(missing_ok=True)
        self._listener.bind(self._address(temporary))
        self._listener.listen(16)
        temporary.replace(self._own)
        self._thread = threading.Thread(target=self._listen, name="control", daemon=True)
        self._thread.start()

    def ask(self, name: str, loaded: bool, deadline_s: float) -> None:
        """Have a model loaded or unloaded by every worker, or, where one cannot load it, by none.

        Raises:
            ConfigurationError: a worker cannot load it; the text says why.
            DeadlineExceeded: a worker has not done so in time; it goes on all the same.
        """
        deadline = time.monotonic() + deadline_s
        with self._turn(deadline):
            former = read_wishes(self._folder).get(name)
            self._write(name, loaded)
            faults = self._tell(name, deadline)
            if faults and loaded and former is not None and not former.loaded:
                self._write(name, False)
                self._tell(name, deadline)
        if faults:
            raise ConfigurationError("; ".join(sorted(set(faults))))

    def close(self) -> None:
        """Listen no more; of a server whose master is gone, the folder goes too."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(READ_TIMEOUT_S)
        self._listener.close()
        os.close(self._descriptor)
        self._own.unlink(missing_ok=True)
        if os.getppid() != self._parent:
            shutil.rmtree(self._folder, ignore_errors=True)

    @contextmanager
    def _turn(self, deadline: float) -> Iterator[None]:
        """Keep other workers' wishes waiting, so that all workers heed all in the same order."""
        with (self._folder / "lock").open("w") as lock:  # its end, and the process's, opens it
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as exc:
                    if time.monotonic() > deadline:
                        raise DeadlineExceeded("Another model is being loaded or unloaded; try again later.") from exc
                    time.sleep(LOCK_POLL_S)
            yield

    def _write(self, name: str, loaded: bool) -> None:
        wishes = dict(read_wishes(self._folder))
        wishes[name] = Wish(wishes[name].number + 1 if name in wishes else 1, loaded)
        temporary = self._folder / "wishes.new"
        temporary.write_text(json.dumps({name: asdict(wish) for name, wish in wishes.items()}), encoding="utf-8")
        temporary.replace(self._folder / "wishes.json")

    def _tell(self, name: str, deadline: float) -> list[str]:
        """Tell all workers at once, then wait for each; returns what went wrong."""
        told = []
        try:
            for path in sorted(self._folder.glob("*.sock")):
                connection = socket.socket(socket.AF_UNIX)
                told.append((path.stem, connection))
                connection.settimeout(max(0.001, deadline - time.monotonic()))
                try:
                    connection.connect(self._address(path))
                    connection.sendall(name.encode() + b"\n")
                except (ConnectionError, FileNotFoundError):
                    path.unlink(missing_ok=True)  # of a worker that was killed; who comes after it reads the wishes
                    told.pop()
                    connection.close()
            return [fault for pid, connection in told if (fault := _fault(pid, connection, deadline))]
        except TimeoutError as exc:
            raise DeadlineExceeded(
                "The deadline passed before every worker process had done it; they go on, see /readyz."
            ) from exc
        finally:
            for _, connection in told:
                connection.close()

    def _listen(self) -> None:
        """The life of the thread that hears the others."""
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, suppress(OSError):
                connection.settimeout(READ_TIMEOUT_S)
                with connection.makefile("rwb") as lines:
                    line = lines.readline()
                    if line.endswith(b"\n"):
                        lines.write(json.dumps(self._answer(line.decode(errors="replace").rstrip())).encode() + b"\n")

    def _answer(self, name: str) -> str:
        """Heed the newest wish for a model; returns what went wrong."""
        try:
            self._heed(name, read_wishes(self._folder)[name])
        except ServingError as exc:
            return str(exc)
        except Exception as exc:
            logger.exception("model %s cannot be loaded", name)
            return f"{type(exc).__name__}: {exc}"
        return ""

    def _address(self, path: Path) -> str:
        return f"/proc/self/fd/{self._descriptor}/{path.name}"


def read_wishes(folder: Path) -> Mapping[str, Wish]:
    """Read what was asked for so far: model -> wish."""
    try:
        wishes = json.loads((folder / "wishes.json").read_bytes())
    except FileNotFoundError:
        return {}
    return {name: Wish(**wish) for name, wish in wishes.items()}


def _fault(pid: str, connection: socket.socket, deadline: float) -> str:
    """Wait for a worker's answer; one that has ended meanwhile has nothing loaded, and so no fault."""
    connection.settimeout(max(0.001, deadline - time.monotonic()))
    with suppress(ConnectionError), connection.makefile("rb") as lines:
        line = lines.readline()
        return str(json.loads(line)) if line.endswith(b"\n") else ""
    return ""
