"""What the command refuses before it starts anything, and how it is ended."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.conftest import COLORS, HALF, WriteSpec
from tf_serving_flask_app.bench.command import Plan, ended_like_ctrl_c, run_plan
from tf_serving_flask_app.errors import ConfigurationError


def plan(spec: Path, *, model: str | None = None, pictures: tuple[Path, ...] = (), protocol: str = "auto") -> Plan:
    return Plan(spec, None, model, ["eventlet"], 2, [1], 1, 0.1, pictures, protocol)


def test_a_model_that_the_spec_lacks_is_refused_with_those_that_it_has(write_spec: WriteSpec) -> None:
    with pytest.raises(ConfigurationError, match="has no model 'nobody'; it has half, colors"):
        run_plan(plan(write_spec([HALF, COLORS]), model="nobody"), {})


def test_pictures_for_a_model_of_tensors_are_refused(write_spec: WriteSpec) -> None:
    with pytest.raises(ConfigurationError, match="leave --picture out"):
        run_plan(plan(write_spec([HALF]), pictures=(Path("red.png"),)), {})


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_a_termination_and_the_loss_of_the_terminal_do_what_ctrl_c_does(number: signal.Signals) -> None:
    former = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), ended_like_ctrl_c():
        os.kill(os.getpid(), number)

    assert signal.getsignal(number) == former


def test_a_signal_that_is_ignored_stays_so() -> None:
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ended_like_ctrl_c():
            os.kill(os.getpid(), signal.SIGHUP)

        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, former)
