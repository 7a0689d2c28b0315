"""The same work on this server and on others, in one run: `python -m tests.benchmarks.peers --help`."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from tests.benchmarks.peers.catalogue import PEERS
from tests.benchmarks.peers.measuring import Plan, measure_group
from tests.benchmarks.peers.table import Measured, as_text, merge
from tests.benchmarks.peers.works import WORKS, prepare
from tests.clients.environment import ROOT, RegistryUnreachable
from tf_serving_flask_app.bench.command import ended_like_ctrl_c
from tf_serving_flask_app.bench.machine import this_machine
from tf_serving_flask_app.bench.measure import start_client
from tf_serving_flask_app.errors import ConfigurationError


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="How often all is measured.")
@click.option("--seconds", type=click.FloatRange(0.2), default=3.0, show_default=True, help="Of each measurement.")
@click.option("--concurrency", type=click.IntRange(1), default=8, show_default=True, help="Requests at once.")
@click.option("--only", "names", type=click.Choice(list(PEERS)), multiple=True, help="Only this peer; may be repeated.")
@click.option("--work", "works", type=click.Choice(list(WORKS)), multiple=True, help="Only this; may be repeated.")
@click.option(
    "--json",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write everything there; what it has from before stays, but for the same work with the same peers.",
)
@click.option("--all", "tried", is_flag=True, help="Print every set-up of each peer, not the better one only.")
@click.option("--environments", is_flag=True, help="Make the peers' environments and the models, and end.")
@click.option(
    "--models",
    type=click.Path(file_okay=False, path_type=Path),
    default=ROOT / ".peers-models",
    help="Folder of the models, which are made once.",
)
@click.option(
    "--environments-folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=ROOT,
    help="Folder of the environments, which are made once too.",
)
def main(
    rounds: int,
    seconds: float,
    concurrency: int,
    names: tuple[str, ...],
    works: tuple[str, ...],
    file: Path | None,
    tried: bool,
    environments: bool,
    models: Path,
    environments_folder: Path,
) -> None:
    """Measure this server beside LitServe, BentoML, MLServer, KServe and FastAPI, and print one table.

    Each peer has an environment of its own, `.venv-peers-NAME`, 2 GB, which is made on first use. All of them, with the
    models, take ten minutes once; each work's measurement takes about eight by default. One work at a time:
    `--work mobilenet --json FILE`, and the next one, or other peers, into the same FILE. All peers run at once, each
    with 3.4 GB for InceptionV3, and this server and the bare loop with 10 GB: with less than 32 GB, measure a few at a
    time.
    """
    began = time.monotonic()
    plan = Plan([PEERS[name] for name in names or PEERS], rounds, seconds, concurrency, environments_folder.absolute())

    def tell(text: str) -> None:
        click.echo(f"[{time.monotonic() - began:6.1f} s] {text}", err=True)

    machine = this_machine("tensorflow", "numpy", "pillow", "gunicorn", "eventlet")
    versions = ", ".join(f"{peer.name} {pinned(peer.requirements, peer.name)}" for peer in PEERS.values())
    conditions = {"machine": asdict(machine), "peers": versions}
    try:
        former = read(file, conditions) if file is not None else []
        with ended_like_ctrl_c(), tempfile.TemporaryDirectory() as folder:
            sections, problems = run(plan, works or tuple(WORKS), models, Path(folder), tell, not environments)
    except (ConfigurationError, RegistryUnreachable, RuntimeError) as exc:
        raise click.ClickException(str(exc)) from exc
    if environments:
        return
    sections = merge(former, sections)
    click.echo(f"{machine}\n{versions}\nInterleaved rounds, medians\n")
    click.echo(as_text(sections, tried=tried))
    if file is not None:
        file.write_text(json.dumps({**conditions, "sections": [each.as_json() for each in sections]}, indent=1))
    if problems:
        click.echo("\nNot measured:\n" + "\n".join(problems))
        sys.exit(1)


def run(
    plan: Plan, works: Sequence[str], models: Path, folder: Path, tell: Callable[[str], object], measured: bool
) -> tuple[list[Measured], list[str]]:
    """Make what is missing, and measure: the sections, and what could not be measured."""
    sections: list[Measured] = []
    problems: list[str] = []
    for peer in plan.peers:
        tell(f"{peer.name}: its environment")
        peer.make_environment(plan.environments)
    tell("the models")
    groups = [prepare(name, models, folder) for name in works]
    if measured:
        with closing(start_client()) as client:
            for group in groups:
                try:
                    outcome = measure_group(group, plan, client, tell)
                except ConfigurationError as exc:
                    problems.append(f"{group.name}: {exc}")
                else:
                    sections += outcome.sections
                    problems += outcome.problems
    return sections, problems


def read(file: Path, conditions: Mapping[str, Any]) -> list[Measured]:
    """Read the sections of a file written before; none where it is not there yet.

    Args:
        file: which.
        conditions: machine and versions, which go at its head.

    Raises:
        ConfigurationError: it cannot be written, is another file, or was measured under other conditions.
    """
    if not os.access(file if file.exists() else file.absolute().parent, os.W_OK):
        raise ConfigurationError(f"{file}: it cannot be written; name another file.")
    if not file.exists():
        return []
    try:
        written = json.loads(file.read_text())
        sections = [Measured.from_json(fields) for fields in written.pop("sections")]
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise ConfigurationError(f"{file}: this is no file of an earlier comparison; name another.") from exc
    if written != json.loads(json.dumps(conditions)):
        raise ConfigurationError(f"{file}: it was measured on another machine or with other versions; name another.")
    return sections


def pinned(requirements: Path, package: str) -> str:
    """The version of a package in a requirements file."""
    (found,) = (
        line.split("==")[1] for line in requirements.read_text().splitlines() if line.startswith(f"{package}==")
    )
    return found


if __name__ == "__main__":
    main()
