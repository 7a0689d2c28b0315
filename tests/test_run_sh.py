"""The one door: what it installs, when, and what it prints meanwhile."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

INTERPRETER = """#!/bin/sh
# Stands in for .venv's Python: notes what it is called with, and installs nothing.
echo "$@" >>"$CALLS"
case "$*" in *"pip install"*) [ -z "$FAIL" ] || { echo 'ERROR: no "such" package'; exit 1; } ;; esac
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout at a path with spaces, whose .venv holds an interpreter that only notes its calls."""
    root = tmp_path / "a path with spaces"
    (root / "config").mkdir(parents=True)
    shutil.copy(ROOT / "run.sh", root)
    shutil.copy(ROOT / "setup.cfg", root)
    shutil.copy(ROOT / "config" / "constraints.txt", root / "config")
    python = root / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(INTERPRETER)
    python.chmod(0o755)
    return root


def run(root: Path, *arguments: str, **environ: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Call ``run.sh`` from another folder; returns how it ended, and what Python was called with."""
    calls = root / "calls"
    calls.write_text("")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("FLASK_", "PYTHON"))}
    done = subprocess.run(
        [str(root / "run.sh"), *arguments],
        env={**inherited, "CALLS": str(calls), "FAIL": "", **environ},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done, calls.read_text().splitlines()


def test_the_first_call_installs_the_pinned_versions_and_the_second_installs_nothing(checkout: Path) -> None:
    _, first = run(checkout, "settings")
    done, second = run(checkout, "settings")

    assert len(first) == 2
    assert "pip install" in first[0]
    assert f"--constraint {checkout}/config/constraints.txt" in first[0]
    assert second == ["-m tf_serving_flask_app settings"]
    assert done.stderr == ""


def test_a_change_of_the_pins_installs_again(checkout: Path) -> None:
    run(checkout, "settings")
    with (checkout / "config" / "constraints.txt").open("a") as pins:
        pins.write("# changed\n")
    _, calls = run(checkout, "settings")

    assert "pip install" in calls[0]


def test_tests_get_what_only_tests_need(checkout: Path) -> None:
    _, calls = run(checkout, "test", "-k", "two words")

    assert [call for call in calls if "[test]" in call]
    assert calls[-1] == "-m pytest -k two words"


@pytest.mark.parametrize("arguments", [[], ["-s", "x.spec"]])
def test_a_production_server_says_in_json_that_it_installs(checkout: Path, arguments: list[str]) -> None:
    done, _ = run(checkout, *arguments)
    records = [json.loads(line) for line in (done.stdout + done.stderr).splitlines()]

    assert any("Installing" in record["message"] for record in records)
    assert all({"@timestamp", "log.level", "message"} <= record.keys() for record in records)


def test_other_commands_and_development_say_so_in_words(checkout: Path) -> None:
    done, _ = run(checkout, "-s", "x.spec", FLASK_ENV="development")

    assert done.stderr.startswith("run.sh: Installing")


def test_an_installation_that_fails_ends_with_code_2_and_is_tried_again(checkout: Path) -> None:
    failed, calls = run(checkout, FAIL="yes")
    _, again = run(checkout)
    last = json.loads(failed.stdout.splitlines()[-1])

    assert failed.returncode == 2
    assert len(calls) == 1
    assert last["log.level"] == "error"
    assert 'no "such" package' in last["message"]
    assert "pip install" in again[0]


def test_with_python_set_no_environment_is_made(checkout: Path) -> None:
    shutil.rmtree(checkout / ".venv")
    done, _ = run(checkout, "-c", PYTHON="/bin/echo")

    assert done.stdout == "-m tf_serving_flask_app -c\n"
    assert not (checkout / ".venv").exists()


def test_it_can_be_called_by_a_link_from_another_folder(checkout: Path, tmp_path: Path) -> None:
    link = tmp_path / "serve"
    link.symlink_to(checkout / "run.sh")
    done = subprocess.run([link, "x"], env={**os.environ, "PYTHON": "/bin/echo"}, capture_output=True, text=True)

    assert done.stdout == "-m tf_serving_flask_app x\n"


def test_an_unknown_command_ends_with_code_2_and_one_line_without_a_traceback() -> None:
    done = subprocess.run(
        [ROOT / "run.sh", "srve"], env={**os.environ, "PYTHON": sys.executable}, capture_output=True, text=True
    )

    assert done.returncode == 2
    assert "srve" in done.stderr
    assert "Traceback" not in done.stderr
