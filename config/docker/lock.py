"""What the image installs: the dependencies of setup.cfg, and theirs, each at its version of constraints.txt.

``python lock.py TENSORFLOW EXTRAS`` prints them for ``pip install --no-deps --requirement``; it runs in the first stage
of the Dockerfile, with both files beside it. pip alone cannot do this: other packages require ``tensorflow``, and
would bring it in beside the smaller ``tensorflow-cpu``, which holds the same modules.
"""

from __future__ import annotations

import configparser
import json
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

UNUSED = {"libclang", "setuptools", "wheel"}
"""TensorFlow and astunparse require these, and import none of them when they run."""


def canonical(name: str) -> str:
    """Spell a package's name as PyPI does, https://peps.python.org/pep-0503/#normalized-names."""
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements(setup_cfg: Path, extras: Iterable[str]) -> list[str]:
    """The requirements that setup.cfg lists, and those of ``extras``; KeyError if it has no such extra."""
    config = configparser.ConfigParser()
    config.read(setup_cfg)
    lists = [config["options"]["install_requires"], *(config["options.extras_require"][extra] for extra in extras)]
    return [line for text in lists for line in text.split("\n") if line]


def pins(constraints: Path) -> dict[str, str]:
    """Canonical name to version, of the lines ``name==version``."""
    lines = (line.split("#")[0].strip() for line in constraints.read_text().splitlines())
    return {canonical(name): version for name, _, version in (line.partition("==") for line in lines if line)}


def locked(report: dict[str, Any], pinned: dict[str, str], tensorflow: str) -> list[str]:
    """The lines ``name==version`` of what pip would install.

    Args:
        report: of ``pip install --report``, https://pip.pypa.io/en/stable/reference/installation-report/.
        pinned: the versions of constraints.txt.
        tensorflow: the package to take in place of ``tensorflow``, at its version.

    Raises:
        SystemExit: something has no pinned version.
    """
    names = {canonical(item["metadata"]["name"]) for item in report["install"]} - UNUSED
    if names - pinned.keys():
        raise SystemExit(f"Pin these in config/constraints.txt: {', '.join(sorted(names - pinned.keys()))}")
    return [f"{tensorflow if name == 'tensorflow' else name}=={pinned[name]}" for name in sorted(names)]


def main(tensorflow: str, extras: str) -> None:
    """Ask pip what it would install, and print that."""
    here = Path(__file__).resolve().parent
    constraints = here / "constraints.txt"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--no-cache-dir"]
    command += ["--only-binary", ":all:", "--report", "-", "--constraint", str(constraints)]
    command += requirements(here / "setup.cfg", [extra for extra in extras.split(",") if extra])
    report = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    print(*locked(json.loads(report), pins(constraints), tensorflow), sep="\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
