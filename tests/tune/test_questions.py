"""Questions that the real routes answer, and answers that are read as they were meant."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from werkzeug.serving import make_server

from tests.bench.tiny_server import OK, tiny_server
from tests.conftest import COLORS, HALF, MakeApp
from tests.pictures import picture
from tf_serving_flask_app.bench.exchange import Address
from tf_serving_flask_app.bench.work import http_request
from tf_serving_flask_app.errors import ConfigurationError
from tf_serving_flask_app.settings import Settings
from tf_serving_flask_app.spec import ModelSpec
from tf_serving_flask_app.tune.agreement import Agreement, compare_scores
from tf_serving_flask_app.tune.questions import Questions, picture_questions, tensor_questions

DETECTOR = {"name": "boxes", "task": "detection", "backend": "numpy_backends:BrightBox", "path": "model"}


@pytest.fixture
def address(make_app: MakeApp) -> Iterator[Address]:
    """Where an app with a model of each kind listens."""
    server = make_server("127.0.0.1", 0, make_app(HALF, COLORS, DETECTOR), threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield "127.0.0.1", server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def test_tensors_are_asked_and_read(address: Address) -> None:
    questions = tensor_questions("half", [{"name": "x", "datatype": "FP32", "shape": [-1]}], 5)
    answers = questions.ask(address, 20)

    assert answers is not None
    assert len(answers) == 5
    assert all(answer["y"].dtype == np.float32 and (answer["y"] >= 2).all() for answer in answers)
    assert questions.compare(answers, answers) == Agreement(1.0, 0.0, 5)


def test_classifiers_are_asked_for_the_scores_of_all_classes(
    address: Address, make_specs: Callable[..., list[ModelSpec]]
) -> None:
    (colors,) = make_specs(COLORS)
    answers = picture_questions(
        colors, Settings.from_environ({}), ["scores"], [picture("red"), picture("blue")], 6
    ).ask(address, 20)

    assert answers is not None
    assert [int(scores.argmax()) for scores in answers] == [0, 2, 0, 2, 0, 2]
    assert {scores.shape for scores in answers} == {(1, 3)}


def test_detectors_are_asked_for_all_objects(address: Address, make_specs: Callable[..., list[ModelSpec]]) -> None:
    (boxes,) = make_specs(DETECTOR)
    questions = picture_questions(boxes, Settings.from_environ({}), [], [picture("white")], 2)
    answers = questions.ask(address, 20)

    assert answers is not None
    assert [[found["class"] for found in objects] for objects in answers] == [[1, 2]] * 2
    assert questions.compare(answers, answers) == Agreement(1.0, 0.0, 2)


@pytest.mark.parametrize(
    ("spec", "environ", "tells"),
    [
        ({}, {}, True),
        ({}, {"MIN_CONFIDENCE": "0.95"}, False),
        ({"min_confidence": 0.85}, {"MIN_CONFIDENCE": "0.95"}, True),
        ({"min_confidence": 0.95}, {}, False),
    ],
)
def test_only_what_a_detector_would_report_is_compared(
    spec: dict[str, float],
    environ: dict[str, str],
    tells: bool,
    address: Address,
    make_specs: Callable[..., list[ModelSpec]],
) -> None:
    (boxes,) = make_specs({**DETECTOR, **spec})
    questions = picture_questions(boxes, Settings.from_environ(environ), [], [picture("white")], 2)
    answers = questions.ask(address, 20)

    assert answers is not None
    assert (questions.compare(answers, answers) is not None) is tells


def simple() -> Questions:
    return Questions([http_request("/", b"", {})], lambda headers, body: body, compare_scores)


def test_an_answer_that_is_no_200_says_what_was_answered() -> None:
    busy = OK.replace(b"200 OK", b"503 Busy")
    refused = pytest.raises(ConfigurationError, match="a request got HTTP 503: ok")
    with tiny_server(lambda connection, number: busy) as server, refused:
        simple().ask(server.address, 20)


def test_no_answer_in_time_is_none_and_a_broken_one_an_error() -> None:
    hold = threading.Event()

    def late(connection: int, number: int) -> bytes | None:
        hold.wait(10)
        return None

    with tiny_server(late) as server:
        assert simple().ask(server.address, 0.05) is None
        hold.set()
        with pytest.raises(ConfigurationError, match="a request got no answer"):
            simple().ask(server.address, 20)
