"""The development server reloads itself."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.live.server import LiveServer


def test_flask_debug_reloads_on_a_change_of_the_spec_and_stops_without_leaving_a_process(numpy_spec: Path) -> None:
    environ = {"FLASK_ENV": "development", "FLASK_DEBUG": "1", "PORT": "5998"}
    with LiveServer("-s", numpy_spec, environ=environ) as server:
        before = [model["name"] for model in server.get("/").json()["models"]]
        seen = len(server.lines)
        numpy_spec.write_text(numpy_spec.read_text().replace("name: slow", "name: renamed"))
        server.wait_for_line(lambda line: "eload" in line, "word of the reload", start=seen)
        server.wait_for_line(lambda line: "model renamed" in line, "the renamed model", start=seen)
        server.wait_ready()
        after = [model["name"] for model in server.get("/").json()["models"]]
        server.workers()
        server.stop(signal.SIGTERM)

    assert "slow" in before
    assert "renamed" in after


def test_the_debugger_shows_a_fault_on_loopback_and_never_elsewhere(numpy_spec: Path) -> None:
    environ = {"FLASK_ENV": "development", "FLASK_DEBUG": "1", "PORT": "5997"}
    with LiveServer("-s", numpy_spec, environ=environ) as server:
        shown = server.post("/predict/half_plus_two", json={"x": [13]})
        refused = server.post("/predict/half_plus_two", json={"x": [-1]})
        server.stop()
    with LiveServer("-s", numpy_spec, environ={**environ, "HOST": "0.0.0.0"}) as server:
        hidden = server.post("/predict/half_plus_two", json={"x": [13]})
        server.stop()

    assert shown.status_code == hidden.status_code == 500
    assert "Traceback" in shown.text
    assert refused.json() == {"error": "x must not be negative"}
    assert hidden.json().keys() == {"error"}
    assert any("debugger is off" in line for line in server.lines)
