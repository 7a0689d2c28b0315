"""The way of the search, with a machine that is made up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from tests.tune.conftest import DEFAULT, pairs, trial
from tf_serving_flask_app.tune.agreement import Agreement
from tf_serving_flask_app.tune.candidates import Candidate, Space
from tf_serving_flask_app.tune.search import Found, search
from tf_serving_flask_app.tune.trials import Final, Trial

AS_IT_IS = Trial(DEFAULT, agreement=Agreement(1.0, 0.0, 64))
HALF_PRECISION = replace(DEFAULT, precision="bfloat16")
LITTLE = Agreement(0.9, 0.1, 64)


class MadeUp:
    """Measures by a formula, as often as there is time."""

    def __init__(self, speed: Callable[[Candidate], float], trials: int = 100, share: float = 1.0) -> None:
        self._speed = speed
        self._left = trials
        self._share = share
        self.finalists: Sequence[Candidate] = ()
        self.failed: dict[Candidate, str] = {}

    def trial(self, candidate: Candidate, *, final_to_come: bool) -> Trial | None:
        self._left -= 1
        share = self._share if candidate.precision == "bfloat16" else 1.0
        speed = self._speed(candidate)
        return trial(candidate, speed, speed, share=share) if self._left >= 0 else None

    def final(self, finalists: Sequence[Candidate]) -> tuple[Final | None, Mapping[Candidate, str]]:
        self.finalists = finalists
        served = [each for each in finalists if each not in self.failed]
        rounds = [[pairs([1.0])[0][0], *(pairs([self._speed(each)])[0][1] for each in served)] for _ in range(5)]
        return Final(1.0, served, rounds) if served and self._left >= 0 else None, self.failed


def speed(candidate: Candidate) -> float:
    """Best with one worker in bfloat16 without batches."""
    found = 1.2 if candidate.workers == 1 else 1.0
    found *= 3 if candidate.precision == "bfloat16" else 1
    found *= 0.5 if candidate.xla else 1
    return found * (1.1 if candidate.max_batch_size == 1 else 1)


def run(measurer: MadeUp, space: Space) -> Found:
    return search(measurer, space, AS_IT_IS, 0.99)


def test_each_stage_goes_on_from_the_best_so_far(space: Space) -> None:
    measurer = MadeUp(speed)
    found = run(measurer, space)
    best = Candidate(1, 2, 1, "bfloat16", False, 1)

    assert found.advice.candidate == best
    assert next(iter(measurer.finalists)) == best
    assert len(measurer.finalists) == 2
    assert found.untried == []
    assert {each.candidate.workers for each in found.trials[3:7]} == {1}


def test_what_agrees_too_little_is_no_ground_to_build_on(space: Space) -> None:
    found = run(MadeUp(speed, share=0.9), space)

    assert found.advice.candidate == Candidate(1, 2, 1, "float32", False, 1)
    assert [each.candidate.precision for each in found.trials].count("bfloat16") == 1


def test_a_default_that_agrees_too_little_is_no_ground_to_build_on_either(space: Space) -> None:
    measurer, default = MadeUp(lambda each: speed(each) / 3, share=0.9), Trial(HALF_PRECISION, 1, [], LITTLE)
    found = search(measurer, replace(space, default=HALF_PRECISION), default, 0.99)
    best = Candidate(1, 2, 1, "float32", False, 1)

    assert {each.candidate.precision for each in found.trials} == {"float32"}
    assert found.trials[0].candidate == DEFAULT
    assert next(iter(measurer.finalists)) == best
    assert found.advice.candidate == best
    assert found.advice.reason.startswith(
        "The answers of the settings as they are agree too little with float32's. This"
    )


def test_what_there_was_no_time_for_is_told(space: Space) -> None:
    found = run(MadeUp(speed, trials=1), space)

    assert [each.candidate.precision for each in found.trials] == ["bfloat16"]
    assert len(found.untried) == 8
    assert found.final is None
    assert found.advice.candidate == found.trials[0].candidate


def test_what_fails_in_the_final_is_not_advised_and_all_else_stays(space: Space) -> None:
    measurer = MadeUp(speed)
    best = Candidate(1, 2, 1, "bfloat16", False, 1)
    measurer.failed = {best: "no luck"}
    found = run(measurer, space)
    second = measurer.finalists[1]

    assert found.advice.candidate == second
    assert [found.objection(each) for each in found.trials if each.candidate in measurer.finalists].count("failed") == 1
    assert len(found.trials) == len(run(MadeUp(speed), space).trials)


def test_where_all_fails_in_the_final_the_trials_of_the_others_decide(space: Space) -> None:
    measurer = MadeUp(speed)
    finalists = [each.candidate for each in run(MadeUp(speed), space).best[:2]]
    measurer.failed = {**dict.fromkeys(finalists, "no luck"), DEFAULT: "With the settings as they are, requests fail."}
    found = run(measurer, space)

    assert found.final is None
    assert found.default.failed == "With the settings as they are, requests fail."
    assert found.advice.candidate == found.best[0].candidate
    assert found.advice.candidate not in finalists


def test_nothing_is_tried_twice(space: Space) -> None:
    found = run(MadeUp(lambda candidate: 1.0), space)
    tried = [each.candidate for each in found.trials]

    assert len(set(tried)) == len(tried)
    assert replace(DEFAULT) not in tried
    assert found.advice.candidate == DEFAULT
