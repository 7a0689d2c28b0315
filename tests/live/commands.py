"""Commands that measure, as processes of their own, for tests."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.live.server import ROOT


def start(command: str, *arguments: str | Path, **environ: str) -> subprocess.Popen[str]:
    """Start ``./run.sh COMMAND``."""
    return subprocess.Popen(
        [sys.executable, "-m", "tf_serving_flask_app", command, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]), **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str], seconds: float) -> tuple[int, str, str]:
    """Wait for a command's end: exit code, stdout, stderr."""
    with process:
        output, errors = process.communicate(timeout=seconds)
    assert "Traceback" not in output + errors
    return process.returncode, output, errors


@pytest.fixture
def started() -> Iterator[list[psutil.Process]]:
    """Processes to be gone at the end; those that are not are ended, and fail the test."""
    processes: list[psutil.Process] = []
    yield processes
    _, left = psutil.wait_procs(processes, timeout=10)
    for process in left:
        process.kill()

    assert left == []
