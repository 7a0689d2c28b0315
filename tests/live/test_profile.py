"""Profiling the real server with a real TensorFlow model, in every mode."""

from __future__ import annotations

import pstats
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.live.server import ROOT, LiveServer

SAMPLE = ROOT / "specs" / "samples" / "star.jpg"
MODEL_CALL = "TF_SessionRun"


@pytest.mark.tensorflow
def test_sixteen_requests_at_once_all_succeed_and_a_profile_names_the_model_call(
    mode: dict[str, str], tmp_path: Path
) -> None:
    environ = {**mode, "FLASK_PROFILE": "1", "FLASK_PSTATS_FUNCTION_LIMIT": "20", "PROFILE_DIR": str(tmp_path)}
    with LiveServer(environ=environ) as server, ThreadPoolExecutor(16) as pool:

        def classify(_: int) -> int:
            return server.post("/classify", files={"file": SAMPLE.read_bytes()}).status_code

        statuses = list(pool.map(classify, range(16)))
        server.wait_for_line(lambda line: MODEL_CALL in line, "profile of the model call")
        code = server.stop()

    assert statuses == [200] * 16
    assert code == 0
    if mode.get("FLASK_ENV") != "development":
        profiles = [record for record in server.records() if "profile.own" in record]
        named = [frame["function"] for profile in profiles for frame in profile["profile.own"]]
        assert any(MODEL_CALL in name for name in named)
        assert all(len(profile["profile.cumulative"]) <= 20 for profile in profiles)
    functions = [name for file in tmp_path.glob("*.prof") for _, _, name in pstats.Stats(str(file)).stats]  # type: ignore[attr-defined]
    assert any(MODEL_CALL in name for name in functions)
