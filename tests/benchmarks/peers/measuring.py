"""The measurement: each peer's better set-up first, then everything in turn, with our server between them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

from tests.benchmarks.peers.catalogue import Peer, Setup
from tests.benchmarks.peers.check import check_answer
from tests.benchmarks.peers.running import (
    OUR_MODE,
    WORKERS,
    Client,
    check_peer,
    quiet_target,
    standing,
    start_bare,
    start_ours,
)
from tests.benchmarks.peers.table import OURS, Measured, Row, make_row
from tests.benchmarks.peers.wire import ask, numbers_as_json
from tests.benchmarks.peers.works import Group, Section, Way, form_of, make_reference
from tf_serving_flask_app.bench.ceiling import Ceiling
from tf_serving_flask_app.bench.helper import Helper
from tf_serving_flask_app.bench.measure import CeilingTarget, Point, Sample, ServerTarget, Target, take_samples
from tf_serving_flask_app.bench.server import RunningServer, mode_environ, package_environ
from tf_serving_flask_app.errors import ConfigurationError

TRIAL_ROUNDS = 2
"""Rounds in which a peer's set-ups are compared."""

TRIAL_S = 2.5
WARM_S = 1.0
"""Of load on a server before anything is measured: some load their model, or prepare a shape, at the first request."""

BARE_LOOP, BARE_ROUTE = "bare loop", "bare Flask route"


@dataclass(frozen=True)
class Plan:
    """How to measure.

    Attributes:
        peers: which.
        rounds: how often.
        seconds: of each measurement.
        concurrency: requests at once.
        environments: folder of the peers' environments.
    """

    peers: Sequence[Peer]
    rounds: int
    seconds: float
    concurrency: int
    environments: Path

    def __str__(self) -> str:
        return f"{self.rounds} rounds of {self.seconds:g} s, {self.concurrency} requests at once"

    @property
    def trial_s(self) -> float:
        """Seconds of each measurement that compares set-ups."""
        return min(TRIAL_S, self.seconds)


@dataclass
class Outcome:
    """What was found for one group.

    Attributes:
        sections: of the table.
        problems: what could not be measured, and why.
    """

    sections: list[Measured] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@dataclass
class _Group:
    """One group's measurement, and what it needs throughout."""

    group: Group
    plan: Plan
    client: Client
    rights: Sequence[list[float]]
    tell: Callable[[str], object]
    outcome: Outcome = field(default_factory=Outcome)
    tried: dict[str, list[Row]] = field(default_factory=dict)


def measure_group(group: Group, plan: Plan, client: Client, tell: Callable[[str], object]) -> Outcome:
    """Measure all sections of a group.

    Args:
        group: what.
        plan: how.
        client: the load generator.
        tell: called with what is done now.

    Raises:
        ConfigurationError: our own server, or a yardstick, cannot be started or answers wrongly. What is wrong with a
            peer, is in the outcome.
    """
    tell(f"{group.name}: the right answers")
    run = _Group(group, plan, client, right_answers(group), tell)
    chosen: dict[Peer, Setup] = {}
    for peer in plan.peers:
        tell(f"{group.name}: {peer.name} in {len(peer.setups)} set-ups")
        try:
            chosen[peer] = _best_setup(run, peer)
        except ConfigurationError as exc:
            run.outcome.problems.append(f"{group.name}: {exc}")
    _measure_all(run, chosen)
    return run.outcome


def right_answers(group: Group) -> list[list[float]]:
    """Ask the model itself, with no server."""
    with closing(Helper(make_reference, group.served(Setup(1, 1), 0), name="the reference")) as reference:
        reference.wait_ready()
        answers = []
        for given in group.inputs:
            reference.give(given)
            answers.append(reference.answer())
        return answers


def _best_setup(run: _Group, peer: Peer) -> Setup:
    way = run.group.sections[0].way
    with ExitStack() as stack:
        servers = stack.enter_context(standing(peer, peer.setups, run.group, run.plan.environments))
        targets = {}
        for setup, server in servers.items():
            targets[setup] = _peer_target(stack, run, peer, setup, way, server)
        samples = take_samples(_steps(run, targets.values()), TRIAL_ROUNDS, run.plan.trial_s, lambda: None)
    found = {setup: samples[target.name, Point(run.plan.concurrency)] for setup, target in targets.items()}
    run.tried[peer.name] = [make_row(peer.name, str(setup), own) for setup, own in found.items()]
    failing = {setup for setup, own in found.items() if any(sample.failures for sample in own)}
    rates = {setup: sum(sample.rate for sample in own) for setup, own in found.items() if setup not in failing}
    if not rates:
        raise ConfigurationError(
            f"{peer.name}: requests fail in every set-up: {next(iter(found.values()))[0].failures}"
        )
    return max(rates, key=lambda setup: rates[setup])


def _measure_all(run: _Group, chosen: dict[Peer, Setup]) -> None:
    with ExitStack() as stack:
        run.tell(f"{run.group.name}: starting everything")
        targets: dict[str, Target] = {}
        ours: dict[object, RunningServer] = {}
        for section in run.group.sections:
            if section.spec not in ours:
                ours[section.spec] = start_ours(stack, section)
        bare = start_bare(stack) if run.group.sections[0].way != "pictures" else None
        for server in ours.values():
            server.wait_ready()
        for section in run.group.sections:
            yardstick = _yardstick(stack, run, section, bare, targets)
            targets[_name(OURS, section)] = _our_target(run, section, ours[section.spec], yardstick)
        ways: dict[Way, None] = dict.fromkeys(section.way for section in run.group.sections)
        for peer, setup in chosen.items():
            try:
                targets |= _peer_targets(stack, run, peer, setup, ways)
            except ConfigurationError as exc:
                run.outcome.problems.append(f"{run.group.name}: {exc}")
        run.tell(f"{run.group.name}: {run.plan.rounds} rounds of {len(targets)} measurements")
        steps = _steps(run, targets.values())
        samples = take_samples(steps, run.plan.rounds, run.plan.seconds, lambda: None)
    of = {name: own for (name, _), own in samples.items()}
    for section in run.group.sections:
        run.outcome.sections.append(_section(run, section, chosen, of))


def _section(run: _Group, section: Section, chosen: dict[Peer, Setup], of: dict[str, list[Sample]]) -> Measured:
    own = of[_name(OURS, section)]
    yardstick = BARE_LOOP if section.way == "pictures" else BARE_ROUTE
    bare = of.get(_name(yardstick, section), of.get(yardstick, []))
    rows = [
        make_row(OURS, f"{WORKERS} x 1, {OUR_MODE}", own, own, bare),
        make_row(yardstick, f"{WORKERS} processes", bare, own, bare),
    ]
    for peer, setup in chosen.items():
        if (name := _peer_name(peer, setup, section.way)) in of:
            rows.append(make_row(peer.name, str(setup), of[name], own, bare))
    tried = [row for peer in run.tried.values() for row in peer] if section is run.group.sections[0] else []
    return Measured(run.group.name, section.title, section.work.what, str(run.plan), rows, tried)


def _yardstick(
    stack: ExitStack, run: _Group, section: Section, bare: RunningServer | None, targets: dict[str, Target]
) -> str:
    """Prepare what this section's rates are shares of, and return its name."""
    if bare is None:
        name = _name(BARE_LOOP, section)
        environ = mode_environ(package_environ(os.environ), OUR_MODE, WORKERS)
        ceiling = stack.enter_context(closing(Ceiling(WORKERS, section.spec, None, environ, section.work)))
        targets[name] = CeilingTarget(name, ceiling, run.plan.concurrency)
        return name
    if BARE_ROUTE not in targets:
        bare.wait_ready("/ready")
        requests = tuple(map(numbers_as_json("/predict", "instances"), run.group.inputs))
        targets[BARE_ROUTE] = ServerTarget(BARE_ROUTE, bare, requests, run.client)
    return BARE_ROUTE


def _our_target(run: _Group, section: Section, server: RunningServer, yardstick: str) -> Target:
    name = _name(OURS, section)
    for request, right in zip(section.work.requests, run.rights, strict=True):
        reply = ask(server.address, request)
        if reply.status != 200:
            raise ConfigurationError(f"{name} answers {reply.status}: {reply.body[:300]!r}")
        check_answer(name, right, section.read(reply), section.tolerance)
    target = ServerTarget(name, server, section.work.requests, run.client, yardstick)
    target.measure(Point(run.plan.concurrency), WARM_S)
    return target


def _peer_targets(stack: ExitStack, run: _Group, peer: Peer, setup: Setup, ways: Iterable[Way]) -> dict[str, Target]:
    """Start a peer for the measurement; one that fails ends here, any other with the stack."""
    with ExitStack() as own:
        server = own.enter_context(standing(peer, [setup], run.group, run.plan.environments))[setup]
        targets = [_peer_target(own, run, peer, setup, way, server) for way in ways if form_of(peer, way) is not None]
        stack.enter_context(own.pop_all())
    return {target.name: target for target in targets}


def _peer_target(stack: ExitStack, run: _Group, peer: Peer, setup: Setup, way: Way, server: RunningServer) -> Target:
    """Check a peer's answers, warm it, and see that it is quiet when nobody asks it."""
    name = _peer_name(peer, setup, way)
    check_peer(name, peer, way, server, run.group, run.rights)
    target = ServerTarget(name, server, run.group.requests(peer, way), run.client)
    target.measure(Point(run.plan.concurrency), WARM_S)
    return quiet_target(stack, target, server)


def _steps(run: _Group, targets: Iterable[Target]) -> list[tuple[Target, Point]]:
    return [(target, Point(run.plan.concurrency)) for target in targets]


def _name(what: str, section: Section) -> str:
    return f"{what}, {section.title}"


def _peer_name(peer: Peer, setup: Setup, way: Way) -> str:
    return f"{peer.name}, {setup}, {way}"
