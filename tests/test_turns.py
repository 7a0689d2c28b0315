"""Whose turn it is to work, without threads: what happens when places are taken and given back."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.live.server import wait_until
from tf_serving_flask_app.errors import Overloaded
from tf_serving_flask_app.gunicorn.turns import Turn, Turns, kind_of

DEADLINE_S = 10.0


def turns(places: int, room: int = 1000, *, shared: bool = True) -> Turns:
    return Turns(places, room, threading.Event, shared=shared)


def take(turns: Turns, kind: str, times: int) -> list[Turn]:
    """Take places, and return the turns of those who have to wait."""
    return [turn for _ in range(times) if (turn := turns.take(kind)) is not None]


@pytest.mark.parametrize(
    ("environ", "kind"),
    [
        ({"PATH_INFO": "/v1/models/a:predict", "QUERY_STRING": ""}, "/v1/models/a:predict"),
        ({"PATH_INFO": "/classify", "QUERY_STRING": "top_k=3&modelname=a"}, "/classify?a"),
        ({"PATH_INFO": "/classify", "QUERY_STRING": "modelname=b&top_k=3"}, "/classify?b"),
        ({"PATH_INFO": "/classify", "QUERY_STRING": "other_modelname=b"}, "/classify"),
    ],
)
def test_the_kind_of_a_request_is_its_path_and_the_model_that_its_query_names(environ: Any, kind: str) -> None:
    assert kind_of(environ) == kind


@pytest.mark.parametrize(("places", "most"), [(1, 1), (2, 2), (4, 3), (8, 6), (32, 24)])
def test_one_of_several_kinds_has_three_quarters_of_the_places(places: int, most: int) -> None:
    assert len(take(turns(places), "slow", places)) == places - most


def test_where_there_is_one_model_it_has_all_places() -> None:
    assert take(turns(4, shared=False), "", 4) == []


def test_the_next_kind_finds_places_at_once_and_leaves_some_as_well() -> None:
    some = turns(32)
    take(some, "slow", 100)

    assert len(take(some, "also slow", 100)) == 94
    assert take(some, "fast", 1) == []


def test_one_of_several_kinds_has_three_quarters_of_the_room_to_wait() -> None:
    some = turns(1, room=8)
    take(some, "slow", 1)
    (first, *_) = take(some, "slow", 6)
    with pytest.raises(Overloaded):
        some.take("slow")
    assert len(take(some, "fast", 1)) == 1
    assert not some.wait(first, 0.0)

    assert len(take(some, "slow", 1)) == 1


def test_where_there_is_one_model_its_requests_wait_as_long_as_they_are_let_in() -> None:
    some = turns(1, room=0, shared=False)

    assert len(take(some, "", 3)) == 2


def test_those_of_one_kind_work_in_the_order_of_their_arrival() -> None:
    some = turns(4)
    waiting = take(some, "slow", 6)
    came = []
    for _ in range(3):
        some.give_back("slow")
        came.append([turn.has_come for turn in waiting])

    assert came == [[True, False, False], [True, True, False], [True, True, True]]


def test_a_place_goes_to_the_kind_that_has_the_fewest() -> None:
    some = turns(2)
    take(some, "slow", 2)
    (slow,) = take(some, "slow", 1)
    (fast,) = take(some, "fast", 1)
    some.give_back("slow")

    assert (slow.has_come, fast.has_come) == (False, True)
    some.give_back("fast")
    assert slow.has_come


def test_who_has_waited_too_long_is_out_of_the_line() -> None:
    some = turns(1)
    take(some, "slow", 1)
    first, second = take(some, "slow", 2)
    assert not some.wait(first, 0.0)
    some.give_back("slow")

    assert some.wait(second, 0.0)
    some.give_back("slow")
    assert take(some, "slow", 1) == []


def test_who_is_late_but_has_got_the_place_keeps_it() -> None:
    some = turns(1)
    take(some, "slow", 1)
    (turn,) = take(some, "slow", 1)
    some.give_back("slow")

    assert some.wait(turn, 0.0)


def test_who_waits_is_woken() -> None:
    some = turns(1)
    take(some, "slow", 1)
    (turn,) = take(some, "slow", 1)
    with ThreadPoolExecutor(1) as pool:
        waits = pool.submit(some.wait, turn, DEADLINE_S)
        some.give_back("slow")

        assert waits.result(DEADLINE_S)


@pytest.mark.parametrize("shared", [True, False])
def test_many_threads_never_have_more_places_than_there_are_and_give_all_back(shared: bool) -> None:
    some, lock, working, most = turns(4, shared=shared), threading.Lock(), 0, 0

    def work(number: int) -> bool:
        nonlocal working, most
        kind = f"kind {number % 3}" if shared else ""
        turn = some.take(kind)
        if turn is not None and not some.wait(turn, DEADLINE_S if number % 5 else 0.0):
            return False
        with lock:
            working += 1
            most = max(most, working)
        with lock:
            working -= 1
        some.give_back(kind)
        return True

    with ThreadPoolExecutor(16) as pool:
        done = list(pool.map(work, range(2000)))

    assert all(worked for number, worked in enumerate(done) if number % 5)
    assert most <= 4
    wait_until(lambda: take(some, "last", 1) == [], "free place")
    assert some._working == {"last": 1}
    assert some._waiting == {}
