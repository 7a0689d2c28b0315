"""Who accepts and who gives connections up, with several workers' shares in one process and a clock set by hand."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable

import pytest

from tf_serving_flask_app.gunicorn.balance import (
    MOST_PATIENCE_S,
    PATIENCE_S,
    RECENT_S,
    SETTLE_S,
    STALE_S,
    TICK_S,
    Loads,
    Share,
)

Workers = Callable[..., list[Share]]


class Clock:
    """Stands still until it is set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def loads(clock: Clock) -> Loads:
    return Loads(clock)


@pytest.fixture
def workers(loads: Loads) -> Workers:
    """Make accepting workers, each with so many connections that have a request under way."""

    def make(*counts: int) -> list[Share]:
        shares = [Share(loads) for _ in counts]
        for share, count in zip(shares, counts, strict=True):
            for connection in range(count):
                share.opened(connection)
                share.begins(connection)
        tick(*shares)
        tick(*shares)  # the first ones did not know of the last ones yet
        return shares

    def tick(*shares: Share) -> None:
        for share in shares:
            share.tick(accepts=True)
        assert isinstance(loads.clock, Clock)
        loads.clock.now += TICK_S

    return make


def given_up(share: Share) -> int:
    """How many of many answers would close their connection."""
    return sum(share.give_up_one() for _ in range(1000))


def test_the_least_loaded_worker_accepts_at_once_and_the_others_wait_the_longer_the_more_they_have(
    workers: Workers,
) -> None:
    assert [share.patience_s() for share in workers(0, 1, 3, 100)] == [
        0.0,
        PATIENCE_S,
        pytest.approx(3 * PATIENCE_S),
        MOST_PATIENCE_S,
    ]


def test_a_lonely_worker_and_equal_ones_wait_for_nobody(workers: Workers) -> None:
    (lonely,) = workers(5)

    assert lonely.patience_s() == 0.0
    assert [share.patience_s() for share in workers(5, 5)] == [0.0, 0.0]


def test_of_many_connections_a_small_difference_is_even_enough(workers: Workers) -> None:
    assert [share.patience_s() > 0.0 for share in workers(15, 16)] == [False, False]


def test_a_new_connection_counts_for_others_at_once_and_until_it_is_closed(workers: Workers) -> None:
    first, second = workers(1, 0)
    waits = [first.patience_s() > 0.0]
    second.opened("new")
    waits.append(first.patience_s() > 0.0)
    second.closed("new")
    waits.append(first.patience_s() > 0.0)

    assert waits == [True, False, True]


def test_an_idle_connection_is_no_load_until_its_next_request(workers: Workers, clock: Clock) -> None:
    first, second = workers(2, 1)
    first.ends(0)
    first.ends(1)
    clock.now += RECENT_S + 0.1
    first.tick(accepts=True)
    second.tick(accepts=True)
    idle = first.patience_s(), second.patience_s()
    first.begins(0)
    first.begins(1)

    assert idle == (0.0, PATIENCE_S)
    assert (first.patience_s(), second.patience_s()) == (PATIENCE_S, 0.0)


def test_a_request_that_takes_long_stays_a_load(workers: Workers, clock: Clock) -> None:
    first, second = workers(1, 0)
    for _ in range(20):
        clock.now += TICK_S
        first.tick(accepts=True)
        second.tick(accepts=True)

    assert first.patience_s() == PATIENCE_S


def test_nobody_waits_for_a_worker_that_hangs_or_is_full_or_stops_or_is_dead(workers: Workers, clock: Clock) -> None:
    busy, hung, full, stopping, dead = workers(4, 0, 1, 2, 3)
    patience = [busy.patience_s()]

    clock.now += STALE_S - TICK_S
    for share in (busy, full, stopping, dead):
        share.tick(accepts=share is not full)
    patience.append(busy.patience_s())
    stopping.leave()
    patience.append(busy.patience_s())
    dead.give_back()
    patience.append(busy.patience_s())

    assert patience == [
        pytest.approx(4 * PATIENCE_S),
        pytest.approx(2 * PATIENCE_S),
        PATIENCE_S,
        0.0,
    ]
    assert hung.patience_s() == 0.0


def test_a_new_worker_gets_the_place_of_a_dead_one_without_its_load(loads: Loads, workers: Workers) -> None:
    busy, dead = workers(4, 2)
    dead.give_back()
    new = Share(loads)
    seen_before_it_serves = busy.patience_s()
    new.tick(accepts=True)

    assert seen_before_it_serves == 0.0
    assert busy.patience_s() == pytest.approx(4 * PATIENCE_S)
    assert loads.take() == 2


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([16, 0], 8),
        ([2, 0], 1),
        ([3, 1], 1),
        ([10, 6], 2),
        ([9, 7], 0),
        ([2, 1], 0),
        ([10, 10, 0], 3),
        ([16], 0),
        ([100, 70], 0),
        ([1000, 0], 250),
    ],
)
def test_a_worker_with_clearly_more_than_the_mean_comes_down_to_it_in_steps(
    workers: Workers, counts: list[int], expected: int
) -> None:
    shares = workers(*counts)

    assert given_up(shares[0]) == expected
    assert given_up(shares[-1]) == 0


def test_clients_that_were_sent_away_have_time_to_come_back(workers: Workers, clock: Clock) -> None:
    first, second = workers(16, 0)
    numbers = [given_up(first)]
    for connection in range(8):
        first.closed(connection)
    for _ in range(2):
        clock.now += SETTLE_S - TICK_S
        first.tick(accepts=True)
        second.tick(accepts=True)
        numbers.append(given_up(first))

    assert numbers == [8, 0, 4]


def test_where_requests_do_not_meet_nothing_is_given_up(workers: Workers) -> None:
    first, _ = workers(4, 0)
    for connection in range(3):
        first.ends(connection)

    assert first.surplus == 2
    assert not first.give_up_one()


def test_another_process_sees_it(loads: Loads) -> None:
    real = Loads()
    parent, child = Share(real), Share(real)

    def work() -> None:
        child.opened(0)
        child.tick(accepts=True)

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join(10)
    parent.tick(accepts=True)

    assert process.exitcode == 0
    assert real.others(0) == [1]


def test_looking_at_64_workers_costs_next_to_nothing(workers: Workers) -> None:
    shares = workers(*range(64))
    began = time.perf_counter()
    for _ in range(100):
        shares[-1].patience_s()

    assert (time.perf_counter() - began) / 100 < 0.001
