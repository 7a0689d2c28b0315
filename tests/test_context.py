"""The request's context: stages are timed whatever happens in them, and none begins after the deadline."""

from __future__ import annotations

import math
import time

import pytest

from tf_serving_flask_app.context import RequestContext, current_request
from tf_serving_flask_app.errors import DeadlineExceeded, InvalidInput

PAST = -math.inf


def spin(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def test_a_stage_is_timed_in_nanoseconds() -> None:
    context = RequestContext("1", math.inf)
    with context.stage("decode"):
        spin(0.002)

    assert context.stages.keys() == {"decode"}
    assert 2_000_000 <= context.stages["decode"] < 2_000_000_000


def test_a_stage_that_is_entered_twice_is_summed() -> None:
    context = RequestContext("1", math.inf, stages={"postprocess": 1_000_000_000_000})
    with context.stage("postprocess"):
        spin(0.001)

    assert context.stages["postprocess"] >= 1_000_001_000_000


def test_a_stage_that_fails_is_timed_too() -> None:
    context = RequestContext("1", math.inf)
    with pytest.raises(InvalidInput, match="odd"), context.stage("decode"):
        raise InvalidInput("odd")

    assert context.stages["decode"] > 0


def test_no_stage_begins_after_the_deadline() -> None:
    context = RequestContext("1", PAST)
    entered = False
    text = r"^The deadline passed before predict; .*REQUEST_TIMEOUT_S"
    with pytest.raises(DeadlineExceeded, match=text), context.stage("predict"):
        entered = True

    assert not entered
    assert context.stages == {}


def test_a_deadline_is_checked_on_the_monotonic_clock() -> None:
    RequestContext("1", time.monotonic() + 60).check_deadline("now")
    with pytest.raises(DeadlineExceeded, match="passed in the test"):
        RequestContext("1", time.monotonic() - 0.001).check_deadline("in the test")


def test_contexts_share_no_stages() -> None:
    first, second = RequestContext("1", math.inf), RequestContext("2", math.inf)
    with first.stage("decode"):
        pass

    assert second.stages == {}


def test_outside_a_request_there_is_none() -> None:
    assert current_request.get() is None
