"""The peers: how each is started, in which set-ups it is tried, and the form in which it takes the work."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from tests.benchmarks.peers.served import Served
from tests.benchmarks.peers.wire import (
    Reply,
    Scores,
    numbers_as_json,
    numbers_as_v2,
    numbers_as_v2_binary,
    picture_as_base64,
    picture_as_body,
    picture_as_file,
    picture_as_instance,
    read_classes,
    read_numbers,
    read_v2_binary,
    read_v2_classes,
)
from tests.clients.environment import ROOT, make_environment

Sent = TypeVar("Sent")

HERE = Path(__file__).parent
PROGRAMS = __package__
MAX_BATCH = 8
"""Requests that a peer's own batching may join: as many as are under way at once."""

MLSERVER_WAIT_S = 0.005


@dataclass(frozen=True)
class Setup:
    """A way to run a peer.

    Attributes:
        workers: processes.
        threads: of each, for one operation.
        max_batch: requests that its own batching joins; 1: none.
        style: where the peer leaves a choice, which.
    """

    workers: int
    threads: int
    max_batch: int = 1
    style: str = ""

    def __str__(self) -> str:
        parts = [f"{self.workers} x {self.threads}", self.style, "batching" if self.max_batch > 1 else ""]
        return ", ".join(part for part in parts if part)


@dataclass(frozen=True)
class Form(Generic[Sent]):
    """How work is sent and answered: pictures as bytes, or numbers as a list."""

    request: Callable[[Sent], bytes]
    read: Callable[[Reply], Scores]


@dataclass(frozen=True)
class Peer:
    """Another server.

    Attributes:
        name: of its package.
        ready: a path that answers 200 when it is ready.
        command: its Python, what it serves, a folder of its own for files -> what starts it.
        pictures: how it takes a picture.
        numbers: how it takes numbers.
        binary: how it takes them without JSON, if it does.
        batches: whether it has batching of its own.
        styles: choices that it leaves, both of which people take.
    """

    name: str
    ready: str
    command: Callable[[Path, Served, Path], Sequence[str]]
    pictures: Form[bytes]
    numbers: Form[list[float]]
    binary: Form[list[float]] | None = None
    batches: bool = False
    styles: tuple[str, ...] = ("",)

    @property
    def requirements(self) -> Path:
        """The file that pins what it runs with."""
        return HERE / f"{self.name}.requirements.txt"

    @property
    def setups(self) -> list[Setup]:
        """All ways in which it is tried: workers x threads of each."""
        batches = (1, MAX_BATCH) if self.batches else (1,)
        return [
            Setup(workers, threads, batch, style)
            for workers, threads in ((2, 1), (1, 2))
            for batch in batches
            for style in self.styles
        ]

    def make_environment(self, folder: Path) -> Path:
        """Make its environment in a folder unless it is there already, and return its Python."""
        return make_environment(folder / f".venv-peers-{self.name}", self.requirements)


def peer_environ(environ: Mapping[str, str], python: Path, folder: Path) -> dict[str, str]:
    """The environment of a peer's process: its own programs first, nothing written but into ``folder``."""
    kept = {name: value for name, value in environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    return {
        **kept,
        "PATH": f"{python.parent}{os.pathsep}{environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "HOME": str(folder),
        "BENTOML_HOME": str(folder),
        "BENTOML_DO_NOT_TRACK": "True",
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }


def start_fastapi(python: Path, served: Served, folder: Path) -> Sequence[str]:
    """Uvicorn with the program beside this."""
    app = [f"{PROGRAMS}.fastapi_server:create_app", "--factory"]
    return [*_module(python, "uvicorn"), *app, "--port", str(served.port), "--workers", str(served.workers)]


def start_litserve(python: Path, served: Served, folder: Path) -> Sequence[str]:
    """The program beside this."""
    return _module(python, f"{PROGRAMS}.litserve_server")


def start_bentoml(python: Path, served: Served, folder: Path) -> Sequence[str]:
    """BentoML's own command with the program beside this."""
    service = ("Classify" if served.side else "Predict") + ("Joined" if served.max_batch > 1 else "")
    target = [f"{PROGRAMS}.bentoml_server:{service}", "--working-dir", str(ROOT)]
    return [*_module(python, "bentoml"), "serve", *target, "--host", "127.0.0.1", "--port", str(served.port)]


def start_mlserver(python: Path, served: Served, folder: Path) -> Sequence[str]:
    """MLServer's own command, with its settings written to ``folder``; one worker runs in the server's process."""
    settings = {
        "debug": False,
        "host": "127.0.0.1",
        "http_port": served.port,
        "grpc_port": 0,
        "metrics_port": 0,
        "metrics_dir": str(folder),
        "environments_dir": str(folder),
        "parallel_workers": served.workers if served.workers > 1 else 0,
    }
    runtime = "Classify" if served.side else "Predict"
    model = {"name": "model", "implementation": f"{PROGRAMS}.mlserver_runtime.{runtime}"}
    batching = {"max_batch_size": served.max_batch, "max_batch_time": MLSERVER_WAIT_S} if served.max_batch > 1 else {}
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "model-settings.json").write_text(json.dumps({**model, **batching}))
    return [str(python.with_name("mlserver")), "start", str(folder)]


def start_kserve(python: Path, served: Served, folder: Path) -> Sequence[str]:
    """The program beside this."""
    return _module(python, f"{PROGRAMS}.kserve_server")


def _module(python: Path, name: str) -> list[str]:
    return [str(python), "-m", name]


V2_NUMBERS = Form(numbers_as_v2, read_numbers("outputs", 0, "data"))

PEERS = {
    peer.name: peer
    for peer in (
        Peer(
            "fastapi",
            "/ready",
            start_fastapi,
            Form(picture_as_body("/classify"), read_classes("index")),
            Form(numbers_as_json("/predict", "instances"), read_numbers("predictions")),
            styles=("async", "threads"),
        ),
        Peer(
            "litserve",
            "/health",
            start_litserve,
            Form(picture_as_body("/predict"), read_classes("class")),
            Form(numbers_as_json("/predict", "input"), read_numbers("output")),
            batches=True,
        ),
        Peer(
            "bentoml",
            "/readyz",
            start_bentoml,
            Form(picture_as_file("/classify", "picture"), read_classes("class")),
            Form(numbers_as_json("/predict", "x"), read_numbers()),
            batches=True,
        ),
        Peer(
            "mlserver",
            "/v2/health/ready",
            start_mlserver,
            Form(picture_as_base64, read_v2_classes),
            V2_NUMBERS,
            batches=True,
        ),
        Peer(
            "kserve",
            "/v2/health/ready",
            start_kserve,
            Form(picture_as_instance, read_classes("class", "predictions")),
            V2_NUMBERS,
            binary=Form(numbers_as_v2_binary, read_v2_binary),
        ),
    )
}
"""By name."""
