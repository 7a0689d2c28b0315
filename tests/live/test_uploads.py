"""Large uploads are spooled in ``UPLOAD_FOLDER``, and nothing is ever to be seen there, whatever ends the request."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from tests.live.conftest import MODES
from tests.live.server import LiveServer, wait_until
from tests.pictures import picture
from tf_serving_flask_app.gunicorn.bodies import LARGE

BOUNDARY = "boundary"
FORM = (
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.bmp"\r\nContent-Type: image/bmp\r\n\r\n'
).encode()
SENT = 5 << 20
"""Bytes of a half upload: of one so large that it is not kept in memory."""


@pytest.fixture
def uploads(tmp_path: Path) -> Path:
    """The folder for uploads, empty."""
    folder = tmp_path / "uploads"
    folder.mkdir()
    return folder


def spooled(process: psutil.Process, uploads: Path) -> list[str]:
    """The files without a name that a process keeps open in the folder."""
    found = []
    for link in Path(f"/proc/{process.pid}/fd").iterdir():
        try:
            target = os.readlink(link)
        except FileNotFoundError:  # closed in between
            continue
        if target.startswith(f"{uploads}/") and target.endswith(" (deleted)"):
            found.append(target)
    return found


def holders(server: LiveServer, uploads: Path) -> list[psutil.Process]:
    """The processes of the server that keep such a file."""
    return [process for process in [server.main, *server.workers()] if spooled(process, uploads)]


@contextmanager
def half_an_upload(server: LiveServer) -> Iterator[socket.socket]:
    """A connection on which a picture has begun to arrive, and stays so."""
    address = urlsplit(server.url)
    assert address.hostname is not None
    head = (
        f"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: {2 * SENT}\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n"
    ).encode()
    with socket.create_connection((address.hostname, address.port or 0), timeout=20) as connection:
        connection.sendall(head + FORM + b"x" * SENT)
        yield connection


@pytest.mark.parametrize("name", ["eventlet", "gthread", "multithreaded", "development"])
def test_nothing_is_to_be_seen_during_and_after_a_large_upload(name: str, numpy_spec: Path, uploads: Path) -> None:
    large = picture("red", (2000, 1600), "BMP")
    assert len(large) > LARGE
    with LiveServer("-s", numpy_spec, environ={**MODES[name], "UPLOAD_FOLDER": str(uploads)}) as server:
        good = server.post("/classify", files={"file": large})
        assert list(uploads.iterdir()) == []
        bad = server.post("/classify", files={"file": b"x" * len(large)})
        assert list(uploads.iterdir()) == []
        with half_an_upload(server):
            wait_until(lambda: holders(server, uploads), "file of the upload")
            assert list(uploads.iterdir()) == []
        wait_until(lambda: not holders(server, uploads), "end of the file after the client went away")
        code = server.stop()

    assert (good.status_code, good.json()["class"]) == (200, "red")
    assert bad.status_code == 400
    assert list(uploads.iterdir()) == []
    assert code == 0


@pytest.mark.parametrize("name", ["eventlet", "gthread"])
def test_a_worker_that_is_killed_during_an_upload_leaves_nothing(name: str, numpy_spec: Path, uploads: Path) -> None:
    with LiveServer("-s", numpy_spec, environ={**MODES[name], "UPLOAD_FOLDER": str(uploads)}) as server:
        with half_an_upload(server):
            wait_until(lambda: holders(server, uploads), "file of the upload")
            (worker,) = holders(server, uploads)
            worker.kill()
            wait_until(lambda: not worker.is_running(), "end of the worker")
        assert list(uploads.iterdir()) == []
        again = server.post("/classify", files={"file": picture("red", (2000, 1600), "BMP")})
        code = server.stop()

    assert (again.status_code, again.json()["class"]) == (200, "red")
    assert list(uploads.iterdir()) == []
    assert code == 0


def test_a_server_that_is_killed_during_an_upload_leaves_nothing(numpy_spec: Path, uploads: Path) -> None:
    environ = {**MODES["eventlet"], "UPLOAD_FOLDER": str(uploads)}
    with LiveServer("-s", numpy_spec, environ=environ) as server, half_an_upload(server):
        wait_until(lambda: holders(server, uploads), "file of the upload")
        server.kill()

    assert list(uploads.iterdir()) == []
