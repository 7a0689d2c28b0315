"""A SavedModel of InceptionV3 through the server, in float32 and bfloat16, against the same as it is in a bare loop.

Run it with ``.venv/bin/python -m tests.benchmarks.precision [ROUNDS [SECONDS]]``. The bare loop decodes as the server
does and runs the model with its variables in float32, in two processes of one thread each; the server has two workers
and eight requests at once. The weights are random. Interleaved rounds, medians of the rounds' ratios.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

from tf_serving_flask_app.backends import saved_model
from tf_serving_flask_app.backends.freeze import can_freeze
from tf_serving_flask_app.bench.ceiling import Ceiling
from tf_serving_flask_app.bench.helper import Helper
from tf_serving_flask_app.bench.machine import this_machine
from tf_serving_flask_app.bench.measure import CeilingTarget, Point, ServerTarget, Target, measure, start_client
from tf_serving_flask_app.bench.server import mode_environ, package_environ, start_server
from tf_serving_flask_app.bench.work import picture_work
from tf_serving_flask_app.spec import ModelSpec
from tf_serving_flask_app.spec_file import load_spec

WORKERS, CONCURRENCY = 2, 8
BARE = "bare loop, variables, float32"
SPEC = """\
models:
  - name: inception_v3
    task: classification
    backend: {backend}
    path: {path}
    image: {{scale: inception}}
    session: {{precision: {precision}}}
"""


class AsItIs(saved_model.SavedModel):
    """A SavedModel that keeps its variables."""

    def __init__(self, spec: ModelSpec) -> None:
        setattr(saved_model, can_freeze.__name__, lambda graph_def, tensors: False)
        super().__init__(spec)


def make_exporter(folder: Path) -> Callable[[None], None]:
    """Write the SavedModel; in a process of its own, which gives its memory back."""
    import keras

    keras.applications.InceptionV3(weights=None).export(folder, verbose=False)
    return lambda job: None


def start_export(folder: Path) -> Helper[None, None]:
    """Start that process."""
    return Helper(make_exporter, folder, name="the export")


def main() -> None:
    """Print a line for each of them."""
    rounds, seconds = int([*sys.argv, "5"][1]), float([*sys.argv, "5", "5"][2])
    environ = package_environ({**os.environ, "OPENBLAS_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "1"})
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        with closing(start_export(folder / "model")) as exporter:
            exporter.wait_ready()
        specs = {
            name: folder / f"{number}.spec" for number, name in enumerate([BARE, "server, float32", "server, bfloat16"])
        }
        for name, spec in specs.items():
            backend = f'"{__spec__.name}:AsItIs"' if name == BARE else "saved_model"
            spec.write_text(SPEC.format(backend=backend, path=folder / "model", precision=name.rpartition(" ")[2]))
        work = picture_work(load_spec(specs[BARE], None).models[0], ())
        server_environ = mode_environ(environ, "eventlet", WORKERS)
        client = stack.enter_context(closing(start_client()))
        bare = stack.enter_context(closing(Ceiling(WORKERS, specs.pop(BARE), None, server_environ, work)))
        targets: list[Target] = [CeilingTarget(BARE, bare, WORKERS)]
        for name, spec in specs.items():
            server = stack.enter_context(start_server(spec, None, server_environ))
            server.wait_ready()
            targets.append(ServerTarget(name, server, work.requests, client, BARE))
        steps = [(target, Point(CONCURRENCY)) for target in targets]
        results = measure(steps, rounds, seconds, lambda: print(".", end="", file=sys.stderr, flush=True))
    print(f"\n{this_machine('tensorflow')}\n{work.what}, {rounds} rounds of {seconds:g} s")
    for result in results:
        cpu = f"{result.sample.cpu_s * 1e3:6.1f} ms CPU a picture"
        ratio = "" if result.ceiling is None else f", {result.ceiling:.2f} times the bare loop"
        print(f"{result.name:>30}: {result.sample.rate:6.1f}/s, {cpu}{ratio}")


if __name__ == "__main__":
    main()
