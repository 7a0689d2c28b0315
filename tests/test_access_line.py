"""The record of an access line: what any handler finds in it, whoever makes records."""

from __future__ import annotations

import logging
import pickle
import time
from collections.abc import Callable, Iterator
from threading import Thread
from typing import Any

import orjson
import pytest

from tf_serving_flask_app.context import RequestContext
from tf_serving_flask_app.observability.access_line import DATASET, request_path, write_access_line
from tf_serving_flask_app.observability.formatters import JsonFormatter

ENVIRON = {"REQUEST_METHOD": "GET", "PATH_INFO": "/a", "SERVER_PROTOCOL": "HTTP/1.1", "REMOTE_ADDR": "192.0.2.7"}


@pytest.fixture
def write(caplog: pytest.LogCaptureFixture) -> Callable[[], logging.LogRecord]:
    """Writes one access line and gives its record."""
    caplog.set_level(logging.INFO)

    def write_one() -> logging.LogRecord:
        context = RequestContext("my-id", 0.0, model_name="m", stages={"predict": 5})
        write_access_line(ENVIRON, context, 200, False, 0.25, 1, 2)
        return caplog.records[-1]

    return write_one


@pytest.fixture
def _tracer() -> Iterator[None]:
    """What a tracer does: each record gets its trace."""
    original = logging.getLogRecordFactory()

    def traced(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = original(*args, **kwargs)
        record.__dict__["span.id"] = "s"
        return record

    logging.setLogRecordFactory(traced)
    yield
    logging.setLogRecordFactory(original)


def fields(record: logging.LogRecord) -> dict[str, Any]:
    """The record without what differs from one moment to the next."""
    changing = {"created", "msecs", "relativeCreated"}
    return {name: value for name, value in vars(record).items() if name not in changing}


def test_the_record_has_all_that_logging_gives_one(write: Callable[[], logging.LogRecord]) -> None:
    record = write()
    args = "GET", "/a", 200
    logged = logging.getLogger(DATASET).makeRecord(
        DATASET, logging.INFO, record.pathname, 0, "%s %s %d", args, None, extra=None
    )

    own = fields(record)
    assert {name: own[name] for name in fields(logged)} == fields(logged)
    assert own["http.request.id"] == "my-id"
    assert abs(record.created - time.time()) < 60
    assert record.msecs == pytest.approx(record.created % 1 * 1000, abs=1)
    assert record.relativeCreated == pytest.approx(logged.relativeCreated, abs=60_000)
    assert record.getMessage() == "GET /a 200"
    assert (
        logging.Formatter("%(asctime)s %(filename)s %(message)s").format(record).endswith("access_line.py GET /a 200")
    )


def test_the_record_names_the_thread_that_writes_it(write: Callable[[], logging.LogRecord]) -> None:
    written: list[logging.LogRecord] = []
    thread = Thread(target=lambda: written.append(write()), name="request-7")
    thread.start()
    thread.join()

    assert (written[0].threadName, written[0].thread) == ("request-7", thread.ident)


def test_the_record_can_be_sent_to_another_process(write: Callable[[], logging.LogRecord]) -> None:
    record = write()
    received = pickle.loads(pickle.dumps(record))

    assert vars(received) == vars(record)
    assert JsonFormatter().format(received) == JsonFormatter().format(record)


@pytest.mark.usefixtures("_tracer")
def test_a_factory_of_records_in_place_of_loggings_own_makes_the_record(write: Callable[[], logging.LogRecord]) -> None:
    line = orjson.loads(JsonFormatter().format(write()))

    assert line["span.id"] == "s"
    assert line["event.category"] == ["web"]
    assert line["http.response.status_code"] == 200


@pytest.mark.parametrize(
    ("script", "path", "shown"),
    [("", "/a", "/a"), ("/mounted", "/a", "/mounted/a"), ("", "/\xc3\xa9", "/é"), ("", "/\xff", "/\ufffd")],
)
def test_a_path_is_shown_as_the_client_wrote_it(script: str, path: str, shown: str) -> None:
    assert request_path({"SCRIPT_NAME": script, "PATH_INFO": path}) == shown
