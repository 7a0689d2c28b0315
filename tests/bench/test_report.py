"""The tables, the JSON and the plot of a measurement."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tf_serving_flask_app.bench.machine import Machine
from tf_serving_flask_app.bench.measure import Point, Result, Sample
from tf_serving_flask_app.bench.plot import check_plot, write_plot
from tf_serving_flask_app.bench.report import Report
from tf_serving_flask_app.bench.usage import Memory
from tf_serving_flask_app.errors import ConfigurationError

MIB = 1 << 20
STAGES = {"decode": 2.0, "predict": 5.0, "the rest": 1.5}


def report(**failures: int) -> Report:
    served = Sample(100.0, 0.010, 0.025, 0.008, Memory(300 * MIB, 500 * MIB), STAGES, failures)
    bare = Sample(125.0, 0.008, 0.020, 0.007, Memory(200 * MIB, 400 * MIB), {"decode": 2.0, "predict": 5.0})
    results = [
        Result("eventlet", Point(1), served, 0.8, 1.14),
        Result("eventlet", Point(8, share=0.7), replace(served, offered=70.0)),
        Result("ceiling, 2 x 32", Point(1), bare),
    ]
    return Report(Machine("Some Processor", 2, {"Python": "3.11"}), {"model": "half", "requests": "/v2"}, results)


def test_the_tables_have_a_row_for_each_result() -> None:
    head, figures, stages = report().as_text().split("\n\n")

    assert head.splitlines() == ["Some Processor, 2 usable cores; Python 3.11", "model: half", "requests: /v2"]
    assert [line.split()[-8:] for line in figures.splitlines()[1:2]] == [
        ["100.0", "10.00", "25.00", "8.00", "300", "500", "0.800", "1.140"]
    ]
    assert figures.splitlines()[2].split()[:4] == ["eventlet", "70%", "of", "top"]
    assert stages.splitlines()[2].split() == ["eventlet", "1", "2.00", "5.00", "1.50", "10.00"]
    assert "Failed" not in report().as_text()


def test_the_json_has_every_figure() -> None:
    first, second, third = json.loads(json.dumps(report().as_json()))["results"]

    assert first["requests_per_s"] == 100.0
    assert (first["p50_ms"], first["p99_ms"], first["pss_bytes"]) == (10.0, 25.0, 300 * MIB)
    assert (first["ratio_to_ceiling"], first["cpu_ratio_to_ceiling"]) == (0.8, 1.14)
    assert (second["offered_per_s"], second["ratio_to_ceiling"]) == (70.0, None)
    assert third["name"] == "ceiling, 2 x 32"


def test_failed_requests_are_told() -> None:
    failed = report(busy=3)

    assert failed.failures == ["eventlet, 1: 3 x busy", "eventlet, 70% of top: 3 x busy"]
    assert failed.as_text().endswith("Failed requests:\neventlet, 1: 3 x busy\neventlet, 70% of top: 3 x busy")


@pytest.mark.parametrize(("name", "begins"), [("plot.png", b"\x89PNG"), ("plot.svg", b"<?xml")])
def test_a_plot_is_what_its_name_says(name: str, begins: bytes, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    file = tmp_path / name
    check_plot(file)
    write_plot(report(), file)

    assert file.read_bytes().startswith(begins)


@pytest.mark.parametrize(
    ("name", "says"),
    [("plot.jpg", "a .png or a .svg"), ("missing/plot.png", "no folder"), ("/proc/self/plot.png", "cannot be written")],
)
def test_a_plot_that_cannot_be_written_is_refused_before_anything_is_measured(
    name: str, says: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=says):
        check_plot(tmp_path / name)


def test_without_matplotlib_the_plot_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tf_serving_flask_app.bench.plot.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"pip install .* matplotlib"):
        check_plot(tmp_path / "plot.png")
