"""The works: which model, what is sent, what the right answer is, and how this project serves it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import yaml

from tests.benchmarks.peers.catalogue import Form, Peer, Setup
from tests.benchmarks.peers.check import BFLOAT16, NOISE, OTHER_PIXELS
from tests.benchmarks.peers.served import Served, decode, load
from tests.benchmarks.peers.weights import LABELS, WEIGHTS
from tests.benchmarks.peers.wire import Reply, Scores, read_numbers, read_ours, read_v2_binary
from tf_serving_flask_app.bench.pictures import draw_pictures
from tf_serving_flask_app.bench.server import package_environ
from tf_serving_flask_app.bench.work import Work, picture_work, tensor_work
from tf_serving_flask_app.errors import ConfigurationError
from tf_serving_flask_app.spec_file import load_spec

Way = Literal["pictures", "numbers", "binary"]
"""Which of a peer's forms is used."""

HALF_INPUTS = [{"name": "x", "datatype": "FP32", "shape": [-1]}]
SIDES = {"inception_v3": 299, "mobilenet": 224}
TOLERANCES = {"float32": OTHER_PIXELS, "bfloat16": BFLOAT16}


@dataclass(frozen=True)
class Section:
    """A part of the table: our server, its yardstick, and the peers, at the same work.

    Attributes:
        title: what is done.
        way: in which form the peers do it.
        spec: what our server serves.
        work: what it is sent, and what the bare loop does.
        read: reads our answer.
        tolerance: how far that may be from the right one, see ``check_answer``.
    """

    title: str
    way: Way
    spec: Path
    work: Work
    read: Callable[[Reply], Scores]
    tolerance: float


@dataclass(frozen=True)
class Group:
    """Sections that are measured together, as their peers do the same.

    Attributes:
        name: of the work, on the command line.
        graph: a frozen graph for the peers, with its input, its output and the side of its pictures; see ``Served``.
        inputs: pictures, or lists of numbers.
        sections: of the table.
    """

    name: str
    graph: tuple[Path, str, str, int]
    inputs: Sequence[Any]
    sections: Sequence[Section]

    def served(self, setup: Setup, port: int) -> Served:
        """What a peer is told."""
        path, source, target, side = self.graph
        return Served(str(path), source, target, side, port, setup.workers, setup.threads, setup.max_batch, setup.style)

    def requests(self, peer: Peer, way: Way) -> tuple[bytes, ...]:
        """What a peer is sent."""
        form = form_of(peer, way)
        assert form is not None
        return tuple(form.request(each) for each in self.inputs)


def form_of(peer: Peer, way: Way) -> Form[Any] | None:
    """How a peer takes that work, if it does."""
    forms: dict[Way, Form[Any] | None] = {"pictures": peer.pictures, "numbers": peer.numbers, "binary": peer.binary}
    return forms[way]


def prepare(name: str, models: Path, folder: Path) -> Group:
    """Make a work's models, unless they are there already, and the specs of our server.

    Args:
        name: of ``WORKS``.
        models: folder of models, kept for the next time.
        folder: for the specs.
    """
    return WORKS[name](models, folder)


def _prepare_half(models: Path, folder: Path) -> Group:
    home = _made(models / "half_plus_two", lambda made: _run("tests.benchmarks.peers.half_plus_two", made))
    fields = {"name": "half", "backend": "saved_model", "path": str(home / "saved_model")}
    spec = _write(folder / "half.spec", {**fields, "session": {"intra_op_threads": 1}})
    json, binary = (tensor_work("half", protocol, HALF_INPUTS) for protocol in ("v1", "v2"))
    assert json.tensors is not None
    return Group(
        "half",
        (home / "half_plus_two.pb", "x:0", "y:0", 0),
        [[float(str(number)) for number in json.tensors["x"]]],  # as short as float32 can be written
        [
            Section("y = x / 2 + 2, JSON", "numbers", spec, json, read_numbers("outputs"), NOISE),
            Section("y = x / 2 + 2, binary", "binary", spec, binary, read_v2_binary, NOISE),
        ],
    )


def _prepare_pictures(name: str, precisions: Mapping[str, str], models: Path, folder: Path) -> Group:
    home = _made(models / name, partial(_export, name))
    (written,) = load_spec(home / f"{name}.spec", None).models
    fields: dict[str, Any] = yaml.safe_load((home / f"{name}.spec").read_text())["models"][0]
    fields |= {"path": str(written.path), "labels": str(home / fields["labels"])}
    sections = []
    for precision, title in precisions.items():
        session = {"intra_op_threads": 1, "precision": precision}
        spec = _write(folder / f"{name}-{precision}.spec", {**fields, "session": session})
        work = picture_work(load_spec(spec, None).models[0], [])
        sections.append(Section(title, "pictures", spec, work, read_ours, TOLERANCES[precision]))
    graph = (written.path, fields["inputs"]["image"], fields["outputs"]["scores"], SIDES[name])
    return Group(name, graph, draw_pictures(), sections)


def _export(name: str, folder: Path) -> None:
    _run("tests.benchmarks.peers.weights", name, folder)
    options = ("--weights", folder / WEIGHTS, "--labels", folder / LABELS, "--out", folder)
    _run("tf_serving_flask_app", "export", name, *options)


def _made(folder: Path, make: Callable[[Path], None]) -> Path:
    """Have a folder filled, whole or not at all."""
    if not folder.is_dir():
        print(f"Making {folder}", file=sys.stderr)
        half_made = folder.with_name(f"{folder.name}.part")
        shutil.rmtree(half_made, ignore_errors=True)
        half_made.mkdir(parents=True)
        make(half_made)
        half_made.rename(folder)
    return folder


def _run(module: str, *arguments: str | Path) -> None:
    """Run a program of this project.

    Raises:
        ConfigurationError: it failed; the text is the end of what it wrote.
    """
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        env=package_environ(os.environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ConfigurationError("\n".join([f"{module} failed:", *done.stdout.splitlines()[-10:]]))


def _write(spec: Path, model: dict[str, Any]) -> Path:
    spec.write_text(yaml.safe_dump({"models": [model]}))
    return spec


WORKS: Mapping[str, Callable[[Path, Path], Group]] = {
    "inception_v3": partial(
        _prepare_pictures,
        "inception_v3",
        {"float32": "InceptionV3 float32", "bfloat16": "InceptionV3, ours bfloat16, theirs float32"},
    ),
    "mobilenet": partial(_prepare_pictures, "mobilenet", {"float32": "MobileNet float32"}),
    "half": _prepare_half,
}
"""By name; what makes them."""


def make_reference(served: Served) -> Callable[[Any], list[float]]:
    """Load a model as the peers do; in a process of its own. The scores of all classes come back, or the numbers."""
    model = load(served)

    def answer(given: Any) -> list[float]:
        if not served.side:
            return [number / 2 + 2 for number in given]
        scores: list[float] = model(decode(given, served.side))[0].tolist()
        return scores

    return answer
