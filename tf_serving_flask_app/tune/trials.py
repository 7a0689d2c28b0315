"""What came of serving a candidate: the figures of each round, beside the default's of the same round."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tf_serving_flask_app.bench.measure import Sample
from tf_serving_flask_app.tune.agreement import Agreement
from tf_serving_flask_app.tune.candidates import Candidate


@dataclass(frozen=True)
class Figures:
    """One measurement.

    Attributes:
        rate: good answers a second.
        p99_s: of their latency; None where there was none.
        pss: bytes of memory, what processes share counted once.
        failures: what went wrong -> how often.
    """

    rate: float
    p99_s: float | None
    pss: int
    failures: Mapping[str, int] = field(default_factory=dict)


Pair = tuple[Figures, Figures]
"""The default's figures and a candidate's, of the same round: what slows the machine down, slows both."""


@dataclass(frozen=True)
class Trial:
    """A candidate, served.

    Attributes:
        candidate: its settings.
        seconds: of each measurement.
        pairs: of each round.
        agreement: with float32; None where nothing was compared.
        refused: why it cannot be served; None where it can.
        failed: why it could not be measured, or not once more, which may be otherwise another time; or None.
    """

    candidate: Candidate
    seconds: float = 0.0
    pairs: Sequence[Pair] = field(default_factory=list)
    agreement: Agreement | None = None
    refused: str | None = None
    failed: str | None = None


@dataclass(frozen=True)
class Final:
    """The best candidates, measured once more and for longer.

    Attributes:
        seconds: of each measurement.
        finalists: their settings.
        rounds: the figures of each round, the default's first, then the finalists'.
    """

    seconds: float
    finalists: Sequence[Candidate]
    rounds: Sequence[Sequence[Figures]]

    def pairs(self, candidate: Candidate) -> list[Pair]:
        """A finalist's figures beside the default's."""
        place = 1 + list(self.finalists).index(candidate)
        return [(figures[0], figures[place]) for figures in self.rounds]


def figures_of(sample: Sample) -> Figures:
    """What of a measurement is kept."""
    return Figures(sample.rate, sample.p99_s, sample.memory.pss, dict(sample.failures))


def ratios(pairs: Sequence[Pair]) -> list[float]:
    """The rate over the default's, of each round."""
    return [own.rate / default.rate if default.rate else 0.0 for default, own in pairs]


def slowness(pairs: Sequence[Pair]) -> float:
    """The 99th percentile over the default's, the median of the rounds; without answers, infinite."""
    shares = [
        own.p99_s / default.p99_s if own.p99_s is not None and default.p99_s else float("inf") for default, own in pairs
    ]
    return statistics.median(shares)


def middle(figures: Sequence[Figures]) -> Figures:
    """The median of each figure; failures are summed."""
    failures: Counter[str] = Counter()
    for each in figures:
        failures.update(each.failures)
    known = [each.p99_s for each in figures if each.p99_s is not None]
    return Figures(
        statistics.median(each.rate for each in figures),
        statistics.median(known) if known else None,
        round(statistics.median(each.pss for each in figures)),
        failures,
    )
