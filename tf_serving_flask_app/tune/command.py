"""``./run.sh tune``: the search within its budget, its report, and the copy of the spec."""

from __future__ import annotations

import hashlib
import os
import shlex
import sys
import tempfile
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from tf_serving_flask_app.bench.command import ended_like_ctrl_c, find_model
from tf_serving_flask_app.bench.machine import Machine, this_machine
from tf_serving_flask_app.bench.server import package_environ
from tf_serving_flask_app.bench.work import choose_protocol
from tf_serving_flask_app.errors import ConfigurationError
from tf_serving_flask_app.settings import Settings
from tf_serving_flask_app.spec import ModelSpec
from tf_serving_flask_app.spec_file import load_spec
from tf_serving_flask_app.tune.budget import Budget
from tf_serving_flask_app.tune.identity import identity_of, import_paths, source_of
from tf_serving_flask_app.tune.lab import Site
from tf_serving_flask_app.tune.preparation import Subject, prepare
from tf_serving_flask_app.tune.report import Report, environment
from tf_serving_flask_app.tune.search import search
from tf_serving_flask_app.tune.spec_copy import change_spec
from tf_serving_flask_app.tune.state import State, default_file

CLOSING_S = 3.0
"""Of the budget: what ending everything takes."""

NOTE_WIDTH = 110


@dataclass(frozen=True)
class Plan:
    """What to tune.

    Attributes:
        spec: the spec file.
        assets: folder of its relative paths, or None for its own.
        model: which of its models; None: the first.
        budget: seconds that it may take.
        concurrency: requests at once.
        min_agreement: with float32, of what may be advised.
        pictures: files to send and to compare answers on; none: drawn ones.
        state: where results are kept; None: in the user's cache.
        fresh: forget those of an earlier run.
        write: the copy of the spec to write; None: none.
    """

    spec: Path
    assets: Path | None
    model: str | None
    budget: float
    concurrency: int
    min_agreement: float
    pictures: Sequence[Path]
    state: Path | None
    fresh: bool
    write: Path | None


def copy_path(spec: Path) -> Path:
    """Where the copy of a spec goes if the user names no file."""
    return spec.with_name(f"{spec.stem}.tuned.spec")


def run_tune(plan: Plan, environ: Mapping[str, str], spent_s: float = 0.0) -> Report:
    """Search within the budget, with a progress bar on stderr; however it ends, no process is left.

    Args:
        plan: what to tune.
        environ: the servers' environment.
        spent_s: of the budget, before this call.

    Raises:
        ConfigurationError: the settings as they are cannot be served or measured, or a file cannot be written; the
            text says why.
    """
    budget = Budget(plan.budget - CLOSING_S - spent_s)
    model = find_model(plan.spec, plan.assets, plan.model)
    text = plan.spec.read_bytes().decode("utf-8")  # with the ends of lines that it has
    models = load_spec(plan.spec, plan.assets).models
    number = [each.name for each in models].index(model.name)
    if plan.write is not None:
        _check_copy(plan.write, plan.spec)
    if plan.pictures and choose_protocol(model, "auto") != "image":
        raise ConfigurationError(f"Model {model.name!r} is measured with tensors: leave --picture out.")
    settings = Settings.from_environ(environ)
    machine = this_machine("tensorflow", "gunicorn")
    state = _open_state(plan, model.name, settings, machine, environ)
    with ended_like_ctrl_c(), ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tune-")))
        bar = stack.enter_context(
            click.progressbar(
                length=max(1, round(plan.budget)),
                label="Tuning",
                file=sys.stderr,
                item_show_func=lambda step: step or "",
            )
        )
        site = Site(
            text,
            number,
            (plan.assets or plan.spec.parent).resolve(),
            folder,
            _servers_environ(plan.spec, environ),
            "multithreaded" if settings.mode == "multithreaded" else settings.worker_class,
        )
        prepared = prepare(
            stack,
            Subject(model, settings, plan.pictures, plan.concurrency),
            site,
            state,
            budget,
            lambda step: bar.update(max(0, round(budget.spent) - bar.pos), step),
        )
        space = prepared.lab.space
        found = search(prepared.lab, space, prepared.default, plan.min_agreement)
        bar.update(max(0, round(plan.budget) - bar.pos), "done")
    advice = found.advice
    variables = {**environment(space, advice.candidate), **code_path(plan, models, environ)}
    if plan.write is not None:
        lines = textwrap.wrap(f"Tuned: {advice.candidate}. {advice.reason} On {machine}.", NOTE_WIDTH)
        lines += [f"Serve it with {name}={shlex.quote(value)}" for name, value in variables.items()]
        copy = change_spec(text, number, space.spec_changes(advice.candidate), "\n".join(lines))
        try:
            plan.write.write_bytes(copy.encode())
        except OSError as exc:
            raise ConfigurationError(
                f"{plan.write} cannot be written ({exc.strerror}); name another: the results are kept."
            ) from exc
    return Report(
        machine,
        {
            "spec": str(plan.spec),
            "model": f"{model.name} ({model.backend})",
            "requests": prepared.what,
            "at once": plan.concurrency,
            "budget": f"{plan.budget:g} s, of which {budget.spent + spent_s:.0f} were used",
            "results kept in": str(state.file),
        },
        space,
        found,
        prepared.figures,
        serving_command(plan, variables),
    )


def serving_command(plan: Plan, variables: Mapping[str, str]) -> str:
    """The line that serves the copy of the spec, or the spec itself where there is none."""
    words = [f"{name}={shlex.quote(value)}" for name, value in variables.items()]
    words += ["./run.sh", "-s", shlex.quote(str(plan.write or plan.spec))]
    if plan.assets is not None:
        words += ["-a", shlex.quote(str(plan.assets))]
    elif plan.write is not None and plan.write.parent.resolve() != plan.spec.parent.resolve():
        words += ["-a", shlex.quote(str(plan.spec.parent))]
    return " ".join(words)


def _check_copy(copy: Path, spec: Path) -> None:
    """Find what is wrong with a copy before anything is measured for it.

    Raises:
        ConfigurationError: it would be the spec itself, or cannot be written.
    """
    if copy.resolve() == spec.resolve():
        raise ConfigurationError(f"{copy} is the spec itself, which stays as it is; name another file to write.")
    if copy.is_dir() or not os.access(copy if copy.exists() else copy.absolute().parent, os.W_OK):
        raise ConfigurationError(f"{copy} cannot be written; name another file.")


def _open_state(plan: Plan, model: str, settings: Settings, machine: Machine, environ: Mapping[str, str]) -> State:
    pictures = hashlib.sha256()
    for file in plan.pictures:
        pictures.update(file.read_bytes())
    conditions = {
        "model": model,
        "machine": asdict(machine),
        "settings": settings.model_dump(mode="json", exclude={"host", "port"}),
        "gunicorn": environ.get("GUNICORN_CMD_ARGS", ""),
        "concurrency": plan.concurrency,
        "pictures": pictures.hexdigest(),
    }
    search_path = ["", *_servers_environ(plan.spec, environ)["PYTHONPATH"].split(os.pathsep), *sys.path]
    identity = identity_of(load_spec(plan.spec, plan.assets).models, environ, search_path, conditions)
    return State(plan.state or default_file(model, identity, environ), identity, fresh=plan.fresh)


def _servers_environ(spec: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """What all servers have: hooks are found beside the spec, though what is served is a copy elsewhere."""
    packaged = package_environ(environ)
    return {**packaged, "PYTHONPATH": os.pathsep.join([packaged["PYTHONPATH"], str(spec.resolve().parent)])}


def code_path(plan: Plan, models: Iterable[ModelSpec], environ: Mapping[str, str]) -> dict[str, str]:
    """The variable with which the copy finds the code beside the spec, which is beside the file that a link leads to.

    Nothing where there is no such code, or it is beside the copy too.
    """
    folder = plan.spec.resolve().parent
    if plan.write is None or plan.write.resolve().parent == folder:
        return {}
    if not any(source_of(path, [str(folder)]) for model in models for path in import_paths(model)):
        return {}
    return {"PYTHONPATH": os.pathsep.join(filter(None, [environ.get("PYTHONPATH"), str(folder)]))}
