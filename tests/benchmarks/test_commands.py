"""The measurements that the README names, in short."""

from __future__ import annotations

import subprocess
import sys

from tests.clients.environment import ROOT


def rows_of(module: str, *arguments: str) -> list[list[str]]:
    """Run a measurement; the words of each line that it prints."""
    command = [sys.executable, "-m", f"tests.benchmarks.{module}", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return [line.split() for line in done.stdout.splitlines()]


def test_the_latency_under_load_of_the_server_and_of_a_bare_loop_are_shown() -> None:
    *_, server, bare = rows_of("latency", "1", "0.5")

    assert (server[0], bare[:2]) == ("tf_serving_flask_app", ["bare", "loop"])
    for row in (server[1:], bare[2:]):
        top, rate, cpu_ms, p50_ms, p99_ms, ratio = map(float, row)
        assert 0 < rate < top
        assert cpu_ms > 0
        assert 0 < p50_ms < p99_ms
        assert ratio > 1
