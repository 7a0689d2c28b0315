"""Whether a server's answers are right: one that answers wrongly is not measured."""

from __future__ import annotations

from collections.abc import Sequence

from tests.benchmarks.peers.wire import Scores
from tf_serving_flask_app.errors import ConfigurationError

NOISE = 0.001
"""How far the same model on the same pixels may be off, as a share of the best score: sums in another order."""

OTHER_PIXELS = 0.02
"""The same where the pixels differ a little, as in our own decode; 0.009 was the most in all pictures and models."""

BFLOAT16 = 0.06
"""The same in bfloat16, which rounds to 1/256: a best class's logit of 5 is off by 0.02, and so its score, which is e
to that power, by a share of 0.02; with our own pixels 0.026 was the most. Another picture has other best classes."""


def check_answer(who: str, right: Sequence[float], scores: Scores, tolerance: float) -> None:
    """Compare an answer with what the model says of the same input.

    Args:
        who: answered, for the error.
        right: the score of every class, or all numbers.
        scores: the answer.
        tolerance: as a share of the best score. Of random weights the scores are all about alike, so two classes that
            are nearer than that may change places.

    Raises:
        ConfigurationError: it is another one.
    """
    far = tolerance * max(right)
    expected = min(5, len(right))
    if len(scores) != expected:
        raise ConfigurationError(f"{who} answers {len(scores)} scores, not {expected}.")
    for place, (index, score) in enumerate(scores.items()):
        if not abs(score - right[index]) <= far:
            raise ConfigurationError(f"{who} answers {score:.6f} for {index}; it is {right[index]:.6f}.")
        if len(right) > expected and right[index] < sorted(right, reverse=True)[place] - 2 * far:
            raise ConfigurationError(f"{who} has {index} in place {place + 1}, where it does not belong.")
