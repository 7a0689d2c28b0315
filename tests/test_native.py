"""Native threads, with a loop of the test's own in place of a hub."""

from __future__ import annotations

import select
import threading
from typing import Any

import pytest

from tests.live.server import wait_until
from tf_serving_flask_app.gunicorn.native import HubCalls, Job, NativeThreads


class Waiter:
    """Remembers which jobs it was woken for."""

    def __init__(self, notices: bool = False) -> None:
        self.woken: list[Job[Any]] = []
        self.asked = threading.Event()
        self._notices = notices

    def notices(self, job: Job[Any]) -> bool:
        self.asked.set()
        return self._notices

    def wake(self, job: Job[Any]) -> None:
        self.woken.append(job)


@pytest.fixture(scope="module")
def hub_calls() -> HubCalls:
    return HubCalls()


@pytest.fixture(scope="module")
def threads(hub_calls: HubCalls) -> NativeThreads:
    return NativeThreads(hub_calls, 4, "test")


def deliver_until(hub_calls: HubCalls, waiter: Waiter, count: int) -> None:
    while len(waiter.woken) < count:
        assert select.select([hub_calls.wake_up], [], [], 20)[0]
        hub_calls.make()


def test_each_waiter_is_woken_once_with_what_its_function_returned(threads: NativeThreads, hub_calls: HubCalls) -> None:
    waiter = Waiter()
    started = [threads.start(lambda number=number: number**2, waiter) for number in range(500)]  # type: ignore[misc]
    deliver_until(hub_calls, waiter, 500)

    assert {job.result for job in waiter.woken} == {number**2 for number in range(500)}
    assert set(waiter.woken) == set(started)
    assert len(waiter.woken) == 500


def test_what_a_function_raises_is_kept_and_the_thread_lives(threads: NativeThreads, hub_calls: HubCalls) -> None:
    def leave() -> None:
        raise SystemExit(3)

    waiter = Waiter()
    for _ in range(8):
        threads.start(leave, waiter)
    deliver_until(hub_calls, waiter, 8)

    assert {type(job.error) for job in waiter.woken} == {SystemExit}


def test_nobody_is_told_where_the_waiter_notices_by_itself(threads: NativeThreads, hub_calls: HubCalls) -> None:
    waiter = Waiter(notices=True)
    job = threads.start(lambda: 1, waiter)

    assert waiter.asked.wait(20)
    assert job.done
    other = Waiter()
    threads.start(lambda: 2, other)
    deliver_until(hub_calls, other, 1)
    assert waiter.woken == []


def test_work_goes_to_the_thread_that_became_idle_last(hub_calls: HubCalls) -> None:
    threads, waiter = NativeThreads(hub_calls, 3, "lifo"), Waiter()
    for count in range(1, 51):
        threads.start(threading.get_ident, waiter)
        deliver_until(hub_calls, waiter, count)
        wait_until(lambda: len(threads._idle) == 3, "thread at rest")

    assert len({job.result for job in waiter.woken[1:]}) == 1


def test_each_of_many_jobs_from_many_threads_is_done_once(hub_calls: HubCalls) -> None:
    threads, waiter = NativeThreads(hub_calls, 4, "many"), Waiter()
    done: list[int] = []
    starters = [
        threading.Thread(target=lambda: [threads.start(lambda: done.append(1), waiter) for _ in range(2000)])
        for _ in range(4)
    ]
    for starter in starters:
        starter.start()
    for starter in starters:
        starter.join()
    deliver_until(hub_calls, waiter, 8000)

    assert len(done) == 8000
