"""Which requests run in the thread of the hub, without a hub: those that are handed over wait in a list."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import pytest

from tf_serving_flask_app.context import RequestContext
from tf_serving_flask_app.gunicorn.quick import FAR_TOO_LONG_S, QUICK_S, REMEMBERED, SHUT_OUT_S, QuickRequests

Work = Callable[[], list[bytes]]


class Hub:
    """Sends requests, and has the threads that they are handed to work when it says so."""

    def __init__(self) -> None:
        self.handed_over: list[Work] = []
        self.requests = QuickRequests(self.hand_over)

    def hand_over(self, work: Work, environ: Any) -> list[bytes]:
        self.handed_over.append(work)
        return []

    def send(
        self,
        *,
        path: str = "/predict",
        length: int = 100,
        seconds: float = 0.0,
        computes_only: bool = True,
        model_s: float = 0.0,
    ) -> bool:
        """Send a request that keeps the processor busy for so long; returns whether it was answered at once.

        Args:
            model_s: how long its call of the model took, in this thread or another.
        """
        context = RequestContext("id", math.inf)
        environ = {"PATH_INFO": path, "QUERY_STRING": "", "CONTENT_LENGTH": str(length), "tf_serving.request": context}

        def work() -> list[bytes]:
            context.computes_only = computes_only
            context.record("predict", int(model_s * 1e9))
            end = time.thread_time() + seconds
            while time.thread_time() < end:
                pass
            return [b"answer"]

        return self.requests(work, environ) == [b"answer"]

    def finish(self) -> None:
        """Have the threads finish what they were handed."""
        while self.handed_over:
            assert self.handed_over.pop()() == [b"answer"]


def knows(**request: Any) -> Hub:
    """A hub that has seen such a request."""
    hub = Hub()
    hub.send(**request)
    hub.finish()
    return hub


def test_the_first_request_of_a_sort_goes_to_a_thread() -> None:
    assert not Hub().send()


def test_the_next_one_is_answered_at_once_if_the_first_was_quick() -> None:
    assert knows().send()


def test_one_that_keeps_the_processor_busy_goes_to_a_thread_always() -> None:
    hub = knows(seconds=2 * QUICK_S)

    assert not hub.send(seconds=2 * QUICK_S)


def test_a_sort_of_which_one_kept_all_others_waiting_for_far_too_long_goes_to_threads_for_a_while() -> None:
    hub = knows()
    assert hub.send(seconds=1.5 * FAR_TOO_LONG_S)
    for _ in range(50):  # the average is low again long before
        assert not hub.send()
        hub.finish()
    (shut,) = hub.requests._shut_until
    hub.requests._shut_until[shut] -= SHUT_OUT_S

    assert hub.send()


def test_one_whose_call_another_thread_made_along_with_its_own_costs_as_much_as_that() -> None:
    hub = knows(model_s=2 * QUICK_S)

    assert not hub.send(model_s=2 * QUICK_S)


def test_one_whose_model_may_wait_for_something_goes_to_a_thread_however_quick_it_was() -> None:
    hub = knows(computes_only=False)

    assert not hub.send(computes_only=False)


def test_none_that_has_reached_no_model_is_taken_for_quick() -> None:
    hub = Hub()
    environ = {"PATH_INFO": "/nowhere", "QUERY_STRING": ""}
    for _ in range(2):
        hub.requests(lambda: [b"404"], environ)

    assert len(hub.handed_over) == 2


def test_a_body_of_another_size_and_another_path_are_learned_apart() -> None:
    hub = knows(length=100)

    assert hub.send(length=120)
    assert not hub.send(length=2000)
    hub.finish()
    assert not hub.send(path="/v1/models/other:predict")


def test_none_is_answered_at_once_while_a_longer_one_is_worked_on() -> None:
    hub = knows()
    hub.send(path="/detect", seconds=2 * QUICK_S)

    assert not hub.send()
    hub.finish()
    assert hub.send()


def test_a_sort_that_has_become_slow_goes_to_threads_again_and_comes_back() -> None:
    hub = knows()
    while hub.send(seconds=4 * QUICK_S):
        pass
    hub.finish()

    assert not hub.send()
    hub.finish()
    for _ in range(30):
        hub.send()
        hub.finish()
    assert hub.send()


def test_one_slow_request_among_many_quick_ones_changes_nothing() -> None:
    hub = knows()
    hub.send(seconds=4 * QUICK_S)

    assert hub.send()


def test_requests_that_no_longer_run_do_not_count_even_if_they_failed() -> None:
    hub = knows()

    def fail() -> list[bytes]:
        raise ConnectionResetError

    hub.requests(fail, {"PATH_INFO": "/other", "QUERY_STRING": ""})
    with pytest.raises(ConnectionResetError):
        hub.handed_over.pop()()

    assert hub.send()


def test_no_more_sorts_are_remembered_than_there_is_room_for() -> None:
    hub = knows(path="/first")
    for number in range(REMEMBERED):
        hub.send(path=f"/{number}")
        hub.finish()

    assert not hub.send(path="/first")
