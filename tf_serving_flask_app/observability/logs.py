"""Where log lines go: every record, warning and uncaught exception of a process, through one handler."""

from __future__ import annotations

import logging
import sys
import threading
import warnings
from types import TracebackType
from typing import Literal, Protocol, TextIO

from tf_serving_flask_app.observability.formatters import SERVICE, JsonFormatter, ReadableFormatter, as_text

Environment = Literal["production", "development"]

# By this name a second configure_logging() finds the handler that the first one installed.
_HANDLER_NAME = SERVICE

_CHATTY_LOGGERS = ("absl", "asyncio", "grpc", "h5py", "PIL", "tensorflow", "urllib3")


class LineWriter(Protocol):
    """Where LineHandler puts its lines."""

    def write(self, line: bytes) -> None:
        """Write one line, given without its newline."""


class LineHandler(logging.Handler):
    """Gives each record to a LineWriter as one line of bytes; the handler's lock is held for the writing only."""

    def __init__(self, output: LineWriter) -> None:
        super().__init__()
        self._output = output

    def handle(self, record: logging.LogRecord) -> bool:
        """Emit the record if the filters let it pass, without the lock, which the base class would hold all along."""
        passed = self.filter(record)
        if passed:
            self.emit(passed if isinstance(passed, logging.LogRecord) else record)
        return bool(passed)

    def emit(self, record: logging.LogRecord) -> None:
        """Format the record and write it; a failure goes to logging's own handleError."""
        try:
            line = self.format(record).encode("ascii", "backslashreplace")
            self.acquire()
            try:
                self._output.write(line)
            finally:
                self.release()
        except Exception:  # noqa: BLE001 - what every logging handler does: logging must not stop the work
            self.handleError(record)


def configure_logging(environment: Environment, level: int | None = None, output: LineWriter | None = None) -> None:
    """Send every record, warning and uncaught exception of this process to one handler of the root logger.

    A second call replaces what the first one installed; handlers of others stay.

    Args:
        environment: ``production``: JSON on stdout; ``development``: readable lines on stderr.
        level: of the root logger; INFO in production and DEBUG in development if left out.
        output: in production, where the lines go in place of ``sys.stdout``.
    """
    handler: logging.Handler
    if environment == "production":
        handler = logging.StreamHandler(sys.stdout) if output is None else LineHandler(output)
        handler.setFormatter(JsonFormatter(environment))
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(ReadableFormatter(colour=sys.stderr.isatty()))
    handler.set_name(_HANDLER_NAME)

    root = logging.getLogger()
    for old in [old for old in root.handlers if old.get_name() == _HANDLER_NAME]:
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    default = logging.INFO if environment == "production" else logging.DEBUG
    root.setLevel(default if level is None else level)

    for name in _CHATTY_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("werkzeug").addFilter(_is_no_werkzeug_access)

    logging.captureWarnings(True)
    warnings.showwarning = _log_warning
    sys.excepthook = _log_uncaught
    sys.unraisablehook = _log_unraisable
    threading.excepthook = _log_uncaught_in_thread


def _is_no_werkzeug_access(record: logging.LogRecord) -> bool:
    """Tell Werkzeug's access lines, which AccessLog replaces, from its banner and the debugger's PIN."""
    return not str(record.msg).endswith('"%s" %s %s')


def _log_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    text = " ".join(as_text(message).split())
    logging.getLogger("py.warnings").warning("%s: %s (%s:%d)", category.__name__, text, filename, lineno)


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    logging.getLogger(SERVICE).critical("Uncaught exception", exc_info=(kind, error, trace))


def _log_uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is None or isinstance(args.exc_value, SystemExit):
        return
    name = args.thread.name if args.thread else "?"
    exc_info = (args.exc_type, args.exc_value, args.exc_traceback)
    logging.getLogger(SERVICE).critical("Uncaught exception in thread %s", name, exc_info=exc_info)


def _log_unraisable(args: sys.UnraisableHookArgs) -> None:
    exc_info = (args.exc_type, args.exc_value, args.exc_traceback) if args.exc_value else None
    what = args.err_msg or "Exception ignored in"
    logging.getLogger(SERVICE).error("%s: %s", what, as_text(args.object), exc_info=exc_info)
