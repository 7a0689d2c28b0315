"""Versions come and go while clients ask: no request fails, and none is answered by two versions."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from tests.live.clients import Load, reload, wait_for_report
from tests.live.conftest import MODES
from tests.live.server import LiveServer, wait_until
from tests.numpy_backends import write_version

POLL = {"MODEL_POLL_S": "0.05"}


def number(answer: Any) -> int:
    """The number that both outputs agree on."""
    (first,), (second,) = answer["first"], answer["second"]
    assert first == second
    return int(first)


def write_spec(file: Path, **model: Any) -> Path:
    file.write_text(yaml.safe_dump({"models": [{"name": "m", "backend": "numpy_backends:Versioned", **model}]}))
    return file


@pytest.mark.parametrize(("mode", "swaps", "reloads"), [("eventlet", 10, 5), ("gthread", 3, 2)])
def test_no_request_fails_or_is_answered_by_two_versions_during_swaps_reloads_and_a_broken_version(
    mode: str, swaps: int, reloads: int, tmp_path: Path
) -> None:
    last = swaps + 1
    models = tmp_path / "models"
    write_version(models, 1, "1")
    spec = write_spec(tmp_path / "m.spec", path="models")
    with LiveServer("-s", spec, environ={**MODES[mode], **POLL}) as server:
        load = Load(server.url + "/predict/m", {"x": [0.0]}, number)
        with load.running():
            for version in range(2, last + 1):
                write_version(models, version, str(version))
                load.wait_for(version, more=50)
            write_version(models, last + 1, "not a number")
            report = wait_for_report(server, "m", {str(last + 1): "END", str(last): "AVAILABLE"})
            for _ in range(reloads):
                reload(server)
                load.wait_for(last, more=50)
        code = server.stop()

    assert load.faults == []
    assert set(load.versions) == set(range(1, last + 1))
    assert report.status_code == 200
    assert report.json()["errors"] == {"m": {str(last + 1): f"{models / str(last + 1) / 'number.txt'}: no number"}}
    assert code == 0


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server of two processes with a model in version folders and another; its temporary folder is its own."""
    folder = tmp_path_factory.mktemp("two_workers")
    (folder / "tmp").mkdir()
    write_version(folder / "models", 1, "1")
    write_version(folder / "models", 2, "2")
    spec = folder / "models.spec"
    spec.write_text(
        """
models:
  - {name: m, backend: "numpy_backends:Versioned", path: models, versions: all, version_labels: {stable: 1}}
  - {name: half, backend: "numpy_backends:HalfPlusTwo", path: .}
"""
    )
    environ = {**MODES["eventlet"], **POLL, "TMPDIR": str(folder / "tmp")}
    with LiveServer("-s", spec, environ=environ) as server:
        wait_until(lambda: len(listening(server)) == 2, "two workers")
        shared = server.shared_folder()
        yield server
        assert server.stop() == 0
    assert not shared.exists()
    assert list((folder / "tmp").iterdir()) == []


def listening(server: LiveServer) -> set[int]:
    """The workers that have come to serve, or were killed."""
    return {int(path.stem) for path in server.shared_folder().glob("*/*.sock")}


def statuses(server: LiveServer, name: str) -> set[int]:
    """What many fresh connections, so both processes, answer."""
    return {server.post(f"/predict/{name}", json={"x": [0.0]}).status_code for _ in range(20)}


def control(server: LiveServer, verb: str, name: str = "m") -> requests.Response:
    return server.post(f"/v2/repository/models/{name}/{verb}")


def test_unloading_and_loading_reach_all_processes_before_the_answer_comes(two_workers: LiveServer) -> None:
    for verb, expected in [("unload", {404}), ("unload", {404}), ("load", {200}), ("load", {200})]:
        assert control(two_workers, verb).status_code == 200
        assert statuses(two_workers, "m") == expected
        assert statuses(two_workers, "half") == {200}
        assert {two_workers.get("/readyz").status_code for _ in range(10)} == {200}


def test_what_the_spec_does_not_have_cannot_be_loaded(two_workers: LiveServer) -> None:
    assert control(two_workers, "load", "nope").status_code == 404
    assert control(two_workers, "unload", "nope").status_code == 404


def test_a_model_that_no_process_can_load_stays_unloaded_in_all(two_workers: LiveServer) -> None:
    spec = yaml.safe_load(Path(two_workers.main.cmdline()[-1]).read_text())
    file = Path(two_workers.main.cmdline()[-1]).parent / spec["models"][0]["path"] / "2" / "number.txt"
    assert control(two_workers, "unload").status_code == 200
    file.write_text("two")
    failed = control(two_workers, "load")
    after = statuses(two_workers, "m")
    file.write_text("2")

    assert (failed.status_code, failed.json()) == (400, {"error": f"{file}: no number"})
    assert after == {404}
    assert control(two_workers, "load").status_code == 200
    assert statuses(two_workers, "m") == {200}


def test_a_worker_that_starts_later_leaves_unloaded_what_is_unloaded(two_workers: LiveServer) -> None:
    assert control(two_workers, "unload").status_code == 200
    os.kill(listening(two_workers).pop(), signal.SIGKILL)
    wait_until(lambda: len(listening(two_workers)) == 3, "new worker, beside what the killed one left")
    after = statuses(two_workers, "m")

    assert control(two_workers, "load").status_code == 200
    assert after == {404}
    assert statuses(two_workers, "m") == {200}
    assert len(listening(two_workers)) == 2


def test_after_sighup_the_spec_holds_again_and_a_broken_spec_changes_nothing(two_workers: LiveServer) -> None:
    spec = Path(two_workers.main.cmdline()[-1])
    text = spec.read_text()
    assert control(two_workers, "unload", "half").status_code == 200

    spec.write_text("models: [{name: m}]")
    seen = len(two_workers.lines)
    before = two_workers.workers()
    two_workers.process.send_signal(signal.SIGHUP)
    line = two_workers.wait_for_line(lambda line: "SIGHUP changes nothing" in line, start=seen)
    assert "models[0].backend" in line or "the key 'backend' is missing" in line
    assert statuses(two_workers, "half") == {404}
    assert two_workers.workers() == before

    spec.write_text(text.replace("name: half", "name: other"))
    reload(two_workers)
    assert statuses(two_workers, "other") == {200}
    assert statuses(two_workers, "half") == {404}
    assert control(two_workers, "unload", "other").status_code == 200
    assert statuses(two_workers, "other") == {404}

    spec.write_text(text)
    reload(two_workers)
    assert statuses(two_workers, "half") == {200}
