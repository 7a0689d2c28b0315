"""Threads share few of glibc's arenas, so that memory is given back."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

ARENAS = """
import ctypes, threading
from tf_serving_flask_app.memory import give_back_memory, keep_memory_together
keep_memory_together(2)
here = threading.Barrier(6)
kept = []
def allocate():
    kept.append(bytearray(20_000))
    here.wait()
threads = [threading.Thread(target=allocate) for _ in range(6)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
give_back_memory()
ctypes.CDLL(None).malloc_stats()
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has arenas")
@pytest.mark.parametrize(("environ", "arenas"), [({}, 2), ({"MALLOC_ARENA_MAX": "3"}, 3)])
def test_threads_share_as_many_arenas_as_was_said(environ: dict[str, str], arenas: int) -> None:
    clean = {name: value for name, value in os.environ.items() if name not in ("MALLOC_ARENA_MAX", "GLIBC_TUNABLES")}
    command = [sys.executable, "-c", ARENAS]
    done = subprocess.run(command, cwd=ROOT, env=clean | environ, capture_output=True, text=True, check=True)

    assert done.stderr.count("Arena ") == arenas
