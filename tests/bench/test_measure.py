"""The rounds: their order, their medians, their ratios."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tf_serving_flask_app.bench.measure import Point, Sample, measure, median, percentile, warmup_s
from tf_serving_flask_app.bench.usage import Memory


def sample(rate: float, cpu_s: float = 0.01, **fields: object) -> Sample:
    return Sample(rate, **{"p50_s": 0.1, "p99_s": 0.2, "cpu_s": cpu_s, "memory": Memory(10, 20), **fields})  # type: ignore[arg-type]


class Scripted:
    """A target that gives samples made before, and notes when it was asked."""

    def __init__(self, name: str, samples: list[Sample], asked: list[str], ceiling: str | None = None) -> None:
        self.name = name
        self.ceiling = ceiling
        self._samples: Iterator[Sample] = iter(samples)
        self._asked = asked
        self.points: list[Point] = []

    def measure(self, point: Point, seconds: float) -> Sample:
        self._asked.append(self.name)
        self.points.append(point)
        return next(self._samples)


def test_rounds_alternate_and_ratios_are_those_of_single_rounds() -> None:
    asked: list[str] = []
    server = Scripted("server", [sample(80, 0.02), sample(40, 0.03), sample(9, 0.02)], asked, "bare")
    bare = Scripted("bare", [sample(100), sample(50), sample(10)], asked)
    steps = [(server, Point(8)), (bare, Point(8))]
    ticks: list[int] = []
    of_server, of_bare = measure(steps, 3, 1.0, lambda: ticks.append(1))

    assert asked == ["server", "bare", "bare", "server", "server", "bare"]
    assert len(ticks) == 6
    assert of_server.sample.rate == 40
    assert of_server.ceiling == pytest.approx(0.8)
    assert of_server.ceiling_cpu == pytest.approx(2.0)
    assert (of_bare.sample.rate, of_bare.ceiling) == (50, None)


def test_a_share_of_the_top_is_of_the_best_rate_in_the_same_round_and_comes_last() -> None:
    asked: list[str] = []
    server = Scripted("server", [sample(80), sample(100), sample(70), sample(60), sample(40), sample(42)], asked)
    steps = [(server, Point(8, share=0.7)), (server, Point(1)), (server, Point(8))]
    ticks: list[int] = []
    moderate, *_ = measure(steps, 2, 1.0, lambda: ticks.append(1))

    assert server.points == [
        *(Point(1), Point(8), Point(8, rate=70.0, share=0.7)),
        *(Point(8), Point(1), Point(8, rate=42.0, share=0.7)),
    ]
    assert moderate.point == Point(8, share=0.7)
    assert moderate.sample.rate == 56
    assert len(ticks) == 6


def test_a_load_that_the_ceiling_has_not_seen_has_no_ratio() -> None:
    server = Scripted("server", [sample(80), sample(56)], [], "bare")
    _, moderate = measure([(server, Point(8)), (server, Point(8, share=0.7))], 1, 1.0, lambda: None)

    assert moderate.ceiling is None


def test_a_server_that_answers_nothing_well_has_no_top_to_take_a_share_of() -> None:
    server = Scripted("server", [sample(0.0, failures={"HTTP 500": 9})], [])
    steps = [(server, Point(8)), (server, Point(8, share=0.7))]

    assert [result.point for result in measure(steps, 1, 1.0, lambda: None)] == [Point(8)]


def test_the_median_is_of_each_figure_and_failures_are_summed() -> None:
    first = sample(1, stages_ms={"decode": 1.0}, failures={"HTTP 503": 1}, memory=Memory(1, 9))
    second = sample(3, p50_s=None, stages_ms={"decode": 3.0, "queue": 4.0}, memory=Memory(3, 7))
    third = sample(2, p50_s=0.3, stages_ms={"decode": 2.0}, failures={"HTTP 503": 2}, memory=Memory(2, 8))
    middle = median([first, second, third])

    assert (middle.rate, middle.p50_s, middle.memory) == (2, 0.2, Memory(2, 8))
    assert middle.stages_ms == {"decode": 2.0, "queue": 0.0}
    assert middle.failures == {"HTTP 503": 3}


def test_without_answers_there_is_no_percentile() -> None:
    assert percentile([], 99) is None
    assert percentile([1.0, 2.0, 3.0], 50) == 2.0
    assert percentile(list(range(101)), 99) == 99.0


def test_the_warm_up_of_a_long_measurement_is_a_second() -> None:
    assert (warmup_s(0.5), warmup_s(60)) == (0.1, 1.0)
