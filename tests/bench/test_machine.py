"""What a measurement says of its machine."""

from __future__ import annotations

from pathlib import Path

from tf_serving_flask_app import __version__
from tf_serving_flask_app.bench.machine import this_machine


def test_it_names_processor_cores_and_versions(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nmodel name\t: Fast Chip: 9\n\nprocessor\t: 1\nmodel name\t: Fast Chip: 9\n")
    machine = this_machine("numpy", "not-installed-at-all", cpuinfo=cpuinfo)

    assert machine.processor == "Fast Chip: 9"
    assert machine.cores >= 1
    assert list(machine.versions) == ["tf_serving_flask_app", "Python", "numpy"]
    assert f"tf_serving_flask_app {__version__}" in str(machine)


def test_without_linux_names_it_tells_the_kind(tmp_path: Path) -> None:
    assert this_machine(cpuinfo=tmp_path / "missing").processor
