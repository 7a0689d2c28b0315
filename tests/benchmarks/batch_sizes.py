"""What a row of a batch costs, by the batch's size: `.venv/bin/python -m tests.benchmarks.batch_sizes SPEC [ROUNDS]`.

One process and one thread, interleaved rounds, medians of the processor's milliseconds a row. It is why batches are not
filled up to powers of two; see ``batching.batch_sizes``.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from pathlib import Path

import numpy as np

from tf_serving_flask_app.backends import backend_class
from tf_serving_flask_app.bench.machine import this_machine
from tf_serving_flask_app.spec_file import load_spec

SIZES = range(1, 9)


def main() -> None:
    """Print a line for each size."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    model = load_spec(Path(sys.argv[1]), None).models[0]
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 11
    session = model.session.model_copy(update={"intra_op_threads": 1})
    backend = backend_class(model.backend)(model.model_copy(update={"session": session}))
    inputs = backend.signatures[model.signature].inputs.values()
    random = np.random.default_rng(0)
    batches = {
        size: {
            info.name: random.random([size, *(length or 1 for length in (info.shape or ())[1:])]).astype(info.dtype)
            for info in inputs
        }
        for size in SIZES
    }
    for batch in batches.values():
        backend.run(model.signature, batch)
    row_ms: dict[int, list[float]] = {size: [] for size in SIZES}
    for _ in range(rounds):
        for size, batch in batches.items():
            began = time.process_time()
            backend.run(model.signature, batch)
            row_ms[size].append((time.process_time() - began) / size * 1000)
    print(this_machine())
    for size, values in row_ms.items():
        print(f"{size} rows: {statistics.median(values):7.2f} ms a row")


if __name__ == "__main__":
    main()
