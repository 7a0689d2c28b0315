"""The commands of ``run.sh``. Each imports what it needs when it runs: ``settings`` must not wait for TensorFlow."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

import click

from tf_serving_flask_app import __version__
from tf_serving_flask_app.bench.modes import MODES
from tf_serving_flask_app.errors import ConfigurationError, ServingError
from tf_serving_flask_app.model_folder import is_saved_model
from tf_serving_flask_app.observability.logs import configure_logging
from tf_serving_flask_app.options import FILE, Number
from tf_serving_flask_app.settings import VARIABLES, Settings
from tf_serving_flask_app.spec import ModelSpec, Spec
from tf_serving_flask_app.spec_file import load_spec
from tf_serving_flask_app.versions import check_versions, choose, pin, sources_of

DEMO_SPEC = Path(__file__).resolve().parent.parent / "specs" / "demo.spec"

Params = ParamSpec("Params")


def _one_line_errors(exit_code: int) -> Callable[[Callable[Params, None]], Callable[Params, None]]:
    """Let a command end with one line and an exit code for what the user can mend, instead of a traceback."""

    def decorate(command: Callable[Params, None]) -> Callable[Params, None]:
        @wraps(command)
        def run(*args: Params.args, **kwargs: Params.kwargs) -> None:
            configure_logging("development", level=30)
            try:
                command(*args, **kwargs)
            except ConfigurationError as exc:
                click.echo(f"Error: {exc}", err=True)
                sys.exit(exit_code)

        return run

    return decorate


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-s", "--spec", type=click.Path(path_type=Path), help="What to serve; else MODEL_FOLDER, else the demo.")
@click.option("-a", "--assets", type=click.Path(path_type=Path), help="Folder for the spec's relative paths.")
@click.version_option(__version__, prog_name="tf_serving_flask_app")
@click.pass_context
def main(context: click.Context, spec: Path | None, assets: Path | None) -> None:
    """Serve TensorFlow models over HTTP. Without a command: serves SPEC, or the models in MODEL_FOLDER."""
    if context.invoked_subcommand is None:
        from tf_serving_flask_app.gunicorn.workers import leave
        from tf_serving_flask_app.serving import serve

        # An interpreter that has imported TensorFlow takes seconds to end, and there is nothing left to do.
        leave(serve(spec, assets, DEMO_SPEC, os.environ))


@main.command()
@click.argument("spec", type=click.Path(path_type=Path), required=False)
@click.option("-a", "--assets", type=click.Path(path_type=Path), help="Folder for the spec's relative paths.")
@click.option("--schema", is_flag=True, help="Print the JSON Schema of spec files.")
@_one_line_errors(1)
def check(spec: Path | None, assets: Path | None, schema: bool) -> None:
    """Validate SPEC and load its models; exit code 1 and a line for each fault."""
    if schema:
        click.echo(json.dumps(Spec.model_json_schema(), indent=2))
        return
    if spec is None:
        raise click.UsageError("Name a spec file, or --schema.")
    from tf_serving_flask_app.loading import load_task

    settings = Settings.from_environ(os.environ)
    faults = 0
    for model in _load_spec(spec, assets):
        try:
            for version in _versions(model):
                task = load_task(version, settings)
                click.echo(f"{model.name}: ok, version {task.model.version}, {model.task}, {model.backend}")
                for signature in task.model.signatures.values():
                    click.echo(f"  {signature.name}: {_tensors(signature.inputs)} -> {_tensors(signature.outputs)}")
                task.model.close()
        except ServingError as exc:
            faults += 1
            click.echo(f"{model.name}: {exc}", err=True)
    if faults:
        sys.exit(1)


@main.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--spec", "as_spec", is_flag=True, help="Print a spec that serves the model, and nothing else.")
@_one_line_errors(2)
def inspect(model: Path, as_spec: bool) -> None:
    """List the tensors of MODEL (a file or folder), and guess inputs, outputs and task.

    Of a folder of models: what each is, and one spec for all.
    """
    from tf_serving_flask_app.inspection import inspect_model

    if model.is_dir() and not is_saved_model(model):
        _inspect_folder(model, as_spec)
        return
    found = inspect_model(model)
    if not as_spec:
        for tensor in found.tensors:
            click.echo(str(tensor))
        for signature in found.signatures:
            click.echo(f"\nsignature {signature.name}")
            click.echo(f"  inputs:  {_tensors(signature.inputs)}")
            click.echo(f"  outputs: {_tensors(signature.outputs)}")
        click.echo("\n# A spec for it (--spec prints only this):")
    click.echo(found.spec_text(), nl=False)


@main.command()
@click.argument("spec", type=click.Path(path_type=Path))
@click.argument("images", type=click.Path(path_type=Path, exists=True, dir_okay=False), nargs=-1, required=True)
@click.option("-a", "--assets", type=click.Path(path_type=Path), help="Folder for the spec's relative paths.")
@click.option("-m", "--model", help="Which of the spec's models; may be left out where one fits.")
@_one_line_errors(2)
def predict(spec: Path, images: tuple[Path, ...], assets: Path | None, model: str | None) -> None:
    """Classify IMAGES, or find objects in them, with SPEC and no server: the JSON of the API, one line each."""
    from tf_serving_flask_app.apis.uploads import PICTURE_ROUTES
    from tf_serving_flask_app.app import create_app

    specs = _load_spec(spec, assets)
    specs = [each for each in specs if each.name == model] or specs
    fitting = (PICTURE_ROUTES[each.task] for each in specs if each.task in PICTURE_ROUTES)
    route = next(fitting, PICTURE_ROUTES["classification"])
    app = create_app(Settings.from_environ({**os.environ, "FLASK_PROFILE": ""}), specs)
    client = app.test_client()
    failed = False
    for image in images:
        with image.open("rb") as file:
            response = client.post(route, data={"file": file, **({"modelname": model} if model else {})})
        failed = failed or response.status_code != 200
        click.echo(response.text, err=response.status_code != 200)
    app.extensions["repository"].close()
    if failed:
        sys.exit(1)


@main.command()
@_one_line_errors(2)
def settings() -> None:
    """List every environment variable: its value now, its default, what it does."""
    now, default = Settings.from_environ(os.environ), Settings.from_environ({})
    for variable, field in VARIABLES.items():
        name = next(key for key, known in Settings.model_fields.items() if known is field)
        click.echo(f"{variable}={_shown(getattr(now, name))}  (default: {_shown(getattr(default, name))})")
        click.echo(f"    {field.description}")


@main.command()
@click.argument("what", metavar="demo|APPLICATION|PATH")
@click.option("--weights", help="Of an application: imagenet (the default), none (random) or a file.")
@click.option("--labels", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Names of the classes.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder to write to.")
@_one_line_errors(2)
def export(what: str, weights: str | None, labels: Path | None, out: Path | None) -> None:
    """Make a servable model: the demo's two, an APPLICATION of Keras such as inception_v3, or of a model at PATH.

    A PATH is a SavedModel's folder, or a .keras or .h5 file.
    """
    from tf_serving_flask_app.export.exporter import export_by_name

    if what != "demo":
        spec = export_by_name(what, weights, labels, out, DEMO_SPEC.parent, click.echo)
        click.echo(f"Serve it: ./run.sh -s {spec}")
        return
    if weights or labels:
        raise click.UsageError("The demo is trained from nothing: it takes neither --weights nor --labels.")
    from tf_serving_flask_app.export.demo import export_demo, write_samples

    export_demo(out or DEMO_SPEC.parent / what, click.echo)
    if out is None:
        write_samples(DEMO_SPEC.parent / "samples")


@main.command()
@click.argument("name", type=click.Choice(["demo"]))
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder that `export` wrote to.")
@_one_line_errors(1)
def evaluate(name: str, out: Path | None) -> None:
    """Measure the demo's models on pictures that they were not trained on; exit code 1 if they are not good enough."""
    from tf_serving_flask_app.export.demo import evaluate_demo

    evaluate_demo(out or DEMO_SPEC.parent / name, click.echo)


@main.command()
@click.argument("spec", type=click.Path(path_type=Path), default=DEMO_SPEC)
@click.option("-a", "--assets", type=click.Path(path_type=Path), help="Folder for the spec's relative paths.")
@click.option("-m", "--model", help="Which of the spec's models. Default: the first.")
@click.option(
    "--mode", "modes", multiple=True, type=click.Choice([*MODES, "all"]), default=["eventlet"], help="Repeatable."
)
@click.option("-c", "--concurrency", multiple=True, type=click.IntRange(1, 4096), default=[1, 8, 32], show_default=True)
@click.option("--workers", type=click.IntRange(1, 1024), help="Processes. Default: WEB_CONCURRENCY, else usable cores.")
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
@click.option("--seconds", type=Number(0.05), default=3, show_default=True, help="Of each measurement.")
@click.option("--picture", "pictures", multiple=True, type=FILE, help="To send; may be repeated. Default: drawn ones.")
@click.option("--protocol", type=click.Choice(["auto", "image", "v1", "v2"]), default="auto", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="Draw latency over load: .png or .svg.")
@_one_line_errors(2)
def bench(as_json: bool, plot: Path | None, concurrency: tuple[int, ...], workers: int | None, **plan: Any) -> None:
    """Measure the real server with SPEC, the demo by default, and the same work with no server around it."""
    from tf_serving_flask_app.bench.command import Plan, run_plan
    from tf_serving_flask_app.bench.plot import check_plot, write_plot

    if plot is not None:
        check_plot(plot)
    workers = workers or Settings.from_environ(os.environ).web_concurrency
    if "all" in plan["modes"]:
        plan["modes"] = list(MODES)
    plan["modes"] = list(dict.fromkeys(plan["modes"]))
    report = run_plan(Plan(concurrencies=list(dict.fromkeys(concurrency)), workers=workers, **plan), os.environ)
    click.echo(json.dumps(report.as_json(), indent=2) if as_json else report.as_text())
    if plot is not None:
        write_plot(report, plot)
    if report.failures:
        sys.exit(1)


@main.command()
@click.argument("spec", type=click.Path(path_type=Path))
@click.option("-a", "--assets", type=click.Path(path_type=Path), help="Folder for the spec's relative paths.")
@click.option("-m", "--model", help="Which of the spec's models. Default: the first.")
@click.option("--budget", type=Number(10), default=300, show_default=True, help="Seconds it may take.")
@click.option("-c", "--concurrency", type=click.IntRange(1, 4096), default=8, show_default=True)
@click.option("--min-agreement", type=Number(0, 1), default=0.99, show_default=True, help="With float32.")
@click.option("--picture", "pictures", multiple=True, type=FILE, help="To send; may be repeated. Default: drawn ones.")
@click.option("--state", type=click.Path(path_type=Path, dir_okay=False), help="Where results are kept.")
@click.option("--fresh", is_flag=True, help="Forget the results of earlier runs.")
@click.option("--write", metavar="[FILE]", is_flag=False, flag_value="", help="Write a copy of SPEC with the advice.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@_one_line_errors(2)
def tune(spec: Path, write: str | None, as_json: bool, **plan: Any) -> None:
    """Find the settings that serve a model of SPEC best on this machine; --write puts them into SPEC.tuned.spec."""
    from tf_serving_flask_app.bench.usage import age_s
    from tf_serving_flask_app.tune.command import Plan, copy_path, run_tune

    copy = None if write is None else Path(write) if write else copy_path(spec)
    report = run_tune(Plan(spec, write=copy, **plan), os.environ, age_s())
    click.echo(json.dumps(report.as_json(), indent=2) if as_json else report.as_text())


def _inspect_folder(folder: Path, as_spec: bool) -> None:
    from tf_serving_flask_app.inspection import inspect_folder, spec_text

    models = []
    for path, found in inspect_folder(folder).items():
        if isinstance(found, str):
            click.echo(f"{path.name}: cannot be served: {found}", err=as_spec)
            continue
        models.append(found.spec)
        if not as_spec:
            click.echo(f"{path.name}: {found.spec['task']}, {found.spec['backend']}")
            for signature in found.signatures:
                click.echo(f"  {signature.name}: {_tensors(signature.inputs)} -> {_tensors(signature.outputs)}")
    if not models:
        raise ConfigurationError(f"{folder}: none of its models can be served.")
    if not as_spec:
        click.echo("\n# A spec for them (--spec prints only this):")
    click.echo(spec_text(models), nl=False)


def _load_spec(spec: Path, assets: Path | None) -> list[ModelSpec]:
    """Load a spec as a server does: hooks and backends are looked up beside it too."""
    sys.path.append(str(spec.resolve().parent))
    return load_spec(spec, assets).models


def _versions(model: ModelSpec) -> list[ModelSpec]:
    """The versions that a server would load; the model as it is where nothing looks like one."""
    from tf_serving_flask_app.backends import backend_class

    found = backend_class(model.backend).versions(model.path)
    check_versions(model, found)
    sources = sources_of(model, found)
    return [pin(model, number, sources[number]) for number in choose(model, sources)] or [model]


def _tensors(tensors: Any) -> str:
    return ", ".join(str(info) for info in tensors.values()) or "nothing"


def _shown(value: object) -> str:
    return "unset" if value is None else str(value)
