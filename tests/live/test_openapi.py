"""The live server answers thousands of requests, made from `/openapi.json`, as that says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.live.server import LiveServer

SPEC = """
models:
  - {name: kinds, backend: "numpy_backends:Kinds", path: .}
  - {name: echo, backend: "numpy_backends:Echo", path: .}
  - {name: colors, task: classification, backend: "numpy_backends:Colors", path: ., labels: [red, green, blue]}
  - {name: bright, task: detection, backend: "numpy_backends:BrightBox", path: ., image: {resize: none}}
"""
CHECKS = (
    "not_a_server_error",
    "response_schema_conformance",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
)
CONFIG = """
[checks.not_a_server_error]
expected-statuses = ["2xx", "3xx", "4xx", "501"]  # nothing here explains an answer (KServe's `:explain`)
"""
CASES = 2_000
PER_OPERATION = 6
SEED = 4
RUN_S = 400
"""What a run may take: it takes 40 seconds on two cores that are free."""
UNLOAD = "unload$"


@pytest.mark.timeout(2 * RUN_S + 60)
def test_thousands_of_made_up_requests_are_answered_as_documented(tmp_path: Path) -> None:
    (tmp_path / "numpy.spec").write_text(SPEC)
    (tmp_path / "schemathesis.toml").write_text(CONFIG)
    with LiveServer("-s", tmp_path / "numpy.spec", environ={"WEB_CONCURRENCY": "1"}) as server:
        # A model that a made-up request has unloaded answers the others no more, so that comes last.
        for paths in (["--exclude-path-regex", UNLOAD], ["--include-path-regex", UNLOAD]):
            run = subprocess.run(
                [
                    *(sys.executable, "-m", "schemathesis.cli", "run", f"{server.url}/openapi.json", "--no-color"),
                    *("--checks", ",".join(CHECKS), "--phases", "examples,coverage,fuzzing", "--continue-on-failure"),
                    *("--request-timeout", "60"),
                    *("--max-examples", str(PER_OPERATION), "--seed", str(SEED), "--generation-database", "none"),
                    *paths,
                ],
                cwd=tmp_path,
                capture_output=True,
                text=True,
                timeout=RUN_S,
                check=False,
            )

            assert run.returncode == 0, run.stdout + run.stderr
        server.stop()
    requests = [record for record in server.records() if "http.response.status_code" in record]
    statuses = [record["http.response.status_code"] for record in requests]

    assert [status for status in statuses if status >= 500 and status != 501] == []
    assert len(statuses) >= CASES
    assert any(re.search(UNLOAD, record.get("url.path", "")) for record in requests)
