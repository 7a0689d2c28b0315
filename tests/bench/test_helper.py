"""Processes of our own: what they answer, what they fail with, and that they end."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from multiprocessing.context import SpawnProcess

import psutil
import pytest

from tf_serving_flask_app.bench.helper import Helper
from tf_serving_flask_app.errors import ConfigurationError, InvalidInput


def make_divider(dividend: int) -> Callable[[int], tuple[float, int]]:
    if not dividend:
        raise ConfigurationError("nothing to divide")

    def divide(divisor: int) -> tuple[float, int]:
        if divisor < 0:
            raise InvalidInput("too small")
        if divisor == 0:
            print("so much for zero", file=sys.stderr, flush=True)
            os._exit(3)
        return dividend / divisor, os.getpid()

    return divide


@pytest.fixture
def divider() -> Iterator[Helper[int, tuple[float, int]]]:
    with closing(Helper(make_divider, 6, name="the divider")) as helper:
        helper.wait_ready()
        yield helper


def test_it_does_one_job_after_the_other_in_a_process_of_its_own(divider: Helper[int, tuple[float, int]]) -> None:
    results = []
    for divisor in (2, 3):
        divider.give(divisor)
        results.append(divider.answer())

    assert results == [(3.0, divider.process.pid), (2.0, divider.process.pid)]
    assert divider.process.pid != os.getpid()


def test_a_job_that_fails_says_why_and_the_next_one_is_done(divider: Helper[int, tuple[float, int]]) -> None:
    divider.give(-1)
    with pytest.raises(ConfigurationError, match="the divider: too small"):
        divider.answer()
    divider.give(1)

    assert divider.answer()[0] == 6.0


def test_ctrl_c_is_not_for_it(divider: Helper[int, tuple[float, int]]) -> None:
    assert divider.process.pid is not None
    os.kill(divider.process.pid, signal.SIGINT)
    divider.give(1)

    assert divider.answer()[0] == 6.0


def test_ctrl_c_while_it_starts_is_heard_here_and_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    before = set(psutil.Process().children())
    start = SpawnProcess.start

    def interrupted(process: SpawnProcess) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        start(process)

    monkeypatch.setattr(SpawnProcess, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Helper(make_divider, 6, name="the divider")
    begun = [child for child in psutil.Process().children() if child not in before]
    _, left = psutil.wait_procs([child for child in begun if "resource_tracker" not in str(child.cmdline())], 60)

    assert left == []


def test_one_that_dies_shows_what_it_wrote(divider: Helper[int, tuple[float, int]]) -> None:
    divider.give(0)
    with pytest.raises(ConfigurationError, match="the divider ended early:\nso much for zero"):
        divider.answer()


def test_one_that_cannot_begin_says_why_and_none_is_left_when_it_is_closed() -> None:
    helper: Helper[int, tuple[float, int]] = Helper(make_divider, 0, name="the divider")
    pid = helper.process.pid
    with closing(helper), pytest.raises(ConfigurationError, match="the divider: nothing to divide"):
        helper.wait_ready()

    assert pid is not None
    assert not psutil.pid_exists(pid)
