"""The rounds: everything measured in turn, again and again, and the medians of it."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from tf_serving_flask_app.bench.ceiling import Ceiling
from tf_serving_flask_app.bench.helper import Helper
from tf_serving_flask_app.bench.load import PATIENCE_S, Answers, Load, send_load
from tf_serving_flask_app.bench.server import RunningServer
from tf_serving_flask_app.bench.stages import mean_stages_ms
from tf_serving_flask_app.bench.usage import Memory, cpu_seconds, memory

WARMUP_SHARE = 0.2
"""Of the measured time, before it."""

MOST_WARMUP_S = 1.0


@dataclass(frozen=True)
class Point:
    """How hard to load.

    Attributes:
        concurrency: requests at once.
        rate: then so many a second, in even steps, over at most that many connections.
        share: of the best rate that the target had before in the same round; ``take_samples`` makes a rate of it. A
            machine whose speed changes is so loaded alike in each round.
    """

    concurrency: int
    rate: float | None = None
    share: float | None = None


@dataclass(frozen=True)
class Sample:
    """One measurement.

    Attributes:
        rate: good answers a second.
        p50_s, p99_s: percentiles of their latency; None where there was none.
        cpu_s: processor time of a request, of what served it.
        memory: held when it was over.
        stages_ms: mean milliseconds of each stage that is known.
        failures: what went wrong -> how often.
        client_cpu_s: processor time of a request, of the load generator.
        offered: requests a second that were sent, where that was given.
    """

    rate: float
    p50_s: float | None
    p99_s: float | None
    cpu_s: float
    memory: Memory
    stages_ms: Mapping[str, float] = field(default_factory=dict)
    failures: Mapping[str, int] = field(default_factory=dict)
    client_cpu_s: float = 0.0
    offered: float | None = None


@dataclass(frozen=True)
class Result:
    """The medians of all rounds.

    Attributes:
        name: of what was measured.
        point: the load.
        ceiling: the share of the ceiling's rate, the median of the rounds' own ratios; None where there is none.
        ceiling_cpu: the processor time of a request over the ceiling's, likewise.
    """

    name: str
    point: Point
    sample: Sample
    ceiling: float | None = None
    ceiling_cpu: float | None = None


class Target(Protocol):
    """Something that can be measured.

    Attributes:
        name: for the table.
        ceiling: the name of the target whose rate is its ceiling, or None.
    """

    name: str
    ceiling: str | None

    def measure(self, point: Point, seconds: float) -> Sample:
        """Load it for so long."""


class ServerTarget:
    """A server under the load of a process of its own.

    Args:
        name: for the table.
        server: any that answers HTTP.
        requests: what to send it, see ``Load``.
        client: the load generator's process, see ``start_client``.
        ceiling: see ``Target``.
        patience_s: see ``Load``.
    """

    def __init__(
        self,
        name: str,
        server: RunningServer,
        requests: tuple[bytes, ...],
        client: Helper[Load, Answers],
        ceiling: str | None = None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self.name = name
        self.ceiling = ceiling
        self._patience_s = patience_s
        self._server = server
        self._requests = requests
        self._client = client

    def measure(self, point: Point, seconds: float) -> Sample:
        """See ``Target``."""
        self._server.take_output()
        cpu = cpu_seconds(self._server.pid)
        warmup = warmup_s(seconds)
        self._client.give(
            Load(self._server.address, self._requests, point.concurrency, seconds, warmup, point.rate, self._patience_s)
        )
        answers = self._client.answer()
        cpu = cpu_seconds(self._server.pid) - cpu
        return Sample(
            len(answers.latencies) / seconds,
            percentile(answers.latencies, 50),
            percentile(answers.latencies, 99),
            cpu / max(1, answers.sent),
            memory(self._server.pid),
            mean_stages_ms(self._server.take_output()),
            answers.failures,
            answers.cpu_s / max(1, answers.sent),
            point.rate,
        )


class CeilingTarget:
    """The model with no server.

    Args:
        name: for the table.
        ceiling: its processes.
        most: calls that may be under way at once.
    """

    def __init__(self, name: str, ceiling: Ceiling, most: int) -> None:
        self.name = name
        self.ceiling: str | None = None
        self._ceiling = ceiling
        self._most = most

    def measure(self, point: Point, seconds: float) -> Sample:
        """See ``Target``."""
        calls = self._ceiling.run(min(point.concurrency, self._most), warmup_s(seconds), seconds)
        made = max(1, calls.made)
        stages = {name: spent / made * 1e3 for name, spent in calls.stages.items()}
        return Sample(
            len(calls.latencies) / seconds,
            percentile(calls.latencies, 50),
            percentile(calls.latencies, 99),
            calls.cpu_s / made,
            self._ceiling.memory(),
            stages,
        )


def start_client() -> Helper[Load, Answers]:
    """Start a process that sends load."""
    client: Helper[Load, Answers] = Helper(_make_sender, name="the load generator")
    client.wait_ready()
    return client


def _make_sender() -> Callable[[Load], Answers]:
    return send_load


def measure(
    steps: Sequence[tuple[Target, Point]], rounds: int, seconds: float, on_step: Callable[[], object]
) -> list[Result]:
    """Take samples, and of them the medians and the shares of the ceilings; the arguments are ``take_samples``'s.

    Steps of which there is no sample have no result.
    """
    samples = take_samples(steps, rounds, seconds, on_step)
    results = []
    for target, point in steps:
        own, ceilings = samples[target.name, point], samples.get((target.ceiling or "", point), [])
        if not own:
            continue
        rate, cpu = rate_ratio(own, ceilings), cpu_ratio(own, ceilings)
        results.append(Result(target.name, point, median(own), rate, cpu))
    return results


def take_samples(
    steps: Sequence[tuple[Target, Point]], rounds: int, seconds: float, on_step: Callable[[], object]
) -> dict[tuple[str, Point], list[Sample]]:
    """Measure everything once a round, every other round in the opposite order; shares of a top rate after the rest.

    Args:
        steps: what to measure, and under which load.
        rounds: how often.
        seconds: of each measurement.
        on_step: called after each.

    Returns:
        The samples of each target's name and load, one a round; none of a share of nothing.
    """
    samples: dict[tuple[str, Point], list[Sample]] = {(target.name, point): [] for target, point in steps}
    for number in range(rounds):
        tops: dict[str, float] = {}
        order = list(reversed(steps) if number % 2 else steps)
        for target, point in sorted(order, key=lambda step: step[1].share is not None):
            top = tops.get(target.name, 0.0)
            if point.share is None:
                sample = target.measure(point, seconds)
                samples[target.name, point].append(sample)
                tops[target.name] = max(top, sample.rate)
            elif top:
                loaded = replace(point, rate=point.share * top)
                samples[target.name, point].append(target.measure(loaded, seconds))
            on_step()
    return samples


def rate_ratio(samples: Sequence[Sample], base: Sequence[Sample]) -> float | None:
    """The median of the ratios of one round each: what slows the machine down, slows both. None without any."""
    pairs = zip(samples, base, strict=False)
    return _median_of_known(sample.rate / other.rate for sample, other in pairs if other.rate)


def cpu_ratio(samples: Sequence[Sample], base: Sequence[Sample]) -> float | None:
    """The same of the processor time of a request."""
    pairs = zip(samples, base, strict=False)
    return _median_of_known(sample.cpu_s / other.cpu_s for sample, other in pairs if other.rate)


def median(samples: Sequence[Sample]) -> Sample:
    """The median of each figure of several samples; failures are summed."""
    failures: Counter[str] = Counter()
    for sample in samples:
        failures.update(sample.failures)
    stages = dict.fromkeys(name for sample in samples for name in sample.stages_ms)
    return Sample(
        statistics.median(sample.rate for sample in samples),
        _median_of_known(sample.p50_s for sample in samples),
        _median_of_known(sample.p99_s for sample in samples),
        statistics.median(sample.cpu_s for sample in samples),
        Memory(
            round(statistics.median(sample.memory.pss for sample in samples)),
            round(statistics.median(sample.memory.rss for sample in samples)),
        ),
        {name: statistics.median(sample.stages_ms.get(name, 0.0) for sample in samples) for name in stages},
        failures,
        statistics.median(sample.client_cpu_s for sample in samples),
        _median_of_known(sample.offered for sample in samples),
    )


def percentile(latencies: Sequence[float], percent: float) -> float | None:
    """The latency that so many percent are not above; None where there are none."""
    return float(np.percentile(np.asarray(latencies), percent)) if latencies else None


def warmup_s(seconds: float) -> float:
    """How long to load before the time that counts."""
    return min(MOST_WARMUP_S, seconds * WARMUP_SHARE)


def _median_of_known(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None
