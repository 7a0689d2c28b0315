"""What a model gains when convolutions pad by themselves: `.venv/bin/python -m tests.benchmarks.padding SPEC [ROUNDS]`.

One process and one thread, both ways in turn, medians of the processor's milliseconds a call and of the rounds' ratios.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from pathlib import Path

import numpy as np

from tf_serving_flask_app.backends import backend_class
from tf_serving_flask_app.backends.tensorflow_session import TensorFlowSession
from tf_serving_flask_app.bench.machine import this_machine
from tf_serving_flask_app.spec_file import load_spec


def main() -> None:
    """Print a line for both."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    model = load_spec(Path(sys.argv[1]), None).models[0]
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 101
    session = model.session.model_copy(update={"intra_op_threads": 1})
    by_themselves, as_written = (
        backend_class(model.backend)(model.model_copy(update={"session": session})) for _ in range(2)
    )
    assert isinstance(as_written, TensorFlowSession)
    as_written._without_padding = {}
    random = np.random.default_rng(0)
    inputs = {
        info.name: random.random([length or 1 for length in info.shape or ()]).astype(info.dtype)
        for info in as_written.signatures[model.signature].inputs.values()
    }
    spent_ms: dict[str, list[float]] = {"padded as written": [], "padded by themselves": []}
    for number in range(rounds + 1):
        for own, backend in zip(spent_ms.values(), (as_written, by_themselves), strict=True):
            began = time.process_time()
            backend.run(model.signature, inputs)
            if number:  # the first call prepares
                own.append((time.process_time() - began) * 1000)
    print(this_machine())
    for name, own in spent_ms.items():
        ratio = statistics.median(ms / other for ms, other in zip(own, spent_ms["padded as written"], strict=True))
        print(f"{name:>20}: {statistics.median(own):7.2f} ms a call, {ratio:.3f}")


if __name__ == "__main__":
    main()
