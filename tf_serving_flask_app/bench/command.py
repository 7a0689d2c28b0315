"""``./run.sh bench``: servers, ceilings and the load generator, started, measured in turn, and ended."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import orjson

from tf_serving_flask_app.bench.ceiling import Ceiling
from tf_serving_flask_app.bench.machine import this_machine
from tf_serving_flask_app.bench.measure import CeilingTarget, Point, Result, ServerTarget, Target, measure, start_client
from tf_serving_flask_app.bench.report import Report
from tf_serving_flask_app.bench.server import RunningServer, mode_environ, package_environ, start_server
from tf_serving_flask_app.bench.work import Protocol, Work, choose_protocol, picture_work, tensor_work
from tf_serving_flask_app.errors import ConfigurationError
from tf_serving_flask_app.settings import Settings
from tf_serving_flask_app.spec import ModelSpec
from tf_serving_flask_app.spec_file import load_spec

ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
"""Signals that end a process: asked for, for want of a terminal, and by a key of it."""

MODERATE_LOAD = 0.7
"""Of a server's top rate: the load at which its latency is measured too, as no server should run at its top."""


@dataclass(frozen=True)
class Plan:
    """What to measure.

    Attributes:
        spec: what to serve.
        assets: folder of its relative paths, or None for its own.
        model: which of its models to ask; None: the first.
        modes: of ``server.MODES``.
        workers: processes of a server.
        concurrencies: requests at once.
        rounds: how often everything is measured.
        seconds: of each measurement.
        pictures: files to send; none: drawn ones.
        protocol: auto, image, v1 or v2.
    """

    spec: Path
    assets: Path | None
    model: str | None
    modes: Sequence[str]
    workers: int
    concurrencies: Sequence[int]
    rounds: int
    seconds: float
    pictures: Sequence[Path]
    protocol: str


def run_plan(plan: Plan, environ: Mapping[str, str]) -> Report:
    """Measure what is planned, with a progress bar on stderr; however it ends, no process is left.

    Raises:
        ConfigurationError: something cannot be started or measured; the text says why.
    """
    environ = package_environ(environ)
    sys.path.append(str(plan.spec.resolve().parent))
    model = find_model(plan.spec, plan.assets, plan.model)
    protocol = choose_protocol(model, plan.protocol)
    if plan.pictures and protocol != "image":
        raise ConfigurationError(f"Model {model.name!r} is measured with tensors here: leave --picture out.")
    with ended_like_ctrl_c(), ExitStack() as stack:
        client = stack.enter_context(closing(start_client()))
        servers = {
            mode: stack.enter_context(start_server(plan.spec, plan.assets, mode_environ(environ, mode, plan.workers)))
            for mode in plan.modes
        }
        for server in servers.values():
            server.wait_ready()
        work = _work(model, protocol, plan.pictures, next(iter(servers.values())))
        ceilings: dict[int, Ceiling] = {}
        targets: dict[str, Target] = {}
        for mode, server in servers.items():
            settings = Settings.from_environ(mode_environ(environ, mode, plan.workers))
            processes = settings.processes
            if processes not in ceilings:
                ceiling = Ceiling(processes, plan.spec, plan.assets, mode_environ(environ, mode, plan.workers), work)
                ceilings[processes] = stack.enter_context(closing(ceiling))
            threads = 1 if mode == "sync" else settings.threads
            name = f"ceiling, {processes} x {threads}"
            targets[mode] = ServerTarget(mode, server, work.requests, client, name)
            targets[name] = CeilingTarget(name, ceilings[processes], processes * threads)
        results = _measure(plan, targets, list(servers.values()))
    return Report(
        this_machine("tensorflow", "gunicorn"),
        {
            "spec": str(plan.spec),
            "model": f"{model.name} ({model.backend})",
            "requests": work.what,
            "workers": plan.workers,
            "rounds": f"{plan.rounds} of {plan.seconds:g} s, medians",
        },
        results,
    )


def find_model(spec: Path, assets: Path | None, name: str | None) -> ModelSpec:
    """Load a spec and choose one of its models; without a name, the first.

    Raises:
        ConfigurationError: the spec is wrong, or has no such model.
    """
    models = load_spec(spec, assets).models
    for model in models:
        if name in (None, model.name):
            return model
    names = ", ".join(model.name for model in models)
    raise ConfigurationError(f"{spec} has no model {name!r}; it has {names}.")


def _work(model: ModelSpec, protocol: Protocol, pictures: Sequence[Path], server: RunningServer) -> Work:
    if protocol == "image":
        return picture_work(model, pictures)
    return tensor_work(model.name, protocol, describe(server, model.name)["inputs"])


def describe(server: RunningServer, model: str) -> dict[str, Any]:
    """Ask for a model's metadata in the Open Inference Protocol: inputs and outputs with name, datatype and shape.

    Raises:
        ConfigurationError: the server does not tell.
    """
    status, body = server.get(f"/v2/models/{model}")
    answer: dict[str, Any] = orjson.loads(body)
    if status != 200:
        raise ConfigurationError(f"The server does not describe the model {model!r}: {answer.get('error')}")
    return answer


def _measure(plan: Plan, targets: Mapping[str, Target], servers: Sequence[RunningServer]) -> list[Result]:
    steps = [(target, Point(concurrency)) for target in targets.values() for concurrency in plan.concurrencies]
    steps += [(targets[mode], Point(max(plan.concurrencies), share=MODERATE_LOAD)) for mode in plan.modes]
    with click.progressbar(length=plan.rounds * len(steps), label="Measuring", file=sys.stderr) as bar:

        def on_step() -> None:
            bar.update(1)
            for server in servers:
                server.check_running()

        results = measure(steps, plan.rounds, plan.seconds, on_step)
    order = list(targets)
    return sorted(results, key=lambda result: order.index(result.name))


@contextmanager
def ended_like_ctrl_c() -> Iterator[None]:
    """Let what ends a process otherwise do what Ctrl-C does: what was started is ended first.

    A signal that is ignored stays so, as ``nohup`` wants it.
    """
    former = {number: signal.getsignal(number) for number in ENDING}
    heeded = {number: handler for number, handler in former.items() if handler != signal.SIG_IGN}
    for number in heeded:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in heeded.items():
            signal.signal(number, handler)
