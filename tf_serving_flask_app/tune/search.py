"""The way through what can be tried: stage by stage from the best so far, then the best once more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from tf_serving_flask_app.tune.advice import FINALISTS, Advice, advise, is_sound, objection, ranked
from tf_serving_flask_app.tune.candidates import STAGES, Candidate, Space
from tf_serving_flask_app.tune.trials import Final, Pair, Trial


class Measurer(Protocol):
    """What serves and measures; see ``lab.Lab``."""

    def trial(self, candidate: Candidate, *, final_to_come: bool) -> Trial | None:
        """Try a candidate; None where time does not suffice, for a final after it either if one is to come."""

    def final(self, finalists: Sequence[Candidate]) -> tuple[Final | None, Mapping[Candidate, str]]:
        """Measure the best once more; None where that is too short to decide. Also, what failed in it, and why."""


@dataclass
class Found:
    """What came of a search.

    Attributes:
        default: what agreement the settings as they are have.
        trials: of all that was tried, in that order.
        untried: for what there was no time.
        final: None where there was none that decides.
        min_agreement: with float32, of what may be advised.
    """

    default: Trial
    min_agreement: float
    trials: list[Trial] = field(default_factory=list)
    untried: list[Candidate] = field(default_factory=list)
    final: Final | None = None

    def pairs(self, trial: Trial) -> Sequence[Pair]:
        """The figures that count for a candidate: the final's, if it was in it."""
        if self.final is not None and trial.candidate in self.final.finalists:
            return self.final.pairs(trial.candidate)
        return trial.pairs

    @property
    def sound(self) -> bool:
        """Whether the settings as they are agree with float32, so that others are held against them."""
        return is_sound(self.default, self.min_agreement)

    @property
    def best(self) -> list[Trial]:
        """What could be advised by the trials alone, the fastest first."""
        return ranked(self.trials, self.min_agreement, sound=self.sound)

    def objection(self, trial: Trial) -> str | None:
        """Why a candidate cannot be advised, however fast it is; None if it can."""
        return objection(trial, self.pairs(trial), self.min_agreement, sound=self.sound)

    @property
    def advice(self) -> Advice:
        """What to do."""
        finals = {one: self.final.pairs(one) for one in self.final.finalists} if self.final is not None else {}
        return advise(self.default, self.trials, finals, self.min_agreement)


def search(measurer: Measurer, space: Space, default: Trial, min_agreement: float) -> Found:
    """Try what is worth it, as long as there is time.

    Args:
        measurer: serves and measures.
        space: what there is to choose from.
        default: the settings as they are, with their agreement.
        min_agreement: with float32; what has less is no ground to build on.
    """
    found = Found(default, min_agreement)
    begin = default.candidate if found.sound else default.candidate.exact
    seen = {space.default}
    for stage in STAGES:
        best = found.best[0].candidate if found.best else begin
        for candidate in stage(space, best):
            if candidate in seen:
                continue
            seen.add(candidate)
            trial = measurer.trial(candidate, final_to_come=bool(found.best))
            if trial is None:
                found.untried.append(candidate)
            else:
                found.trials.append(trial)
    finalists = [trial.candidate for trial in found.best[:FINALISTS]]
    if finalists:
        found.final, failed = measurer.final(finalists)
        found.default, *found.trials = (
            replace(trial, failed=failed[trial.candidate]) if trial.candidate in failed else trial
            for trial in (default, *found.trials)
        )
    return found
