"""Requests that arrive together are joined in calls of a real model, and each is answered as if it were alone."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.live.conftest import MODES
from tests.live.server import LiveServer

SPEC = """
models:
  - name: cifar
    task: classification
    backend: keras
    path: {path}
    image: {{scale: raw}}
"""
CLIENTS = 24


@pytest.mark.parametrize("mode", ["eventlet", "multithreaded"])
def test_requests_at_once_are_joined_and_each_gets_its_own_answer(mode: str, tmp_path: Path, test_data: Path) -> None:
    (model,) = (test_data / "models/cifar10_resnet").glob("*.h5")
    (tmp_path / "cifar.spec").write_text(SPEC.format(path=json.dumps(str(model))))
    photographs = [path.read_bytes() for path in sorted((test_data / "images/photos").glob("*.jpg"))[:8]]
    with LiveServer("-s", tmp_path / "cifar.spec", environ={**MODES[mode], "WEB_CONCURRENCY": "1"}) as server:

        def scores(photograph: bytes) -> dict[int, float]:
            answer = server.post("/classify", data=photograph, headers={"Content-Type": "image/jpeg"})
            assert answer.status_code == 200, answer.text
            return {found["class"]: found["confidence"] for found in answer.json()["predictions"]}

        alone = [scores(photograph) for photograph in photographs]
        with ThreadPoolExecutor(CLIENTS) as pool:
            together = list(pool.map(scores, photographs * CLIENTS))
        families = text_string_to_metric_families(server.get("/metrics").text)
    joined = {
        int(sample.labels["requests"]): sample.value
        for family in families
        for sample in family.samples
        if sample.name == "tfsf_model_calls_total"
    }

    assert sum(requests * calls for requests, calls in joined.items()) == pytest.approx(8 * (CLIENTS + 1))
    assert set(joined) <= set(range(1, 9))
    assert sum(joined.values()) < 8 * (CLIENTS + 1) / 1.2, "too few were joined"
    for got, wanted in zip(together, alone * CLIENTS, strict=True):
        assert got == pytest.approx(wanted, abs=1e-4)
