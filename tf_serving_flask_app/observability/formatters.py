"""What a log line says: one JSON object in production (ECS names), one readable line in development."""

from __future__ import annotations

import logging
import math
import re
from datetime import UTC, datetime
from functools import lru_cache
from types import NoneType
from typing import Any

import orjson
from pythonjsonlogger import json
from pythonjsonlogger.core import RESERVED_ATTRS

from tf_serving_flask_app import __version__
from tf_serving_flask_app.context import RequestContext, current_request

SERVICE = "tf_serving_flask_app"

_MAX_DEPTH = 8

_RESERVED = frozenset(RESERVED_ATTRS)
# What the names that say when, what and who are called, and what the record's own attributes are.
_TAKEN = _RESERVED | {
    "@timestamp",
    "log.level",
    "message",
    "ecs.version",
    "log.logger",
    "service.name",
    "service.version",
    "service.environment",
    "process.pid",
    "process.thread.name",
}


class PlainList(list[str]):
    """A list of which it is known that it holds nothing but text."""


# Values of these types orjson writes as strict JSON, or raises TypeError.
_SURE = frozenset({str, int, bool, NoneType, PlainList})

# What could end a line, drive a terminal or turn the reading direction round, and what UTF-8 cannot hold.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

_COLOURS = {logging.WARNING: "\033[33m", logging.ERROR: "\033[31m", logging.CRITICAL: "\033[1;31m"}
_DIM, _RESET = "\033[2m", "\033[0m"


class JsonFormatter(json.JsonFormatter):
    """Turns a record into one line of strict, pure ASCII JSON with the flat field names of ECS.

    The names that say when, what and who come from the record alone: an ``extra`` of the same name is dropped.
    """

    def __init__(self, environment: str = "production") -> None:
        super().__init__()
        self._service = {
            "service.name": SERVICE,
            "service.version": __version__,
            "service.environment": environment,
        }

    def format(self, record: logging.LogRecord) -> str:
        """Format the record, also one whose arguments do not fit its message."""
        # Not the base class's way: it would make fields of a message that is a dict, and raise where the arguments do
        # not fit; to prepare the record against that costs more than all of this.
        log_data: dict[str, Any] = {}
        self.add_fields(log_data, record, {})
        return self.jsonify_log_record(log_data)

    def add_fields(self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]) -> None:
        """Put the ECS fields, the request's ids and the record's extras into log_data."""
        microseconds = round(record.created * 1e6)
        log_data["@timestamp"] = f"{_utc_second(microseconds // 1_000_000)}.{microseconds // 1000 % 1000:03d}Z"
        log_data["log.level"] = record.levelname.lower()
        log_data["message"] = _message(record)
        log_data["ecs.version"] = "1.6.0"
        log_data["log.logger"] = record.name
        log_data.update(self._service)
        log_data["process.pid"] = record.process
        log_data["process.thread.name"] = record.threadName
        log_data["event.dataset"] = SERVICE
        request = current_request.get()
        if request is not None:
            log_data.update(request_fields(request))
        extras = _extras(record, _TAKEN)
        if not _SURE.issuperset(map(type, extras.values())):
            extras = {name: _plain(value) for name, value in extras.items()}
        log_data.update(extras)
        if record.exc_info or record.exc_text or record.stack_info:
            log_data.update(self._error_fields(record))

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        """Make every key and value something that strict JSON can hold."""
        return {as_text(key): _plain(value) for key, value in log_data.items()}

    def jsonify_log_record(self, log_data: dict[str, Any]) -> str:
        """Encode the fields; ordinary ones fast, any others, and text that is not pure ASCII, thoroughly."""
        try:
            line = orjson.dumps(log_data, option=orjson.OPT_STRICT_INTEGER)
            if line.isascii():
                return line.decode()
        except TypeError:  # a key that is no text, a lone surrogate, a large number
            log_data = self.process_log_record(log_data)
        return super().jsonify_log_record(log_data)

    def _error_fields(self, record: logging.LogRecord) -> dict[str, Any]:
        # Outside an exception, logger.exception() leaves a tuple of Nones.
        if record.exc_info and (error := record.exc_info[1]) is not None:
            return {
                "error.type": type(error).__name__,
                "error.message": as_text(error),
                "error.stack_trace": self.formatException(record.exc_info),
            }
        stack = record.exc_text or record.stack_info
        return {"error.stack_trace": stack} if stack else {}


class ReadableFormatter(logging.Formatter):
    """Turns a record into one line for a person, with tracebacks and profiles indented below it.

    Args:
        colour: for a terminal: the level in colour, the time dimmed.
    """

    def __init__(self, colour: bool = False) -> None:
        super().__init__()
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        """Format the record; control characters are shown escaped, so that they cannot forge a line."""
        request = current_request.get()
        extras = {**(request_fields(request) if request else {}), **_extras(record, _RESERVED)}
        request_id = as_text(extras.pop("http.request.id", ""))
        profile = as_text(extras.pop("profile_text", ""))
        if "http.response.status_code" in extras:
            message = _access_text(extras)
        else:
            shown = [key for key in extras if not str(key).startswith(("event.", "trace.", "labels."))]
            message = " ".join([_message(record), *(f"{key}={as_text(extras[key])}" for key in shown)])
        parts = (record.name.removeprefix(f"{SERVICE}."), request_id[:8], message)
        line = f"{self._head(record)} {_visible(' '.join(part for part in parts if part))}"
        trace = self.formatException(record.exc_info) if record.exc_info and record.exc_info[1] else ""
        return "\n".join([line, *(_indented(block) for block in (trace, record.stack_info, profile) if block)])

    def _head(self, record: logging.LogRecord) -> str:
        time = f"{datetime.fromtimestamp(record.created):%H:%M:%S}.{int(record.msecs):03d}"
        level = f"{record.levelname:<8}"
        if not self._colour:
            return f"{time} {level}"
        return f"{_DIM}{time}{_RESET} {_COLOURS.get(record.levelno, '')}{level}{_RESET}"


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception as error:  # noqa: BLE001 - any __str__ may raise anything; the line must still come
        args = as_text(record.args)
        return f"{as_text(record.msg)} [this log message could not take its arguments {args}: {as_text(error)}]"


def _extras(record: logging.LogRecord, taken: frozenset[str]) -> dict[Any, Any]:
    extras = record.__dict__.copy()
    for name in _no_extras(tuple(extras), taken):
        del extras[name]
    return extras


@lru_cache(maxsize=256)
def _no_extras(names: tuple[Any, ...], taken: frozenset[str]) -> tuple[Any, ...]:
    """Which of a record's attributes are no extras; remembered, as records of one origin have the same names."""
    return tuple(name for name in names if name in taken or (isinstance(name, str) and name.startswith("_")))


def request_fields(request: RequestContext) -> dict[str, str]:
    """The names that every line of a request bears."""
    fields = {"http.request.id": request.request_id}
    if request.trace_id is not None:
        fields["trace.id"] = request.trace_id
    if request.model_name is not None:
        fields["labels.model_name"] = request.model_name
    if request.model_version is not None:
        fields["labels.model_version"] = request.model_version
    return fields


@lru_cache(maxsize=2)
def _utc_second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _access_text(extras: dict[Any, Any]) -> str:
    stages = {
        key.removeprefix("model_server.").removesuffix(".duration"): f"{extras[key] / 1e6:.1f}ms"
        for key in extras
        if str(key).startswith("model_server.")
    }
    if "labels.model_name" in extras:
        stages = {"model": extras["labels.model_name"], **stages}
    shown = [extras.get(key, "-") for key in ("http.request.method", "url.path", "http.response.status_code")]
    shown += [f"{extras.get('event.duration', 0) / 1e6:.1f}ms", *(f"{k}={v}" for k, v in stages.items())]
    return " ".join(as_text(part) for part in shown)


def _indented(block: str) -> str:
    """Keep a block's newlines; the indent tells its lines from log lines, whatever a client put there."""
    return "\n".join(f"    {_visible(line)}" for line in block.split("\n"))


def _visible(text: str) -> str:
    return _UNSAFE.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def as_text(value: object) -> str:
    """Return the value's text, whatever the value; lone surrogates become U+FFFD."""
    try:
        text = str(value)
    except Exception:  # noqa: BLE001 - any __str__ may raise anything
        return f"<{type(value).__name__} without text>"
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _plain(value: object, depth: int = 0) -> object:
    """Return the value as strict JSON can hold it; what JSON has no type for becomes text."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return as_text(value)
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return int(value)
    if isinstance(value, dict) and depth < _MAX_DEPTH:
        return {as_text(key): _plain(item, depth + 1) for key, item in dict(value).items()}
    if isinstance(value, list | tuple | set | frozenset) and depth < _MAX_DEPTH:
        return [_plain(item, depth + 1) for item in list(value)]
    return as_text(value)
