"""What is advised, and what never is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.tune.conftest import DEFAULT, pairs, trial
from tf_serving_flask_app.tune.advice import advise, objection, ranked, share_text
from tf_serving_flask_app.tune.agreement import Agreement
from tf_serving_flask_app.tune.trials import Trial

AS_IT_IS = Trial(DEFAULT, agreement=Agreement(1.0, 0.0, 64))
ONE = replace(DEFAULT, workers=1, intra_op_threads=2)
HALF_PRECISION = replace(DEFAULT, precision="bfloat16")


def test_the_fastest_that_can_be_advised_is() -> None:
    advice = advise(AS_IT_IS, [trial(ONE, 1.2, 1.3), trial(HALF_PRECISION, 3.0, 3.0)], {}, 0.99)

    assert advice.candidate == HALF_PRECISION
    assert advice.reason.startswith(
        "3.00 times the default's requests a second (in 2 of 2 rounds it was faster), its p99"
    )


def test_what_agrees_too_little_is_never_advised() -> None:
    close = trial(HALF_PRECISION, 3.0, 3.0, share=0.9899)

    assert objection(close, close.pairs, 0.99, sound=True) == "agreement 0.9899, below 0.99"
    assert advise(AS_IT_IS, [close], {}, 0.99).candidate == DEFAULT
    assert advise(AS_IT_IS, [close], {}, 0.9).candidate == HALF_PRECISION


@pytest.mark.parametrize(
    ("candidate", "says"),
    [
        (trial(ONE, 2.0, 2.0, slowness=1.6), "p99 is 1.6 times the default's"),
        (trial(ONE, 2.0, 2.0, failures=2), "requests failed: 4 x HTTP 500"),
        (Trial(ONE, refused="no bfloat16 here"), "refused"),
        (replace(trial(ONE, 2.0, 2.0), failed="no luck"), "failed"),
        (Trial(HALF_PRECISION, pairs=pairs([2.0])), "agreement unknown"),
        (Trial(replace(ONE, xla=True), pairs=pairs([2.0])), "agreement unknown"),
    ],
)
def test_what_cannot_be_advised_says_why(candidate: Trial, says: str) -> None:
    assert objection(candidate, candidate.pairs or pairs([1.0]), 0.99, sound=True) == says
    assert advise(AS_IT_IS, [candidate], {}, 0.99).candidate == DEFAULT


@pytest.mark.parametrize("ratios", [(1.02, 1.03), (1.4, 0.99), (0.9, 0.8)])
def test_what_may_be_chance_is_not_advised(ratios: tuple[float, float]) -> None:
    advice = advise(AS_IT_IS, [trial(ONE, *ratios)], {}, 0.99)

    assert advice.candidate == DEFAULT
    assert advice.reason == (
        "Keep the settings as they are. Nothing that can be advised is faster by more than 3% in most rounds; less may"
        " be chance."
    )


def test_the_final_decides_and_what_was_not_in_it_is_out() -> None:
    two = replace(DEFAULT, max_batch_size=4)
    trials = [trial(ONE, 1.5, 1.5), trial(two, 1.4, 1.4), trial(HALF_PRECISION, 1.3, 1.3)]
    finals = {ONE: pairs([1.1, 1.1, 1.1, 0.99]), two: pairs([1.2, 1.2, 1.3, 1.2])}

    assert advise(AS_IT_IS, trials, finals, 0.99).candidate == two
    kept = advise(AS_IT_IS, trials, {ONE: pairs([1.0]), two: pairs([0.9])}, 0.99)
    assert kept.candidate == DEFAULT
    assert kept.reason == (
        "Keep the settings as they are. Of the best, measured once more, none that can be advised is faster by more"
        " than 3% in most rounds; less may be chance."
    )


def test_a_default_that_agrees_too_little_is_left_for_what_agrees_even_if_that_is_slower() -> None:
    fast = Trial(HALF_PRECISION, agreement=Agreement(0.9, 0.1, 64))
    advice = advise(fast, [trial(DEFAULT, 0.3, 0.3)], {}, 0.99)

    assert advice.candidate == DEFAULT
    assert "agree too little with float32's" in advice.reason
    assert advice.reason.split("float32's. ")[1].startswith("This has 0.30 times the default's requests a second")


def test_a_default_that_agrees_too_little_is_no_measure_of_latency() -> None:
    fast, slow = Trial(HALF_PRECISION, agreement=Agreement(0.9, 0.1, 64)), trial(ONE, 0.4, 0.4, slowness=3.0)

    assert objection(slow, slow.pairs, 0.99, sound=False) is None
    assert ranked([trial(DEFAULT, 0.3, 0.3), slow], 0.99, sound=False)[0] == slow
    assert advise(fast, [trial(DEFAULT, 0.3, 0.3), slow], {}, 0.99).candidate == ONE


def test_also_where_the_default_agrees_too_little_the_final_decides() -> None:
    fast, trials = Trial(HALF_PRECISION, agreement=Agreement(0.9, 0.1, 64)), [trial(DEFAULT, 0.5), trial(ONE, 0.4)]

    assert advise(fast, trials, {ONE: pairs([0.3] * 5)}, 0.99).candidate == ONE
    assert advise(fast, trials, {ONE: pairs([0.3] * 5, failures=1)}, 0.99).candidate == DEFAULT


@pytest.mark.parametrize("trials", [[], [trial(DEFAULT, 0.3, failures=1)], [trial(ONE, 0.3, share=0.5)]])
def test_where_nothing_that_agrees_was_measured_the_advice_is_float32_and_says_so(trials: list[Trial]) -> None:
    advice = advise(Trial(HALF_PRECISION, agreement=Agreement(0.9, 0.1, 64)), trials, {}, 0.99)

    assert advice.candidate == DEFAULT
    assert advice.reason == (
        "The answers of the settings as they are agree too little with float32's, and nothing that was measured can be"
        " advised. These are the settings with which they were compared."
    )


def test_where_nothing_could_be_compared_only_float32_is_advised() -> None:
    fast, exact = Trial(HALF_PRECISION, pairs=pairs([3.0, 3.0])), Trial(ONE, pairs=pairs([1.2, 1.2]))
    advice = advise(Trial(DEFAULT), [fast, exact], {}, 0.99)

    assert advice.candidate == ONE
    assert advice.reason.endswith("agreement with float32 unknown, but this is float32.")


def test_a_default_of_which_nothing_could_be_compared_is_left_for_float32() -> None:
    advice = advise(Trial(HALF_PRECISION), [Trial(DEFAULT, pairs=pairs([0.3, 0.3]))], {}, 0.99)

    assert advice.candidate == DEFAULT
    assert advice.reason.startswith(
        "How far the answers of the settings as they are agree with float32's is unknown. This has 0.30 times"
    )


def test_the_best_are_those_that_are_faster_and_can_be_advised() -> None:
    trials = [trial(ONE, 1.2, 1.2), trial(HALF_PRECISION, 3.0, 3.0, share=0.5), trial(replace(ONE, xla=True), 1.4, 1.4)]

    assert [each.candidate for each in ranked(trials, 0.99, sound=True)] == [replace(ONE, xla=True), ONE]


def test_a_share_that_is_not_all_never_reads_as_all() -> None:
    assert [share_text(share) for share in (1.0, 0.999999, 0.984375)] == ["1", "0.9999", "0.9844"]
