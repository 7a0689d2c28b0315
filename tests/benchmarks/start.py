"""How long a start takes, against the import of TensorFlow that no start can avoid.

Run it with ``.venv/bin/python -m tests.benchmarks.start``; interleaved rounds, medians.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time

from tests.live.server import LiveServer

ROUNDS = 7


def import_s() -> float:
    """Seconds that a fresh process takes to import TensorFlow."""
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", "import tensorflow"],
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        stderr=subprocess.DEVNULL,
        check=True,
    )
    return time.perf_counter() - began


def start_s() -> float:
    """Seconds from ``./run.sh`` to the first answer of ``/readyz``."""
    began = time.perf_counter()
    with LiveServer(command=["./run.sh"]) as server:
        taken = time.perf_counter() - began
        server.stop()
    return taken


def main() -> None:
    """Print the medians and their ratio."""
    import_s(), start_s()
    rounds = [(import_s(), start_s()) for _ in range(ROUNDS)]
    imports, starts = (statistics.median(times) for times in zip(*rounds, strict=True))
    ratio = statistics.median(start / imported for imported, start in rounds)
    print(f"import tensorflow {imports:.2f} s, ./run.sh to ready {starts:.2f} s, ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
