"""Every command and program of the README is run, against the server that its first command starts."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tests.live.conftest import RunPython
from tests.live.server import ROOT, LiveServer

README = (ROOT / "README.md").read_text()
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) for line in block.splitlines()]
SERVES = [command for command in COMMANDS if re.fullmatch(r"\./run\.sh( -s \S+)?", command)]
REQUESTS = [command for command in COMMANDS if command.startswith("curl ")]
TESTS = ["./run.sh test"]
OTHERS = [command for command in COMMANDS if command not in SERVES + REQUESTS + TESTS]
PROGRAMS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
CLIENTS = ["requests", "tritonclient", "kserve", "ovmsclient"]

pytestmark = pytest.mark.tensorflow


def shell(command: str) -> subprocess.CompletedProcess[str]:
    """Run a README's line as a user does, in the repository's folder."""
    return subprocess.run(
        ["bash", "-c", command],
        cwd=ROOT,
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.fixture(scope="module")
def served() -> Iterator[LiveServer]:
    with LiveServer(command=["bash", "-c", f"exec {SERVES[0]}"], environ={"PYTHON": sys.executable}) as server:
        yield server


@pytest.mark.parametrize("command", REQUESTS)
def test_each_request_is_answered_with_200(command: str, served: LiveServer) -> None:
    done = shell(command.replace("http://localhost:5000", served.url) + " --silent --show-error --fail-with-body")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "error" not in json.loads(done.stdout)


def test_the_first_request_gets_the_answer_that_the_readme_shows(served: LiveServer) -> None:
    (shown,) = re.findall(r"```json\n(.*?)```", README, re.DOTALL)
    done = shell(REQUESTS[0].replace("http://localhost:5000", served.url) + " --silent")

    assert json.loads(done.stdout).items() >= json.loads(shown).items()


@pytest.mark.parametrize("client", CLIENTS)
def test_the_program_for_each_client_prints_what_its_comments_say(
    client: str, served: LiveServer, run_client: RunPython
) -> None:
    (program,) = [program for program in PROGRAMS if re.search(rf"^(import|from) {client}\b", program, re.MULTILINE)]
    printed = run_client("-c", program.replace("localhost:5000", urlsplit(served.url).netloc))
    shown = re.findall(r"print\(.*\)  # (.*)$", program, re.MULTILINE)

    assert shown
    assert printed.splitlines() == shown


def test_no_other_program_is_shown() -> None:
    assert len(PROGRAMS) == len(CLIENTS)


@pytest.mark.parametrize("command", SERVES)
def test_each_command_that_serves_ends_ready(command: str) -> None:
    with LiveServer(command=["bash", "-c", f"exec {command}"], environ={"PYTHON": sys.executable}) as server:
        assert server.stop() == 0


@pytest.mark.parametrize("command", OTHERS)
def test_each_other_command_succeeds(command: str) -> None:
    done = shell(command)

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_test_command_is_the_one_that_ci_runs() -> None:
    assert all(command in COMMANDS for command in TESTS)
    assert (ROOT / ".ci" / "run").read_text().splitlines()[-1] == TESTS[0]
