"""`./run.sh tune` with the real server: what it prints and writes, its budget, and how an interrupted run goes on."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

from tests.conftest import COLORS, HALF, WriteSpec
from tests.live import commands
from tests.live.server import LiveServer, wait_until

pytestmark = pytest.mark.live


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    return commands.start("tune", *arguments, WEB_CONCURRENCY="2")


def tune(*arguments: str | Path) -> tuple[int, str, str]:
    return commands.finish(start(*arguments), 100)


def test_an_interrupted_run_leaves_no_process_and_the_next_goes_on_within_its_budget(
    write_spec: WriteSpec, image_folder: Path, tmp_path: Path, started: list[psutil.Process]
) -> None:
    spec, state = write_spec([HALF, {**COLORS, "batching": {"max_batch_size": 4}}]), tmp_path / "state.json"
    options: list[str | Path] = [spec, "-m", "colors", "--picture", image_folder / "red.png", "--state", state]
    process = start(*options, "--budget", "60")
    main = psutil.Process(process.pid)
    started.append(main)
    wait_until(lambda: state.exists() and json.loads(state.read_bytes())["trials"], "trial")
    started += main.children(recursive=True)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)

    assert process.returncode == 1
    assert errors.splitlines()[-1] == "Aborted!"
    (kept, *_) = json.loads(state.read_bytes())["trials"]
    began = time.monotonic()
    code, output, errors = tune(*options, "--budget", "20", "--write", "--json")

    assert time.monotonic() - began < 20
    assert (code, errors.splitlines()) == (0, ["Tuning"])
    report = json.loads(output)
    assert report["settings"]["requests"].startswith("/classify, red.png")
    assert report["default"]["requests_per_s"] > 1
    assert report["default"]["pss_bytes"] > 10_000_000
    assert re.match(r"float32 says class 0 of (\d+) of \1 pictures", report["default"]["note"])
    assert report["tried"][0]["workers"] == kept["candidate"]["workers"] == 1
    assert json.loads(state.read_bytes())["trials"][0] == kept
    assert all(each["agreement"] == 1 for each in report["tried"])
    assert len(report["tried"]) + len(report["not_tried"]) >= 4
    copy = spec.with_name("models.tuned.spec")
    _, model = yaml.safe_load(copy.read_text())["models"]
    assert model["batching"]["max_batch_size"] == report["advice"]["max_batch_size"]
    assert model["labels"] == COLORS["labels"]
    assert copy.read_text().startswith("# Tuned: ")


HOOKED = """\
models:
  - name: half
    backend: "numpy_backends:HalfPlusTwo"
    path: model  # beside the link
    preprocess: "own_hooks:before"
"""


def test_a_copy_elsewhere_of_a_spec_behind_a_link_is_served_by_the_printed_line(tmp_path: Path) -> None:
    spec, link, copy = (tmp_path / name for name in ("kept/a.spec", "links/a.spec", "copies/a.spec"))
    for file in (spec, link, copy):
        file.parent.mkdir()
    spec.write_bytes(b"\xef\xbb\xbf" + HOOKED.replace("\n", "\r\n").encode())
    link.symlink_to(spec)
    (link.parent / "model").touch()
    (spec.parent / "own_hooks.py").write_text("def before(tensors):\n    return {'x': tensors['x'] + 1}\n")
    code, output, errors = tune(link, "--state", tmp_path / "state", "--budget", "15", "--write", copy)

    assert code == 0, errors
    written = copy.read_bytes().decode("utf-8")
    assert written.startswith("\ufeff# Tuned: ")
    assert written.count("\n") == written.count("\r\n")
    assert "    path: model  # beside the link\r\n" in written
    serve = output.splitlines()[-1].removeprefix("Serve it: ")
    with LiveServer(command=["sh", "-c", f"exec env {serve}"], environ={"PYTHON": sys.executable}) as server:
        assert server.post("/predict/half", json={"x": [2.0]}).json() == {"y": [3.5]}


def test_a_server_that_does_not_start_is_told_with_what_it_wrote(write_spec: WriteSpec, tmp_path: Path) -> None:
    spec = write_spec([{**HALF, "backend": "numpy_backends:Unloadable"}])
    code, output, errors = tune(spec, "--state", tmp_path / "state")

    assert (code, output) == (2, "")
    assert "no luck with half" in errors
