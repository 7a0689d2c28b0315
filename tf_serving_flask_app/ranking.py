"""Which scores are the highest."""

from __future__ import annotations

from typing import Any

import numpy as np


def ranked(scores: np.ndarray[Any, Any], most: int | None = None) -> np.ndarray[Any, Any]:
    """Rank scores: highest first, equals in their order, and what is no number last.

    Args:
        scores: [n], integers or floats.
        most: how many to rank; only those are sorted. None for all.

    Returns:
        indices, [min(n, most)].
    """
    # Both turn the order around; -1 of an unsigned type would be its largest.
    keys = ~scores if scores.dtype.kind in "iu" else -scores.astype(np.float64)
    if most is not None and most < keys.size:
        last = np.partition(keys, most - 1)[most - 1]
        among = np.flatnonzero(keys <= last)
        if among.size >= most:  # else the last of them is no number
            return among[np.argsort(keys[among], kind="stable")][:most]
    return np.argsort(keys, kind="stable")[:most]
