"""A server that cannot serve what it is asked to: exit code 2, and one line that names the fault."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.live.server import ROOT, LiveServer

SHAPES = ROOT / "specs" / "demo" / "shapes.frozen.pb"
GOOD = f"models:\n  - {{name: a, backend: frozen_graph, path: {SHAPES}}}\n"
CLASSIFIER = f"models:\n  - {{name: a, task: classification, backend: frozen_graph, path: {SHAPES}, "

FAULTS = {
    "unknown key": (GOOD.replace("path", "pth"), ["line 2", "'pth'", "'path'"]),
    "missing file": (GOOD.replace(str(SHAPES), "nope.pb"), ["line 2", "models[0].path", "nope.pb"]),
    "wrong type": (GOOD.replace("}\n", ", top_k: many}\n"), ["line 2", "models[0].top_k", "many"]),
    "duplicate name": (GOOD + GOOD.split("\n")[1] + "\n", ["line 3", "models[1].name", "'a'"]),
    "hook that fails to import": (
        GOOD.replace("}\n", ', preprocess: "broken_hook:prepare"}\n'),
        ["broken_hook", "boom"],
    ),
    "hook that does not exist": (GOOD.replace("}\n", ', postprocess: "no_such_hook:x"}\n'), ["no_such_hook"]),
    "unreadable YAML": ("models: [", ["line 1", "YAML"]),
    "empty list": ("models: []\n", ["models", "at least"]),
    "missing spec": (None, ["bad.spec"]),
    "unknown backend": (GOOD.replace("frozen_graph", "frozen"), ["line 2", "backend", "saved_model"]),
    "a failure nobody foresaw": (
        'models:\n  - {name: a, backend: "numpy_backends:Unloadable", path: .}\n',
        ["no luck with a"],
    ),
}
TENSORFLOW_FAULTS = {
    "tensor that does not exist": (GOOD.replace("}\n", ', inputs: {image: "imgae:0"}}\n'), ["imgae:0", "image:0"]),
    "labels fewer than classes": (CLASSIFIER + "labels: [only, two]}\n", ["2 labels", "classes"]),
    "image size that contradicts the graph": (CLASSIFIER + "image: {width: 7}}\n", ["width", "7"]),
    "bfloat16 where TensorFlow does not run the model": (
        'models:\n  - {name: a, backend: "numpy_backends:HalfPlusTwo", path: ., session: {precision: bfloat16}}\n',
        ["'a'", "session.precision", "leave `precision` out"],
    ),
    "not a model": (GOOD.replace(str(SHAPES), "bad.spec"), ["bad.spec", "frozen graph"]),
}


def start(tmp_path: Path, text: str | None, environ: dict[str, str]) -> LiveServer:
    (tmp_path / "broken_hook.py").write_text("raise RuntimeError('boom')\n")
    if text is not None:
        (tmp_path / "bad.spec").write_text(text)
    return LiveServer("-s", tmp_path / "bad.spec", environ={"WEB_CONCURRENCY": "2", **environ})


@pytest.mark.parametrize("fault", [name for name in FAULTS if name != "a failure nobody foresaw"])
def test_a_bad_spec_ends_the_start_with_code_2_and_one_line(fault: str, tmp_path: Path) -> None:
    text, named = FAULTS[fault]
    server = start(tmp_path, text, {})

    assert server.wait() == 2
    (record,) = server.records()
    assert record["log.level"] == "error"
    assert all(part in record["message"] for part in named), record["message"]
    assert "error.stack_trace" not in record


@pytest.mark.tensorflow
@pytest.mark.parametrize("fault", TENSORFLOW_FAULTS)
@pytest.mark.parametrize("environ", [{}, {"FLASK_MODE": "multithreaded"}], ids=["multiprocess", "multithreaded"])
def test_a_fault_that_only_the_model_shows_ends_the_start_the_same_way(
    fault: str, environ: dict[str, str], tmp_path: Path
) -> None:
    text, named = TENSORFLOW_FAULTS[fault]
    server = start(tmp_path, text, environ)

    assert server.wait() == 2
    (error,) = [record for record in server.records() if record["log.level"] in ("error", "critical")]
    assert all(part in error["message"] for part in named), error["message"]
    assert "error.stack_trace" not in error
    assert len([line for line in server.lines if "Booting worker" in line]) <= 2, "a crash loop"


def test_a_failure_that_nobody_foresaw_is_logged_once_with_its_traceback_and_ends_with_code_1(tmp_path: Path) -> None:
    text, named = FAULTS["a failure nobody foresaw"]
    server = start(tmp_path, text, {})

    assert server.wait() == 1
    (error,) = [record for record in server.records() if record["log.level"] == "error"]
    assert named[0] in json.dumps(error)
    assert "RuntimeError" in error["error.stack_trace"]


@pytest.mark.parametrize("fault", ["unknown key", "hook that fails to import"])
def test_development_tells_a_fault_in_one_readable_line(fault: str, tmp_path: Path) -> None:
    text, named = FAULTS[fault]
    server = start(tmp_path, text, {"FLASK_ENV": "development"})

    assert server.wait() == 2
    (line,) = server.lines
    assert all(part in line for part in named), line


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"PORT": "many"}, ["PORT", "many"]),
        ({"FLASK_ENV": "staging"}, ["FLASK_ENV", "staging", "production"]),
        ({"FLASK_MODE": "multiprocess", "FLASK_ENV": "development"}, ["FLASK_MODE", "development", "one process"]),
        ({"GUNICORN_CMD_ARGS": "--no-such-thing"}, ["GUNICORN_CMD_ARGS", "--no-such-thing"]),
        ({"GUNICORN_CMD_ARGS": "--preload"}, ["preload", "fork"]),
    ],
)
def test_a_bad_setting_ends_the_start_with_code_2_and_one_line(
    environ: dict[str, str], named: list[str], numpy_spec: Path
) -> None:
    server = LiveServer("-s", numpy_spec, environ=environ)

    assert server.wait() == 2
    (line,) = server.lines
    assert all(part in line for part in named), line
