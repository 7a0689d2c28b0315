"""The image's files hold together, as far as that shows without an engine; tests/docker/build.sh builds and runs it."""

from __future__ import annotations

import json
import os
import re
import runpy
import shlex
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path, PurePosixPath

import pytest

from tf_serving_flask_app import __version__

ROOT = Path(__file__).resolve().parents[1]
# A list of an instruction and what follows it, with continued lines joined and comments left out.
INSTRUCTIONS = [
    (name, rest.strip())
    for name, _, rest in (
        line.partition(" ")
        for line in re.sub(r"\\\n|^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE).splitlines()
        if line
    )
]
FINAL = INSTRUCTIONS[max(index for index, (name, _) in enumerate(INSTRUCTIONS) if name == "FROM") :]
LOCK = runpy.run_path(str(ROOT / "config" / "docker" / "lock.py"))  # a script, of no package
canonical, locked, requirements = LOCK["canonical"], LOCK["locked"], LOCK["requirements"]
PINS = LOCK["pins"](ROOT / "config" / "constraints.txt")


def only(name: str) -> str:
    """The one instruction of that name in the last stage."""
    (rest,) = (rest for found, rest in FINAL if found == name)
    return rest


def copied() -> list[str]:
    """The paths that the Dockerfile copies from the checkout."""
    words = [rest.split() for name, rest in INSTRUCTIONS if name == "COPY" and "--from" not in rest]
    return [path for *sources, _ in words for path in sources]


def test_the_base_image_is_an_argument_of_both_stages() -> None:
    assert INSTRUCTIONS[0] == ("ARG", "BASE_IMAGE=python:3.11-slim-bookworm")
    assert [rest for name, rest in INSTRUCTIONS if name == "FROM"] == ["${BASE_IMAGE} AS build", "${BASE_IMAGE}"]


@pytest.mark.parametrize("path", copied())
def test_the_builder_is_given_every_file_that_the_dockerfile_copies(path: str) -> None:
    patterns = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = {PurePosixPath(line[1:]) for line in patterns if line.startswith("!")}

    assert (ROOT / path).exists()
    assert allowed & {PurePosixPath(path), *PurePosixPath(path).parents}


def test_the_builder_is_given_nothing_else() -> None:
    patterns = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    top = {PurePosixPath(path).parts[0] for path in copied()}

    assert patterns[0] == "*"
    assert {line[1:] for line in patterns if line.startswith("!")} == top


def test_the_user_is_a_number_and_not_root() -> None:
    user, group = only("USER").split(":")

    assert int(user) > 0
    assert int(group) > 0


def test_the_entry_point_needs_no_shell_and_gets_the_stop_signal() -> None:
    assert json.loads(only("ENTRYPOINT")) == ["/app/run.sh"]
    assert only("STOPSIGNAL") == "SIGTERM"


def test_the_exposed_port_and_the_version_are_those_of_the_server() -> None:
    assert only("EXPOSE") == "5000"
    assert ("ARG", f"VERSION={__version__}") in FINAL


def test_the_health_check_is_a_file_of_the_image() -> None:
    command = json.loads(only("HEALTHCHECK").partition("CMD ")[2])

    assert (ROOT / PurePosixPath(command[-1]).relative_to("/app")).exists()


def test_only_the_constraints_name_versions() -> None:
    words = [word for name, rest in INSTRUCTIONS if name == "RUN" for word in shlex.split(rest.replace("|", " "))]

    assert not [word for word in words if "==" in word]
    assert not [text for text in requirements(ROOT / "setup.cfg", []) if "==" in text]


@pytest.mark.parametrize("requirement", requirements(ROOT / "setup.cfg", []))
def test_every_requirement_has_a_pin(requirement: str) -> None:
    name = re.split(r"[ <>=!~\[;]", requirement)[0]

    assert canonical(name) in PINS


def test_the_lock_takes_the_other_build_of_tensorflow_and_leaves_out_what_is_not_imported() -> None:
    report = {"install": [{"metadata": {"name": name}} for name in ("tensorflow", "ml_dtypes", "libclang", "Flask")]}
    pinned = {"tensorflow": "2.21.0", "ml-dtypes": "0.6.0", "flask": "3.1.3"}

    assert locked(report, pinned, "tensorflow-cpu") == ["flask==3.1.3", "ml-dtypes==0.6.0", "tensorflow-cpu==2.21.0"]


def test_the_lock_refuses_what_has_no_pin() -> None:
    with pytest.raises(SystemExit, match=r"constraints\.txt: flask$"):
        locked({"install": [{"metadata": {"name": "Flask"}}]}, {}, "tensorflow")


def test_requirements_of_an_extra_are_added() -> None:
    assert "pytest" in requirements(ROOT / "setup.cfg", ["test"])


class _Ready(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/readyz" and self.server.ready else 503)  # type: ignore[attr-defined]
        self.end_headers()
        self.wfile.write(b'{"status": "as it is"}')

    def log_message(self, *_: object) -> None:
        """Be silent."""


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    with HTTPServer(("127.0.0.1", 0), _Ready) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def health(port: int, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", str(ROOT / "config" / "docker" / "healthcheck.py")]
    environ = {**os.environ, "PORT": str(port), **environ}
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize(("ready", "code"), [(True, 0), (False, 1)])
def test_the_health_check_says_what_readyz_says(server: HTTPServer, ready: bool, code: int) -> None:
    server.ready = ready  # type: ignore[attr-defined]
    done = health(server.server_port)

    assert done.returncode == code
    assert done.stdout == '{"status": "as it is"}\n'


def test_the_health_check_asks_by_tls_where_the_server_does_and_takes_any_name(
    server: HTTPServer, tmp_path: Path
) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-subj", "/CN=models.example.com", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.ready = True  # type: ignore[attr-defined]

    assert health(server.server_port, TLS_CERT=str(certificate)).returncode == 0


def test_the_health_check_fails_with_a_reason_where_nothing_listens() -> None:
    done = health(1)

    assert done.returncode == 1
    assert "refused" in done.stdout
    assert done.stderr == ""
