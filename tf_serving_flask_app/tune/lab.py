"""Where candidates are served and measured, each in turn with the default."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tf_serving_flask_app.bench.helper import Helper
from tf_serving_flask_app.bench.load import PATIENCE_S, Answers, Load
from tf_serving_flask_app.bench.measure import Point, ServerTarget
from tf_serving_flask_app.bench.server import STOP_S, RunningServer, StartTimeout, mode_environ, start_server
from tf_serving_flask_app.errors import ConfigurationError, SessionRefused
from tf_serving_flask_app.tune.budget import Budget
from tf_serving_flask_app.tune.candidates import Candidate, Space
from tf_serving_flask_app.tune.questions import Answer, Questions
from tf_serving_flask_app.tune.spec_copy import Changes, change_spec
from tf_serving_flask_app.tune.state import State
from tf_serving_flask_app.tune.trials import Figures, Final, Pair, Trial, figures_of

ROUNDS = 2
"""Of a trial."""

FINAL_ROUNDS, LEAST_FINAL_ROUNDS = 5, 3

MOST_FINAL_SHARE = 0.5
"""Of the budget."""

CLOSE_S, CLOSE_SHARE = 2.0, 0.3
"""What ending a server is expected to take at least, and as a share of its start."""


class BrokenDefault(ConfigurationError):
    """Requests to the server with the settings as they are failed."""


@dataclass(frozen=True)
class Site:
    """What all servers have in common.

    Attributes:
        text: of the spec.
        model: which of its models is tuned, from 0.
        assets: the folder of the spec's relative paths.
        folder: for files of ours.
        environ: of the servers.
        mode: of ``bench.modes.MODES``.
    """

    text: str
    model: int
    assets: Path
    folder: Path
    environ: Mapping[str, str]
    mode: str

    @contextmanager
    def serve(self, name: str, changes: Changes, workers: int, budget: Budget) -> Iterator[RunningServer]:
        """Start a server for the length of a block; it may not be ready yet.

        Args:
            name: of its spec.
            changes: in its spec.
            workers: its processes.
            budget: what stopping it may take.
        """
        spec = self.folder / f"{name}.spec"
        spec.write_text(change_spec(self.text, self.model, changes), encoding="utf-8")
        server = start_server(spec, self.assets, mode_environ(self.environ, self.mode, workers))
        try:
            yield server
        finally:
            server.close(min(STOP_S, max(1.0, budget.left)))


@dataclass
class Lab:
    """Measures candidates as long as there is time.

    Attributes:
        site: where and how they are served.
        space: the default, and how others differ from it.
        server: serves the default.
        client: the load generator's process.
        requests: what it sends.
        concurrency: how many at once.
        questions: for what they answer.
        reference: float32's answers.
        seconds: of each measurement.
        measure_s: how long each takes in all.
        start_s: how long the default's server took to be ready.
        ask_s: how long the questions took.
        state: where results are kept.
        budget: the time.
        on_step: called with what is done next.
    """

    site: Site
    space: Space
    server: RunningServer
    client: Helper[Load, Answers]
    requests: tuple[bytes, ...]
    concurrency: int
    questions: Questions
    reference: Sequence[Answer]
    seconds: float
    measure_s: float
    start_s: float
    ask_s: float
    state: State
    budget: Budget
    on_step: Callable[[str], None]

    def trial(self, candidate: Candidate, *, final_to_come: bool) -> Trial | None:
        """Serve a candidate and measure it, unless its results are known; see ``search.Measurer``."""
        known = self.state.trial(candidate, self.seconds)
        if known is not None:
            return known
        rounds_s = 2 * ROUNDS * self.measure_s
        after_start = self.ask_s + rounds_s + self._close_s + (self._final_s if final_to_come else 0.0)
        if self.budget.left < self.start_s + after_start:
            return None
        self.on_step(str(candidate))
        try:
            with self._serve(candidate) as server:
                # A start that takes long, as XLA's may, gets half of the time that all others would have.
                patience_s = self.start_s + (self.budget.left - after_start - self.start_s) / 2
                server.wait_ready(patience_s=patience_s)
                answers = self.questions.ask(server.address, self.budget.left - rounds_s - self._close_s)
                if answers is None:
                    return None
                agreement = self.questions.compare(self.reference, answers)
                trial = Trial(candidate, self.seconds, self._pairs(candidate, server), agreement)
        except StartTimeout:
            return None
        except ConfigurationError as exc:
            self.server.check_running()
            reason = _reason(exc)
            if not SessionRefused.is_told_by(reason):
                return Trial(candidate, failed=reason)
            trial = Trial(candidate, refused=reason)
        if not _failures([own for _, own in trial.pairs]):
            self.state.keep(trial)
        return trial

    def final(self, finalists: Sequence[Candidate]) -> tuple[Final | None, Mapping[Candidate, str]]:
        """Measure the best candidates once more, for longer; see ``search.Measurer``."""
        known = self.state.final(finalists, self.seconds)
        if known is not None:
            return known, {}
        least_s = LEAST_FINAL_ROUNDS * self._round_s(finalists) + self._close_s
        if self.budget.left < len(finalists) * self.start_s + least_s:
            return None, {}
        self.on_step("the best once more")
        failed: dict[Candidate, str] = {}
        rounds: list[list[Figures]] = []
        with ExitStack() as stack:
            targets = {self.space.default: self._target("default", self.server)}
            for candidate in finalists:
                server = stack.enter_context(self._serve(candidate))
                try:
                    server.wait_ready(patience_s=max(1.0, self.budget.left - least_s))
                except StartTimeout:
                    return None, failed
                except ConfigurationError as exc:
                    failed[candidate] = _reason(exc)
                else:
                    targets[candidate] = self._target(str(candidate), server)
            _, *served = targets
            for number in range(FINAL_ROUNDS if served else 0):
                if self.budget.left < self._round_s(served) + self._close_s:
                    break
                try:
                    rounds.append(self._round(list(targets.values()), number))
                except BrokenDefault as exc:  # a round with nothing to compare with
                    self.server.check_running()
                    failed[self.space.default] = str(exc)
        final = Final(self.seconds, served, rounds)
        if len(rounds) == FINAL_ROUNDS and not failed and not any(map(_failures, rounds)):
            self.state.keep_final(final)
        return final if len(rounds) >= LEAST_FINAL_ROUNDS else None, failed

    @property
    def _close_s(self) -> float:
        """What ending a server is expected to take, on a machine where its start took so long."""
        return max(CLOSE_S, self.start_s * CLOSE_SHARE)

    @property
    def _final_s(self) -> float:
        """What a trial leaves for the final; nothing, where that would leave too little for trials."""
        final_s = 2 * self.start_s + LEAST_FINAL_ROUNDS * 3 * self.measure_s + 2 * self._close_s
        return final_s if final_s < MOST_FINAL_SHARE * self.budget.seconds else 0.0

    def _serve(self, candidate: Candidate) -> AbstractContextManager[RunningServer]:
        changes = self.space.spec_changes(candidate)
        return self.site.serve(str(candidate), changes, candidate.workers, self.budget)

    def _round_s(self, finalists: Sequence[Candidate]) -> float:
        return (1 + len(finalists)) * self.measure_s

    def _target(self, name: str, server: RunningServer) -> ServerTarget:
        patience_s = min(PATIENCE_S, max(1.0, self.budget.left - self._close_s))
        return ServerTarget(name, server, self.requests, self.client, patience_s=patience_s)

    def _pairs(self, candidate: Candidate, server: RunningServer) -> list[Pair]:
        targets = [self._target("default", self.server), self._target(str(candidate), server)]
        rounds = [self._round(targets, number) for number in range(ROUNDS)]
        return [(default, own) for default, own in rounds]

    def _round(self, targets: Sequence[ServerTarget], number: int) -> list[Figures]:
        """Measure each once, every other round in the opposite order."""
        self.on_step(targets[-1].name)
        order = list(reversed(targets)) if number % 2 else list(targets)
        figures = [figures_of(target.measure(Point(self.concurrency), self.seconds)) for target in order]
        figures = list(reversed(figures)) if number % 2 else figures
        if figures[0].failures:
            raise BrokenDefault(f"With the settings as they are, requests fail: {', '.join(figures[0].failures)}.")
        return figures


def _failures(figures: Sequence[Figures]) -> bool:
    """Whether requests failed, which they may not do another time: then the figures are not kept."""
    return any(each.failures for each in figures)


def _reason(exc: ConfigurationError) -> str:
    """The last line: the reason, below what led to it."""
    return str(exc).splitlines()[-1]
