"""A chore is done at its interval, and what it fails with is logged once."""

from __future__ import annotations

import pytest

from tf_serving_flask_app.chores import Chore


def test_a_chore_is_not_done_before_it_is_due() -> None:
    done: list[int] = []
    soon, later = Chore(0, lambda: done.append(1)), Chore(60, lambda: done.append(2))
    for _ in range(3):
        soon.do_if_due()
        later.do_if_due()

    assert sorted(done) == [1, 1, 1, 2]


def test_the_same_failure_in_a_row_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    errors: list[Exception | None] = [OSError("a"), OSError("a"), OSError("b"), None, OSError("b")]

    def work() -> None:
        error = errors.pop(0)
        if error is not None:
            raise error

    chore = Chore(0, work)
    while errors:
        chore.do_if_due()
    causes = [str(record.exc_info[1]) for record in caplog.records if record.exc_info]

    assert causes == ["a", "b", "b"]
