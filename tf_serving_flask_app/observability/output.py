"""Makes every line that the process tree writes to stdout or stderr a JSON line, also those of C++ code.

File descriptors 1 and 2 lead into a pipe; a small child process, the log pump, reads it and writes each line as a
JSON record to the real stdout. Log records, which are JSON already, go to the real stdout directly.
"""

from __future__ import annotations

import fcntl
import io
import json
import logging
import os
import re
import signal
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress

# Bound at import: eventlet and gevent take these names out of the module when they patch it.
from select import PIPE_BUF, POLLOUT, poll
from typing import NoReturn

from tf_serving_flask_app.observability.formatters import JsonFormatter

_MAX_PIECE = 64 * 1024
_PUMP_EXIT_S = 2.0

# glog and absl ("W0000 00:00:..."), TensorFlow ("2026-01-31 10:00:00.000001: W tensorflow/..."), plain words,
# and how C and C++ libraries end a process.
_SEVERITY = re.compile(
    r"([IWEF])\d{4} \d\d:\d\d:"
    r"|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: ([IWEF]) "
    r"|(INFO|WARNING|ERROR|FATAL|Fatal Python error|Traceback|terminate called|double free|free\(|malloc\()"
)
_LEVELS = {"I": logging.INFO, "W": logging.WARNING, "F": logging.CRITICAL}  # the rest: ERROR


class CapturedOutput:
    """The real stdout of a process tree whose file descriptors 1 and 2 are captured; see capture_output()."""

    def __init__(self, stdout: int, stderr: int, lock: int) -> None:
        self._stdout = stdout
        self._stderr = stderr
        self._lock = lock
        self._lines = _non_blocking(stdout)
        self._whole_bytes = _whole_bytes(stdout)
        self._owner = os.getpid()
        self._pump: int | None = None

    def write(self, line: bytes) -> None:
        """Write one line, given without its newline, to the real stdout; drop it if nobody reads any more.

        Lines of several processes do not mix. Threads of one process must take turns, as LineHandler makes them: a
        lock between processes knows no threads.
        """
        data = line + b"\n"
        with suppress(OSError):  # the reader has gone or the disk is full: no reason to stop serving
            if self._whole_bytes == sys.maxsize:
                os.write(self._lines, data)  # nobody writes in parts
            elif len(data) <= self._whole_bytes:
                self._write_whole(data)
            else:
                self._write_in_parts(data)

    def close(self) -> None:
        """Put the real stdout and stderr back and wait, two seconds at most, for the pump's last line.

        Does nothing in a forked child, and nothing the second time. Lines can still be written afterwards.
        """
        if self._pump is None or os.getpid() != self._owner:
            return
        _flush_python_streams()
        os.dup2(self._stdout, 1)
        os.dup2(self._stderr, 2)
        _wait_for_exit(self._pump, _PUMP_EXIT_S)
        self._pump = None

    def _write_whole(self, data: bytes) -> None:
        """Write what the kernel writes in one piece: beside others who do so, but not into a line in parts.

        Nothing is locked while there is no room, so that a process that waits, or is stopped then, stops nobody else.
        """
        while True:
            fcntl.lockf(self._lock, fcntl.LOCK_SH)
            try:
                os.write(self._lines, data)
                return
            except BlockingIOError:
                pass
            finally:
                fcntl.lockf(self._lock, fcntl.LOCK_UN)
            self._wait_for_room()

    def _write_in_parts(self, data: bytes) -> None:
        """Write what may take several writes, between which nobody else may write."""
        rest = memoryview(data)
        fcntl.lockf(self._lock, fcntl.LOCK_EX)
        try:
            while rest:
                try:
                    rest = rest[os.write(self._lines, rest) :]
                except BlockingIOError:
                    self._wait_for_room()
        finally:
            fcntl.lockf(self._lock, fcntl.LOCK_UN)

    def _wait_for_room(self) -> None:
        writable = poll()
        writable.register(self._lines, POLLOUT)
        writable.poll()

    def _start_pump(self) -> None:
        source, sink = os.pipe()
        # The child keeps every signal blocked: what stops the group must not take the pump before its writers.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            self._pump = os.fork()
            if self._pump == 0:
                self._run_pump(source)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.close(source)
        os.dup2(sink, 1)
        os.dup2(sink, 2)
        os.close(sink)

    def _run_pump(self, source: int) -> NoReturn:
        """Be the pump until every writer has gone, then end without returning."""
        try:
            os.setsid()
            _keep_only({source, self._lines, self._lock})
            formatter = JsonFormatter()
            for line in _lines(source):
                encoded = _as_json(line, formatter, self._owner)
                if encoded:
                    self.write(encoded)
        finally:
            os._exit(0)  # not 3, say: to gunicorn, which may reap the pump, that means a worker failed to boot


def capture_output() -> CapturedOutput:
    """Lead file descriptors 1 and 2 of this process and its children through a log pump; give the real stdout.

    Call it once in the main process, before any thread starts and anything heavy is imported, since it forks.
    The pump ends by itself when the last process that holds the pipe has ended, however it ended.
    """
    _open_missing_standard_fds()
    lock, path = tempfile.mkstemp()
    os.unlink(path)
    stdout, stderr = (fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3) for fd in (1, 2))
    output = CapturedOutput(stdout, stderr, lock)
    output._start_pump()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Under PYTHONUNBUFFERED each part of a print() would be a write of its own, and lines would mix.
            stream.reconfigure(line_buffering=True, write_through=False)
    return output


def _non_blocking(stdout: int) -> int:
    """Open a pipe a second time, so as not to block in it: the first time is shared with whoever else got it."""
    if not stat.S_ISFIFO(os.fstat(stdout).st_mode):
        return stdout
    try:
        return os.open(f"/proc/self/fd/{stdout}", os.O_WRONLY | os.O_NONBLOCK)
    except OSError:  # another user's, or without a reader
        return stdout


def _whole_bytes(stdout: int) -> int:
    """Return how much the kernel writes in one piece, whoever else writes at the same time."""
    mode = os.fstat(stdout).st_mode
    if stat.S_ISFIFO(mode):
        return PIPE_BUF
    appends = fcntl.fcntl(stdout, fcntl.F_GETFL) & os.O_APPEND
    return sys.maxsize if stat.S_ISREG(mode) and appends else 0


def _lines(source: int) -> Iterator[bytes]:
    """Yield the lines of a pipe until its last writer has gone, long ones in pieces."""
    rest = b""
    while chunk := os.read(source, _MAX_PIECE):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield from _pieces(line)
        *pieces, rest = _pieces(rest)
        yield from pieces
    yield rest


def _pieces(line: bytes) -> list[bytes]:
    return [line[start : start + _MAX_PIECE] for start in range(0, len(line), _MAX_PIECE)] or [b""]


def _as_json(line: bytes, formatter: JsonFormatter, pid: int) -> bytes:
    """Return the line as JSON, without a newline; empty for an empty line."""
    if not line.strip():
        return b""
    if _is_json_record(line):
        return line
    text = line.decode("utf-8", "replace").rstrip("\r")
    severity = _SEVERITY.match(text)
    level = _LEVELS.get(severity[severity.lastindex or 0][0], logging.ERROR) if severity else logging.INFO
    record = logging.LogRecord("native", level, "", 0, text, None, None)
    record.process, record.threadName = pid, "native"
    return formatter.format(record).encode("ascii")


def _is_json_record(line: bytes) -> bool:
    """Tell whether the line is a log record already, and one that strict parsers accept."""
    if not line.startswith(b"{"):
        return False
    try:
        record = json.loads(line.decode())
        json.dumps(record, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        return False
    return "@timestamp" in record


def _keep_only(fds: set[int]) -> None:
    """Close every other file descriptor, and lead 0, 1 and 2 to nowhere."""
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    for fd in {int(name) for name in os.listdir("/dev/fd")} - fds - {0, 1, 2}:
        with suppress(OSError):  # the listing's own descriptor is closed already
            os.close(fd)


def _open_missing_standard_fds() -> None:
    """Make sure that 0, 1 and 2 are open, so that no other file gets one of these numbers."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(fd)


def _flush_python_streams() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            if stream is not None:
                stream.flush()


def _wait_for_exit(pid: int, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    with suppress(ChildProcessError):  # somebody else, such as gunicorn's master, has reaped it: it has ended
        while os.waitpid(pid, os.WNOHANG)[0] == 0 and time.monotonic() < deadline:
            time.sleep(0.005)
