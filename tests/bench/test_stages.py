"""The stages of a request, read from the access log."""

from __future__ import annotations

import json

import pytest

from tf_serving_flask_app.bench.stages import mean_stages_ms
from tf_serving_flask_app.observability.access_line import DATASET


def line(total_ms: float, predict_ms: float, status: int = 200, queue_ms: float = 0) -> bytes:
    record = {
        "event.dataset": DATASET,
        "event.duration": total_ms * 1e6,
        "http.response.status_code": status,
        "labels.model_name": "half",
        "model_server.predict.duration": predict_ms * 1e6,
        "model_server.queue.duration": queue_ms * 1e6,
    }
    return json.dumps(record).encode() + b"\n"


def test_each_stage_is_the_mean_over_all_requests() -> None:
    output = line(4, 2) + line(8, 4, queue_ms=1)

    assert mean_stages_ms(output) == pytest.approx({"predict": 3.0, "queue": 0.5, "the rest": 2.5})


def test_other_lines_failures_and_cut_off_lines_do_not_count() -> None:
    health = line(9, 9).replace(b'"labels.model_name": "half", ', b"")
    output = line(4, 2)[7:] + b'{"message": "hello"}\n' + health + line(9, 9, status=503) + line(4, 2) + line(4, 2)[:-9]

    assert mean_stages_ms(output) == pytest.approx({"predict": 2.0, "queue": 0.0, "the rest": 2.0})


def test_of_no_requests_there_are_no_stages() -> None:
    assert mean_stages_ms(b"") == {}
