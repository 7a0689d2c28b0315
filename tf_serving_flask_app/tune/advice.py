"""Which candidate to advise, and why."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tf_serving_flask_app.tune.candidates import Candidate
from tf_serving_flask_app.tune.trials import Pair, Trial, middle, ratios, slowness

NOISE = 0.03
"""A candidate must be faster than the default by more than this, as much less may be chance."""

MOST_ROUNDS = 0.7
"""In this share of the rounds it must be faster."""

MOST_SLOWNESS = 1.5
"""Its 99th percentile may be this many times the default's: throughput is not bought with latency."""

FINALISTS = 2


@dataclass(frozen=True)
class Advice:
    """Settings, and the reason for them in a sentence."""

    candidate: Candidate
    reason: str


def is_sound(trial: Trial, min_agreement: float) -> bool:
    """Whether its answers agree with float32's; where nothing could be compared, only float32's own are known to."""
    if trial.agreement is None:
        return trial.candidate == trial.candidate.exact
    return trial.agreement.share >= min_agreement


def objection(trial: Trial, pairs: Sequence[Pair], min_agreement: float, *, sound: bool) -> str | None:
    """Why a candidate cannot be advised, however fast it is; None if it can.

    Args:
        trial: the candidate's.
        pairs: the figures that count.
        min_agreement: never below it.
        sound: whether the default's own answers are; else its latency is no measure.
    """
    if trial.refused is not None:
        return "refused"
    if trial.failed is not None:
        return "failed"
    failures = middle([own for _, own in pairs]).failures
    if failures:
        return "requests failed: " + ", ".join(f"{count} x {reason}" for reason, count in failures.items())
    if not is_sound(trial, min_agreement):
        known = trial.agreement
        return "agreement unknown" if known is None else f"agreement {share_text(known.share)}, below {min_agreement:g}"
    slower = slowness(pairs)
    return f"p99 is {slower:.1f} times the default's" if sound and slower > MOST_SLOWNESS else None


def is_faster(pairs: Sequence[Pair]) -> bool:
    """Whether a candidate is faster than the default, by more than chance explains."""
    found = ratios(pairs)
    return statistics.median(found) > 1 + NOISE and sum(ratio > 1 for ratio in found) >= MOST_ROUNDS * len(found)


def ranked(trials: Sequence[Trial], min_agreement: float, *, sound: bool) -> list[Trial]:
    """The trials of candidates that can be advised, the fastest first.

    Args:
        trials: of all candidates.
        min_agreement: never below it.
        sound: whether the default's own answers are; then a candidate must seem faster, else it need not.
    """
    found = [
        each
        for each in trials
        if each.pairs
        and objection(each, each.pairs, min_agreement, sound=sound) is None
        and (is_faster(each.pairs) or not sound)
    ]
    return sorted(found, key=lambda each: statistics.median(ratios(each.pairs)), reverse=True)


def advise(
    default: Trial, trials: Sequence[Trial], finals: Mapping[Candidate, Sequence[Pair]], min_agreement: float
) -> Advice:
    """Choose.

    Args:
        default: its agreement counts: float32 is not what every spec says.
        trials: of the candidates.
        finals: of those that were measured once more, which then decides.
        min_agreement: never below it.
    """
    sound = is_sound(default, min_agreement)
    finalists = [replace(each, pairs=finals[each.candidate]) for each in trials if each.candidate in finals]
    best = ranked(finalists or trials, min_agreement, sound=sound)
    if sound:
        if best:
            return Advice(best[0].candidate, _reason(best[0]))
        none = "Of the best, measured once more, none" if finalists else "Nothing"
        reason = f"{none} that can be advised is faster by more than {NOISE:.0%} in most rounds; less may be chance."
        return Advice(default.candidate, f"Keep the settings as they are. {reason}")
    best = best or ranked([each for each in trials if each.candidate not in finals], min_agreement, sound=sound)
    if best:
        return Advice(best[0].candidate, f"{_fault(default)}. This has {_reason(best[0])}")
    reason = "and nothing that was measured can be advised. These are the settings with which they were compared."
    return Advice(default.candidate.exact, f"{_fault(default)}, {reason}")


def _fault(default: Trial) -> str:
    """What is wrong with the agreement of the settings as they are."""
    if default.agreement is None:
        return "How far the answers of the settings as they are agree with float32's is unknown"
    return "The answers of the settings as they are agree too little with float32's"


def _reason(trial: Trial) -> str:
    default, own = (middle([pair[side] for pair in trial.pairs]) for side in (0, 1))
    found = ratios(trial.pairs)
    rounds = f"in {sum(each > 1 for each in found)} of {len(found)} rounds it was faster"
    memory = f"its memory {own.pss / max(1, default.pss):.2f} times"
    known = trial.agreement
    agreement = "unknown, but this is float32" if known is None else f"{share_text(known.share)} on {known.of} answers"
    return (
        f"{statistics.median(found):.2f} times the default's requests a second ({rounds}), its p99"
        f" {slowness(trial.pairs):.2f} times, {memory}; agreement with float32 {agreement}."
    )


def share_text(share: float) -> str:
    """A share that never looks better than it is: 1 means all."""
    return "1" if share == 1 else f"{min(share, 0.9999):.4f}"
