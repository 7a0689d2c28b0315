"""What serves and measures candidates, with real servers, some of which fail."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from tests.live.server import ROOT
from tf_serving_flask_app.bench.server import package_environ
from tf_serving_flask_app.settings import Settings
from tf_serving_flask_app.spec_file import load_spec
from tf_serving_flask_app.tune.advice import is_sound
from tf_serving_flask_app.tune.budget import Budget
from tf_serving_flask_app.tune.lab import FINAL_ROUNDS, Lab, Site
from tf_serving_flask_app.tune.preparation import Subject, prepare
from tf_serving_flask_app.tune.state import State

SPEC = """
models:
  - name: half
    backend: "numpy_backends:Breakable"
    path: model
    session: {intra_op_threads: 1}
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The model's folder, with the files by which it fails."""
    folder = tmp_path / "model"
    folder.mkdir()
    return folder


@pytest.fixture
def lab(model: Path, tmp_path: Path) -> Iterator[Lab]:
    """A lab in which the settings as they are are served."""
    spec = tmp_path / "models.spec"
    spec.write_text(SPEC)
    environ = package_environ({**os.environ, "PYTHONPATH": str(ROOT / "tests")})
    site = Site(SPEC, 0, tmp_path, tmp_path, environ, "eventlet")
    settings = Settings.from_environ({"WEB_CONCURRENCY": "1"})
    subject = Subject(load_spec(spec).models[0], settings, [], 2)
    state, budget = State(tmp_path / "state.json", "same"), Budget(40)
    with ExitStack() as stack:
        prepared = prepare(stack, subject, site, state, budget, lambda step: None)
        assert is_sound(prepared.default, 1.0)
        yield prepared.lab


def test_what_cannot_be_served_any_more_leaves_the_final_to_the_others(lab: Lab, model: Path) -> None:
    two, three = (replace(lab.space.default, intra_op_threads=threads) for threads in (2, 3))
    (model / "unloadable").write_text("2")
    final, failed = lab.final([two, three])

    assert final is not None
    assert (final.finalists, len(final.rounds)) == ([three], FINAL_ROUNDS)
    assert failed == {two: "no luck with 2 threads"}
    assert lab.state.final([three], lab.seconds) is None
    (model / "unloadable").write_text("2 3")
    assert lab.final([two, three]) == (None, {two: "no luck with 2 threads", three: "no luck with 3 threads"})


def test_requests_that_fail_with_the_settings_as_they_are_lose_only_what_is_measured_beside_them(
    lab: Lab, model: Path
) -> None:
    two = replace(lab.space.default, intra_op_threads=2)
    (model / "failing").write_text("1")
    trial = lab.trial(two, final_to_come=False)
    final = lab.final([two])

    assert trial is not None
    assert trial.failed == "With the settings as they are, requests fail: HTTP 500."
    assert final == (None, {lab.space.default: trial.failed})
    (model / "failing").unlink()
    again = lab.trial(two, final_to_come=False)
    assert again is not None
    assert (again.failed, len(again.pairs)) == (None, 2)


def test_what_a_backend_cannot_do_is_kept_and_what_may_be_otherwise_another_time_is_not(lab: Lab, model: Path) -> None:
    half, two = replace(lab.space.default, precision="bfloat16"), replace(lab.space.default, intra_op_threads=2)
    (model / "unloadable").write_text("2")
    refused, failed = lab.trial(half, final_to_come=False), lab.trial(two, final_to_come=False)

    assert refused is not None
    assert refused.refused is not None
    assert refused.refused.startswith("model 'half': session.precision: this is for models that TensorFlow runs")
    assert failed is not None
    assert failed.failed == "no luck with 2 threads"
    assert lab.state.trial(half, lab.seconds) == refused
    assert lab.state.trial(two, lab.seconds) is None
    (model / "unloadable").unlink()
    (model / "failing").write_text("2")
    failed = lab.trial(two, final_to_come=False)
    assert failed is not None
    assert failed.failed is not None
    assert failed.failed.startswith("a request got HTTP 500")
    assert lab.state.trial(two, lab.seconds) is None


def test_a_final_that_is_too_short_to_decide_is_none(lab: Lab) -> None:
    two = replace(lab.space.default, intra_op_threads=2)
    lab.budget = Budget(lab.start_s + 3 * lab.measure_s)

    assert lab.final([two]) == (None, {})
