"""`./run.sh bench` with the real server: what it prints, how it fails, and that it leaves nothing behind."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from tests.conftest import COLORS, HALF, WriteSpec
from tests.live import commands
from tests.live.server import wait_until

pytestmark = pytest.mark.live

QUICK = ["--rounds", "2", "--seconds", "0.2", "--workers", "2", "-c", "4"]


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    return commands.start("bench", *arguments)


def bench(*arguments: str | Path) -> tuple[int, str, str]:
    return commands.finish(start(*arguments), 60)


def test_pictures_are_measured_in_each_mode_beside_the_ceiling(write_spec: WriteSpec) -> None:
    spec = write_spec([HALF, COLORS])
    code, output, errors = bench(spec, "-m", "colors", "--mode", "eventlet", "--mode", "sync", *QUICK, "--json")
    assert code == 0, errors
    report = json.loads(output)
    results = {(each["name"], each["offered_per_s"] is None): each for each in report["results"]}

    assert set(results) == {
        *((name, closed) for name in ("eventlet", "sync") for closed in (True, False)),
        ("ceiling, 2 x 32", True),
        ("ceiling, 2 x 1", True),
    }
    for result in results.values():
        assert result["failures"] == {}
        assert result["requests_per_s"] > 1
        assert 0 < result["p50_ms"] <= result["p99_ms"]
        assert result["cpu_ms_per_request"] > 0
        assert result["rss_bytes"] > result["pss_bytes"] > 10_000_000
        assert result["stages_ms"]["decode"] > result["stages_ms"]["predict"] > 0
    served = results["eventlet", True]
    assert served["stages_ms"]["queue"] > 0
    assert served["stages_ms"]["the rest"] > 0
    assert served["ratio_to_ceiling"] > 0
    assert served["cpu_ratio_to_ceiling"] > 0
    moderate = results["eventlet", False]
    assert moderate["offered_per_s"] == pytest.approx(0.7 * served["requests_per_s"])
    assert report["settings"]["requests"].startswith("/classify, drawn JPEGs of 1024x768")


def test_requests_that_fail_are_told_and_end_with_1(write_spec: WriteSpec, tmp_path: Path) -> None:
    plot = tmp_path / "plot.svg"
    code, output, errors = bench(write_spec([{**HALF, "timeout_s": 1e-6}]), *QUICK, "--plot", plot)

    assert (code, errors.splitlines()) == (1, ["Measuring"])
    assert "requests: /v2 binary, x [4]" in output
    assert re.search(r"^eventlet, 4: \d+ x HTTP 504$", output, re.MULTILINE)
    assert plot.is_file()


def test_a_server_that_does_not_start_is_told_with_what_it_wrote(write_spec: WriteSpec) -> None:
    code, output, errors = bench(write_spec([{**HALF, "backend": "numpy_backends:Unloadable"}]), *QUICK)

    assert (code, output) == (2, "")
    assert "The server ended with exit code" in errors
    assert "no luck with half" in errors


def test_ctrl_c_leaves_no_process(write_spec: WriteSpec, started: list[psutil.Process]) -> None:
    process = start(write_spec([HALF]), "--seconds", "60", "-c", "2")
    main = psutil.Process(process.pid)
    started.append(main)
    # The load generator, the server with its log pump and two workers, the ceiling's two, and a tracker.
    wait_until(lambda: len(main.children(recursive=True)) >= 8, "processes")
    started += main.children(recursive=True)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)

    assert process.returncode == 1
    assert errors.splitlines()[-1] == "Aborted!"
