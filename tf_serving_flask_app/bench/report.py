"""What was measured, as tables and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tf_serving_flask_app.bench.machine import Machine
from tf_serving_flask_app.bench.measure import Result
from tf_serving_flask_app.bench.stages import REST

MIB = 1 << 20
HEADINGS = ("", "at once", "req/s", "p50 ms", "p99 ms", "CPU ms/req", "PSS MiB", "RSS MiB", "of ceiling", "CPU/ceiling")


@dataclass(frozen=True)
class Report:
    """A whole measurement.

    Attributes:
        machine: what it was made on.
        settings: what was measured, and how: heading -> value.
        results: the medians.
    """

    machine: Machine
    settings: dict[str, Any]
    results: Sequence[Result]

    @property
    def failures(self) -> list[str]:
        """A line for each kind of request that failed."""
        return [
            f"{result.name}, {load_text(result)}: {count} x {reason}"
            for result in self.results
            for reason, count in result.sample.failures.items()
        ]

    def as_json(self) -> dict[str, Any]:
        """Everything, ready for a JSON encoder."""
        return {
            "machine": asdict(self.machine),
            "settings": self.settings,
            "results": [_as_json(result) for result in self.results],
        }

    def as_text(self) -> str:
        """Everything, as tables for people."""
        settings = [f"{name}: {value}" for name, value in self.settings.items()]
        parts = [
            "\n".join([str(self.machine), *settings]),
            table([HEADINGS, *map(_row, self.results)]),
            f"A request's mean milliseconds in each stage\n{table(_stage_rows(self.results))}",
        ]
        if self.failures:
            parts.append("\n".join(["Failed requests:", *self.failures]))
        return "\n\n".join(parts)


def load_text(result: Result) -> str:
    """How hard it was loaded, in a word."""
    return str(result.point.concurrency) if result.point.share is None else f"{result.point.share:.0%} of top"


def table(rows: Iterable[Sequence[str]]) -> str:
    """Align cells in columns: the first to the left, the others to the right."""
    cells = list(rows)
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in cells
    ]
    return "\n".join(line.rstrip() for line in lines)


def _row(result: Result) -> tuple[str, ...]:
    sample = result.sample
    return (
        result.name,
        load_text(result),
        f"{sample.rate:.1f}",
        _milliseconds(sample.p50_s),
        _milliseconds(sample.p99_s),
        f"{sample.cpu_s * 1e3:.2f}",
        f"{sample.memory.pss / MIB:.0f}",
        f"{sample.memory.rss / MIB:.0f}",
        *("" if ratio is None else f"{ratio:.3f}" for ratio in (result.ceiling, result.ceiling_cpu)),
    )


def _stage_rows(results: Sequence[Result]) -> list[tuple[str, ...]]:
    found = dict.fromkeys(name for each in results for name in each.sample.stages_ms)
    known = sorted(found, key=lambda name: name == REST)
    rows = [("", "at once", *known, "client sees, p50")]
    for result in results:
        spent = [result.sample.stages_ms.get(name) for name in known]
        cells = ["" if cell is None else f"{cell:.2f}" for cell in spent]
        rows.append((result.name, load_text(result), *cells, _milliseconds(result.sample.p50_s)))
    return rows


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1e3:.2f}"


def _as_json(result: Result) -> dict[str, Any]:
    sample = result.sample
    return {
        "name": result.name,
        "concurrency": result.point.concurrency,
        "offered_per_s": sample.offered,
        "requests_per_s": sample.rate,
        "p50_ms": None if sample.p50_s is None else sample.p50_s * 1e3,
        "p99_ms": None if sample.p99_s is None else sample.p99_s * 1e3,
        "cpu_ms_per_request": sample.cpu_s * 1e3,
        "pss_bytes": sample.memory.pss,
        "rss_bytes": sample.memory.rss,
        "ratio_to_ceiling": result.ceiling,
        "cpu_ratio_to_ceiling": result.ceiling_cpu,
        "stages_ms": dict(sample.stages_ms),
        "client_cpu_ms_per_request": sample.client_cpu_s * 1e3,
        "failures": dict(sample.failures),
    }
