"""Candidates, figures and trials, made up."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tf_serving_flask_app.tune.agreement import Agreement
from tf_serving_flask_app.tune.candidates import Candidate, Space
from tf_serving_flask_app.tune.trials import Figures, Pair, Trial

DEFAULT = Candidate(2, 1, 1, "float32", False, 8)
MIB = 1 << 20


def pairs(ratios: Sequence[float], slowness: float = 1.0, failures: int = 0) -> list[Pair]:
    """The figures of rounds with these ratios to the default."""
    failed = {"HTTP 500": failures} if failures else {}
    return [
        (Figures(100.0, 0.02, 400 * MIB), Figures(100.0 * ratio, 0.02 * slowness, 300 * MIB, failed))
        for ratio in ratios
    ]


def trial(candidate: Candidate, *ratios: float, share: float = 1.0, slowness: float = 1.0, failures: int = 0) -> Trial:
    """A candidate with these ratios to the default."""
    return Trial(candidate, 1.0, pairs(ratios, slowness, failures), Agreement(share, 0.001, 64))


@pytest.fixture
def space() -> Space:
    """A TensorFlow model whose calls are joined, on two cores."""
    return Space(DEFAULT, 2, 8, auto_threads=True, several_workers=True, threads=True, compiles=True, batches=True)
