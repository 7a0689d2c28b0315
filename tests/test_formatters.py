from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any
from uuid import UUID

import numpy as np
import orjson
import pytest

from tf_serving_flask_app import __version__
from tf_serving_flask_app.context import RequestContext, current_request
from tf_serving_flask_app.observability.formatters import JsonFormatter, ReadableFormatter

ESCAPE_SEQUENCE = "\x1b[2J"
LINE_ENDS = ["\n", "\r", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029"]


class Unprintable:
    """Something that cannot be turned into text."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class Level(Enum):
    """Something that orjson writes in its own way."""

    LOW = 1


@dataclass
class Pair:
    """The same."""

    first: int


def make_record(message: object, *args: object, extra: dict[str, Any] | None = None, **rest: Any) -> logging.LogRecord:
    return logging.getLogger("test").makeRecord(
        "test",
        rest.pop("level", logging.INFO),
        "f.py",
        1,
        message,
        args,
        rest.pop("exc_info", None),
        extra=extra,
        **rest,
    )


def as_json(record: logging.LogRecord) -> dict[str, Any]:
    """Format the record; hold that the line is one of ASCII, and the same to two parsers, one of them strict."""
    line = JsonFormatter("production").format(record)

    assert line.isascii()
    assert line.splitlines() == [line]
    parsed = orjson.loads(line)
    assert parsed == json.loads(line)
    assert isinstance(parsed, dict)
    return parsed


def readable(record: logging.LogRecord) -> str:
    return ReadableFormatter().format(record)


def error_info(error: BaseException) -> Any:
    try:
        raise error
    except type(error):
        return sys.exc_info()


@contextmanager
def request_running(**fields: Any) -> Iterator[None]:
    context = RequestContext(request_id="request-1", deadline=time.monotonic() + 9, **fields)
    token = current_request.set(context)
    try:
        yield
    finally:
        current_request.reset(token)


class TestJsonFormatter:
    def test_begins_with_the_names_that_ecs_wants_first(self) -> None:
        line = as_json(make_record("hello %s", "world", level=logging.WARNING))

        assert list(line)[:4] == ["@timestamp", "log.level", "message", "ecs.version"]
        assert line["log.level"] == "warning"
        assert line["message"] == "hello world"
        assert line["log.logger"] == "test"
        assert line["service.name"] == line["event.dataset"] == "tf_serving_flask_app"
        assert line["service.version"] == __version__
        assert line["service.environment"] == "production"
        assert line["process.thread.name"] == "MainThread"
        assert isinstance(line["process.pid"], int)

    @pytest.mark.parametrize(
        ("created", "text"),
        [
            (1_700_000_000.1239, "2023-11-14T22:13:20.123Z"),
            (1_700_000_000.123, "2023-11-14T22:13:20.123Z"),
            (1_700_000_000.9999999, "2023-11-14T22:13:21.000Z"),
            (1_700_000_059.0, "2023-11-14T22:14:19.000Z"),
            (-0.5, "1969-12-31T23:59:59.500Z"),
        ],
    )
    def test_timestamp_is_utc_in_milliseconds(self, created: float, text: str) -> None:
        record = make_record("x")
        record.created = created

        assert as_json(record)["@timestamp"] == text

    @pytest.mark.parametrize(
        "text",
        ['"quotes" and \\ backslash', "emoji 😀", "NUL \x00 DEL \x7f", ESCAPE_SEQUENCE, *LINE_ENDS],
    )
    def test_text_comes_through_whole_on_one_line(self, text: str) -> None:
        line = as_json(make_record("got %s", text, extra={"labels.text": text}))

        assert line["message"] == f"got {text}"
        assert line["labels.text"] == text

    def test_lone_surrogates_are_replaced_and_pairs_joined(self) -> None:
        line = as_json(make_record("a\ud800b\udc00c\ud83d\ude00", extra={"key\udfff": ["\udfff"]}))

        assert line["message"] == "a\ufffdb\ufffdc😀"
        assert line["key\ufffd"] == ["\ufffd"]

    def test_values_that_json_has_no_type_for_become_text(self) -> None:
        itself: list[object] = []
        itself.append(itself)
        extra = {
            "nan": float("nan"),
            "inf": [float("-inf"), 1.5],
            "big": 2**64,
            "huge": 10**5000,
            "bytes": b"\xff",
            "object": {"a": {1}, 2: None, "t": (True,)},
            "broken": Unprintable(),
            "itself": itself,
        }

        line = as_json(make_record("x", extra=extra))

        assert line["nan"] == "nan"
        assert line["inf"] == ["-inf", 1.5]
        assert line["big"] == "18446744073709551616"
        assert line["huge"] == "<int without text>"
        assert line["bytes"] == "b'\\xff'"
        assert line["object"] == {"a": [1], "2": None, "t": [True]}
        assert line["broken"] == "<Unprintable without text>"
        assert "itself" in line

    def test_values_that_only_some_encoders_know_become_text(self) -> None:
        moment = datetime(2026, 1, 2, 3, 4, 5)
        values = {"moment": moment, "level": Level.LOW, "id": UUID(int=1), "record": Pair(1), "array": np.float32(0.5)}

        line = as_json(make_record("x", extra={**values, "list": list(values.values())}))

        texts = {name: str(value) for name, value in values.items()}
        assert {name: line[name] for name in values} == texts
        assert line["list"] == list(texts.values())

    @pytest.mark.parametrize("number", [0, -1, 2**53, -(2**53), 2**63 - 1, -(2**63), True])
    def test_numbers_that_fit_into_64_bits_stay_numbers(self, number: int) -> None:
        line = as_json(make_record("x", extra={"n": number}))

        assert (type(line["n"]), line["n"]) == (type(number), number)

    @pytest.mark.parametrize("number", [2**63, -(2**63) - 1])
    def test_larger_ones_become_text(self, number: int) -> None:
        assert as_json(make_record("x", extra={"n": number, "list": [number]}))["n"] == str(number)

    def test_a_key_that_is_no_text_becomes_text(self) -> None:
        record = make_record("x")
        record.__dict__.update({1: "one", None: "none"})  # type: ignore[dict-item]

        line = as_json(record)

        assert (line["1"], line["None"]) == ("one", "none")

    def test_an_extra_whose_name_begins_with_an_underscore_is_left_out(self) -> None:
        assert "_own" not in as_json(make_record("x", extra={"_own": 1}))

    def test_a_stack_is_a_field(self) -> None:
        assert as_json(make_record("x", sinfo="Stack:\n  here"))["error.stack_trace"] == "Stack:\n  here"

    def test_a_message_that_is_json_stays_a_message(self) -> None:
        forged = '", "log.level": "critical", "x": "\n{"@timestamp": "now", "log.level": "critical"}'

        line = as_json(make_record(forged))

        assert line["message"] == forged
        assert line["log.level"] == "info"

    def test_a_message_that_is_a_dict_does_not_become_fields(self) -> None:
        line = as_json(make_record({"log.level": "critical", "exc_info": "x", "forged": 1}))

        assert line["log.level"] == "info"
        assert "forged" not in line
        assert "error.stack_trace" not in line
        assert "'forged': 1" in line["message"]

    def test_an_extra_adds_a_field_but_cannot_say_when_what_and_who(self) -> None:
        extra = {"event.dataset": "mine", "own": 1, "log.level": "critical", "@timestamp": "never", "process.pid": 0}

        line = as_json(make_record("x", extra=extra))

        assert (line["event.dataset"], line["own"]) == ("mine", 1)
        assert line["log.level"] == "info"
        assert line["process.pid"] > 0
        assert datetime.fromisoformat(line["@timestamp"])

    @pytest.mark.parametrize(("message", "args"), [("%d apples", ("no",)), ("%s %s", (1,)), ("%s", (Unprintable(),))])
    def test_arguments_that_do_not_fit_give_a_line_that_says_so(self, message: str, args: tuple[object, ...]) -> None:
        line = as_json(make_record(message, *args, extra={"kept": 1}))

        assert line["message"].startswith(message)
        assert "could not take its arguments" in line["message"]
        assert line["kept"] == 1

    def test_an_exception_is_three_fields(self) -> None:
        line = as_json(make_record("failed", exc_info=error_info(ValueError("bad\nvalue"))))

        assert line["error.type"] == "ValueError"
        assert line["error.message"] == "bad\nvalue"
        assert line["error.stack_trace"].startswith("Traceback (most recent call last):\n")
        assert "exc_info" not in line

    def test_an_exception_without_text_is_logged_too(self) -> None:
        class Broken(Exception):
            def __str__(self) -> str:
                raise RuntimeError

        line = as_json(make_record("failed", exc_info=error_info(Broken())))

        assert line["error.type"] == "Broken"
        assert line["error.message"] == "<Broken without text>"

    def test_exc_info_outside_an_exception_adds_nothing(self) -> None:
        line = as_json(make_record("x", exc_info=(None, None, None)))

        assert not [key for key in line if key.startswith("error.")]

    def test_a_line_of_a_request_names_it(self) -> None:
        with request_running(trace_id="a" * 32, model_name="m"):
            line = as_json(make_record("x"))
            given = as_json(make_record("x", extra={"http.request.id": "other"}))

        assert line["http.request.id"] == "request-1"
        assert line["trace.id"] == "a" * 32
        assert line["labels.model_name"] == "m"
        assert "labels.model_version" not in line
        assert given["http.request.id"] == "other"
        assert "http.request.id" not in as_json(make_record("x"))


class TestReadableFormatter:
    def test_one_line_with_request_and_extras(self) -> None:
        with request_running():
            line = readable(make_record("loaded %s", "m", extra={"seconds": 1.5}))

        assert "\n" not in line
        assert line.endswith("INFO     test request- loaded m seconds=1.5")

    @pytest.mark.parametrize("control", [ESCAPE_SEQUENCE, "\x9b2J", "\u202e", "\ud800", *LINE_ENDS])
    def test_control_characters_are_shown_and_not_obeyed(self, control: str) -> None:
        record = make_record(f"a{control}b", extra={"key": control}, exc_info=error_info(ValueError(f"c{control}d")))

        text = readable(record)

        first, *trace = text.split("\n")
        assert first.splitlines() == [first]
        assert control not in first
        assert control == "\n" or control not in text
        assert all(line.startswith("    ") for line in trace)

    def test_a_traceback_keeps_its_lines(self) -> None:
        lines = readable(make_record("failed", exc_info=error_info(ValueError("bad")))).split("\n")

        assert lines[1] == "    Traceback (most recent call last):"
        assert lines[-1] == "    ValueError: bad"

    def test_a_profile_keeps_its_lines(self) -> None:
        lines = readable(make_record("profile", extra={"profile_text": "ncalls\n  1"})).split("\n")

        assert lines[1:] == ["    ncalls", "      1"]

    def test_an_access_line_shows_method_path_status_time_and_stages(self) -> None:
        extra = {
            "http.request.method": "GET",
            "url.path": "/a\nb",
            "http.response.status_code": 200,
            "event.duration": 12_340_000,
            "http.request.id": "0123456789",
            "labels.model_name": "m",
            "model_server.predict.duration": 10_000_000,
        }

        line = readable(make_record("ignored", extra=extra))

        assert line.endswith("test 01234567 GET /a\\nb 200 12.3ms model=m predict=10.0ms")

    def test_arguments_that_do_not_fit_give_a_line_that_says_so(self) -> None:
        assert "could not take its arguments" in readable(make_record("%d", "x"))

    def test_colour_only_where_asked_for(self) -> None:
        record = make_record("x", level=logging.ERROR)

        assert "\033[31mERROR" in ReadableFormatter(colour=True).format(record)
        assert "\033" not in readable(record)
