"""What a measurement was made on and with: without it, its numbers say nothing."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tf_serving_flask_app import __version__
from tf_serving_flask_app.cores import usable_cores


@dataclass(frozen=True)
class Machine:
    """The processor, its usable cores, and versions by name."""

    processor: str
    cores: int
    versions: dict[str, str]

    def __str__(self) -> str:
        versions = ", ".join(f"{name} {number}" for name, number in self.versions.items())
        return f"{self.processor}, {self.cores} usable cores; {versions}"


def this_machine(*packages: str, cpuinfo: Path = Path("/proc/cpuinfo")) -> Machine:
    """Describe this machine.

    Args:
        packages: whose versions are told too, those that are installed.
        cpuinfo: where Linux names the processor.
    """
    lines = cpuinfo.read_text("utf-8", "replace").splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    versions = {"tf_serving_flask_app": __version__, "Python": platform.python_version()}
    for package in packages:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return Machine(names[0] if names else platform.machine(), usable_cores(), versions)
