"""The smallest model's latency under load and a bare loop's: `.venv/bin/python -m tests.benchmarks.latency`.

What a bare loop shows that takes as much of the processor for an answer (``bare_loop.py``), the machine does and the
client that shares its cores: only what is beyond that is the server's. Two workers, eight connections; each is loaded
with 70% of what it answered at eight at once in the same round. Interleaved rounds (``ROUNDS [SECONDS]``), medians.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack, closing
from pathlib import Path

from tests.benchmarks.bare_loop import parse
from tests.benchmarks.peers.running import WORKERS, free_port, start_ours
from tests.benchmarks.peers.works import prepare
from tests.clients.environment import ROOT
from tf_serving_flask_app.bench.command import MODERATE_LOAD, ended_like_ctrl_c
from tf_serving_flask_app.bench.machine import this_machine
from tf_serving_flask_app.bench.measure import Point, ServerTarget, start_client, take_samples
from tf_serving_flask_app.bench.report import table
from tf_serving_flask_app.bench.server import RunningServer

TOP = Point(8)
MODERATE = Point(8, share=MODERATE_LOAD)
CALIBRATION, CALIBRATIONS = 10_000, 31
"""Documents to parse in order to see how long that takes, and how often."""


def documents_for(cpu_s: float) -> int:
    """How many documents take so long to parse."""
    spent_s = []
    for _ in range(CALIBRATIONS):
        began = time.process_time()
        parse(CALIBRATION)
        spent_s.append(time.process_time() - began)
    return round(cpu_s / statistics.median(spent_s) * CALIBRATION)


def start_bare_loop(stack: ExitStack, documents: int) -> RunningServer:
    """Start it; it ends with the stack."""
    port = free_port()
    numbers = map(str, (port, WORKERS, TOP.concurrency, documents))
    command = [sys.executable, "-m", "tests.benchmarks.bare_loop", *numbers]
    return stack.enter_context(RunningServer(command, {**os.environ, "PYTHONPATH": str(ROOT)}, port))


def main() -> None:
    """Print a row for each of them."""
    given = sys.argv[1:]
    rounds, seconds = int([*given, "7"][0]), float([*given[1:], "3"][0])
    with ended_like_ctrl_c(), ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        section = prepare("half", folder, folder).sections[0]
        client = stack.enter_context(closing(start_client()))
        server = start_ours(stack, section)
        server.wait_ready()
        ours = ServerTarget("tf_serving_flask_app", server, section.work.requests, client)
        bare = start_bare_loop(stack, documents_for(ours.measure(TOP, seconds).cpu_s))
        bare.wait_ready()
        targets = (ours, ServerTarget("bare loop", bare, section.work.requests, client))
        steps = [(target, point) for target in targets for point in (TOP, MODERATE)]
        samples = take_samples(steps, rounds, seconds, lambda: print(".", end="", file=sys.stderr, flush=True))
    rows = [["", "top req/s", "at 70%: req/s", "CPU ms/req", "p50 ms", "p99 ms", "p99/p50"]]
    for target in targets:
        taken = samples[target.name, MODERATE]
        figures = [(each.rate, each.cpu_s * 1e3, (each.p50_s or 0) * 1e3, (each.p99_s or 0) * 1e3) for each in taken]
        rate, *others = (statistics.median(column) for column in zip(*figures, strict=True))
        ratio = statistics.median(p99 / p50 for _, _, p50, p99 in figures)
        top = statistics.median(each.rate for each in samples[target.name, TOP])
        rows.append([target.name, f"{top:.0f}", f"{rate:.0f}", *(f"{figure:.2f}" for figure in (*others, ratio))])
    print(f"\n{this_machine('tensorflow')}\n{rounds} rounds of {seconds:g} s, medians\n{table(rows)}")


if __name__ == "__main__":
    main()
