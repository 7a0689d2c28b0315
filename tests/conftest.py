"""What every test may use, and what no test may leave behind."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from flask import Flask
from flask.testing import FlaskClient

from tests.pictures import picture
from tests.tf_serving_server import ModelServer, ModelServers
from tf_serving_flask_app.app import create_app
from tf_serving_flask_app.settings import NOT_YET, VARIABLES, Settings
from tf_serving_flask_app.spec import ModelSpec
from tf_serving_flask_app.spec_file import load_spec

JOIN_S = 5.0
WriteSpec = Callable[[Any], Path]
MakeApp = Callable[..., Flask]

HALF = {"name": "half", "backend": "numpy_backends:HalfPlusTwo", "path": "model"}
COLORS = {
    "name": "colors",
    "task": "classification",
    "backend": "numpy_backends:Colors",
    "path": "model",
    "labels": ["red", "green", "blue"],
}
ECHO = {"name": "echo", "backend": "numpy_backends:Echo", "path": "model"}


def pytest_configure() -> None:
    """Have Ctrl-C heeded by what tests start, also where a shell runs the tests in the background, which ignores it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the live tests, which take longest, so that no process waits for them at the end."""
    items.sort(key=lambda item: "live" not in item.path.parts)


@pytest.fixture(autouse=True)
def _clean_environ(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the machine leaks into a test."""
    settings = {*VARIABLES, *NOT_YET, "GUNICORN_CMD_ARGS"}
    for name in list(os.environ):
        if name in settings or name.startswith(("FLASK_", "APP_TFSERVING_")):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _no_thread_left() -> Iterator[None]:
    """A test that leaves a thread behind, which would keep the process from ending, fails."""
    before = set(threading.enumerate())
    yield
    deadline = time.monotonic() + JOIN_S
    left = [thread for thread in threading.enumerate() if thread not in before and not thread.daemon]
    for thread in left:
        thread.join(max(0.0, deadline - time.monotonic()))

    assert [thread.name for thread in left if thread.is_alive()] == []


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real models and photographs that the project does not bring with it."""
    folder = Path(os.environ.get("TEST_DATA") or Path(__file__).parents[1] / "../shared/data").resolve()
    if not folder.is_dir():
        pytest.skip(f"there is no {folder}; name the folder of test data in TEST_DATA")
    return folder


@pytest.fixture
def write_spec(tmp_path: Path) -> WriteSpec:
    """Write a spec, given as its text, as bytes or as the list of its models, beside a file named ``model``."""

    def write(content: Any) -> Path:
        (tmp_path / "model").touch()
        path = tmp_path / "models.spec"
        text = yaml.safe_dump({"models": content}) if isinstance(content, list) else content
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


@pytest.fixture
def make_specs(write_spec: WriteSpec) -> Callable[..., list[ModelSpec]]:
    """Validate models given as the mappings of a spec file."""
    return lambda *models: load_spec(write_spec(list(models))).models


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    """The folder from which the app of the test reads, with ``red.png`` in it."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "red.png").write_bytes(picture("red"))
    return folder


@pytest.fixture
def make_app(make_specs: Callable[..., list[ModelSpec]], image_folder: Path) -> Iterator[MakeApp]:
    """Make an app that serves models given as mappings; settings are given as environment variables."""
    apps: list[Flask] = []

    def make(*models: Mapping[str, Any], **environ: str) -> Flask:
        settings = Settings.from_environ({"IMAGE_FOLDER": str(image_folder), **environ})
        apps.append(create_app(settings, make_specs(*models)))
        return apps[-1]

    yield make
    for app in apps:
        app.extensions["repository"].close()
        app.extensions["metrics"].close()


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    """An app with a model of each kind, in NumPy."""
    return make_app(HALF, COLORS, ECHO, MAX_CONTENT_LENGTH="100000")


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """A client of that app."""
    return app.test_client()


@pytest.fixture(scope="session")
def model_servers() -> Iterator[ModelServers]:
    """Where model servers with TensorFlow Serving's protocols are started."""
    servers = ModelServers()
    yield servers
    servers.close()


@pytest.fixture(scope="session")
def remote_models(model_servers: ModelServers, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small SavedModels for such servers: name -> folder of versions."""
    folder = tmp_path_factory.mktemp("remote_models")
    assert model_servers.ask(write=str(folder)) == 0
    return {path.name: path for path in folder.iterdir()}


@pytest.fixture
def model_server(
    model_servers: ModelServers, remote_models: dict[str, Path], tmp_path: Path
) -> Iterator[Callable[..., ModelServer]]:
    """Make model servers with those models; they listen already."""
    made: list[ModelServer] = []

    def make(models: dict[str, Path] | None = None, **options: Any) -> ModelServer:
        folder = tmp_path / f"model_server_{len(made)}"
        made.append(ModelServer(model_servers, folder, models or remote_models, **options))
        return made[-1].start()

    yield make
    for server in made:
        server.kill()
