"""The environment of the client programs, ``.venv-clients``: made once, and again only when the requirements change.

``python -m tests.clients.environment`` makes it; ``.ci/run`` does so, where failing to make it fails the run.
"""

from __future__ import annotations

import fcntl
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = Path(__file__).with_name("requirements.txt")

UNREACHABLE = re.compile(
    r"connection broken by|Failed to establish a new connection|Read timed out|Connection timed out"
)
"""What pip says where it reaches no registry; it goes on to call the package missing."""


class RegistryUnreachable(Exception):
    """pip cannot reach the registry that it is set to."""


def make_environment(folder: Path = ROOT / ".venv-clients", requirements: Path = REQUIREMENTS) -> Path:
    """Make the environment unless it is there already, and return its Python.

    Raises:
        RegistryUnreachable: there is no network, or no registry in it.
        RuntimeError: it cannot be made for another reason; the text is what pip says.
    """
    wanted = requirements.read_text()
    stamp = folder / ".installed"
    python = folder / "bin" / "python"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # who comes second waits for what the first one makes
        if not (python.exists() and stamp.is_file() and stamp.read_text() == wanted):
            shutil.rmtree(folder, ignore_errors=True)
            _run(sys.executable, "-m", "venv", folder)
            install = ("-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--no-deps")
            _run(python, *install, "--requirement", requirements)
            stamp.write_text(wanted)
    return python


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        kind = RegistryUnreachable if UNREACHABLE.search(done.stdout) else RuntimeError
        raise kind("\n".join(done.stdout.splitlines()[-20:]))


if __name__ == "__main__":
    print(make_environment())
