"""What ``test_versions`` shows with NumPy, and that memory is given back, with real models of TensorFlow."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.live.clients import Load, reload, wait_for_report
from tests.live.server import LiveServer

SWAPS = 4
CYCLES = 50
WARM_CYCLES = 10


def write_version(test_data: Path, models: Path, version: int) -> None:
    """Copy a SavedModel of y = x / 2 + 2 or, as the number is even or odd, y = x / 2 + 3."""
    name = ("saved_model_half_plus_two_cpu", "saved_model_half_plus_three")[version % 2]
    shutil.copytree(test_data / "models" / "tfserving" / name / "00000123", models / str(version))


def parity(answer: Any) -> int:
    """Whether an even or an odd version has answered."""
    return {2.0: 0, 3.0: 1}[answer["y"][0]]


@pytest.fixture(scope="module")
def models(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of versions that is served as ``half``."""
    folder = tmp_path_factory.mktemp("models")
    write_version(test_data, folder, 1)
    return folder


@pytest.fixture(scope="module")
def server(test_data: Path, models: Path) -> Iterator[LiveServer]:
    """A server of one process with that model and a MobileNet."""
    mobilenet = {
        "name": "mobilenet",
        "backend": "frozen_graph",
        "path": str(test_data / "models" / "mobilenet_v1_025_128" / "frozen_graph.pb"),
        "inputs": {"image": "input:0"},
        "outputs": {"scores": "MobilenetV1/Predictions/Reshape_1:0"},
    }
    half = {"name": "half", "backend": "saved_model", "path": str(models)}
    spec = models.parent / f"{models.name}.spec"
    spec.write_text(yaml.safe_dump({"models": [half, mobilenet]}))
    with LiveServer("-s", spec, environ={"WEB_CONCURRENCY": "1", "MODEL_POLL_S": "0.1"}) as server:
        yield server
        assert server.stop() == 0


def test_memory_is_given_back_after_fifty_cycles_of_loading_and_unloading(server: LiveServer) -> None:
    (worker,) = server.workers()

    def cycle(number: int) -> None:
        for name in ("half", "mobilenet") if number % 5 == 0 else ("half",):
            for verb in ("unload", "load"):
                assert server.post(f"/v2/repository/models/{name}/{verb}").status_code == 200

    for number in range(WARM_CYCLES):
        cycle(number)
    before = worker.memory_info().rss
    for number in range(CYCLES):
        cycle(number)

    assert worker.memory_info().rss < 1.1 * before


def test_no_request_fails_during_swaps_of_saved_models_a_broken_one_and_a_reload(
    server: LiveServer, models: Path, test_data: Path
) -> None:
    load = Load(server.url + "/predict/half", {"x": [0.0]}, parity)
    with load.running():
        load.wait_for(1)
        for version in range(2, 2 + SWAPS):
            write_version(test_data, models, version)
            load.wait_for(version % 2, more=20)
        broken = models / str(2 + SWAPS)
        broken.mkdir()
        (broken / "saved_model.pb").write_bytes(b"no SavedModel")
        report = wait_for_report(server, "half", {broken.name: "END", str(1 + SWAPS): "AVAILABLE"})
        reload(server)
        load.wait_for((1 + SWAPS) % 2, more=20)

    assert load.faults == []
    assert set(load.versions) == {0, 1}
    assert report.status_code == 200
    assert "saved_model.pb: not the file of a SavedModel" in report.json()["errors"]["half"][broken.name]
