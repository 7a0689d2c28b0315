"""What was found, as one table and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tf_serving_flask_app.bench.measure import Sample, median, rate_ratio
from tf_serving_flask_app.bench.report import MIB, table

OURS = "tf_serving_flask_app"
HEADINGS = ("", "workers x threads", "req/s", "p50 ms", "p99 ms", "CPU ms/req", "PSS MiB", "ours / it", "share")


@dataclass(frozen=True)
class Row:
    """One server at one work, the medians of all rounds.

    Attributes:
        server: its name.
        setup: how it was run.
        rate: good answers a second.
        p50_ms, p99_ms: percentiles of their latency; None where there was none.
        cpu_ms: processor time of a request.
        pss_mib: memory; what its processes share is counted once.
        ours: our rate over this one, the median of the rounds' ratios; None where it was not measured with ours.
        share: this rate over the yardstick's, likewise.
        failures: what went wrong -> how often.
    """

    server: str
    setup: str
    rate: float
    p50_ms: float | None
    p99_ms: float | None
    cpu_ms: float
    pss_mib: float
    ours: float | None
    share: float | None
    failures: Mapping[str, int]

    def cells(self) -> tuple[str, ...]:
        """For the table."""
        return (
            f"  {self.server}",
            self.setup,
            f"{self.rate:.1f}",
            *("-" if latency is None else f"{latency:.2f}" for latency in (self.p50_ms, self.p99_ms)),
            f"{self.cpu_ms:.2f}",
            f"{self.pss_mib:.0f}",
            *("" if ratio is None else f"{ratio:.2f}" for ratio in (self.ours, self.share)),
        )


@dataclass(frozen=True)
class Measured:
    """A part of the table.

    Attributes:
        work: its name on the command line.
        title: what was done.
        requests: what our server was sent.
        how: rounds, seconds and concurrency.
        rows: ours, the yardstick, and each peer in its better set-up.
        tried: each peer in all set-ups, as they were compared before.
    """

    work: str
    title: str
    requests: str
    how: str
    rows: Sequence[Row]
    tried: Sequence[Row]

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Measured:
        """Read what ``as_json`` wrote."""
        rows, tried = ([Row(**row) for row in fields[name]] for name in ("rows", "tried"))
        return cls(fields["work"], fields["title"], fields["requests"], fields["how"], rows, tried)

    @property
    def compared(self) -> tuple[str, frozenset[str]]:
        """Its work, and the servers that were measured at it."""
        return self.work, frozenset(row.server for row in self.rows)

    def as_json(self) -> dict[str, Any]:
        """Ready for a JSON encoder."""
        return asdict(self)


def make_row(
    server: str, setup: str, samples: Sequence[Sample], ours: Sequence[Sample] = (), bare: Sequence[Sample] = ()
) -> Row:
    """Make a row of a server's samples, one a round.

    Args:
        server: its name.
        setup: how it was run.
        samples: its own.
        ours: those of our server in the same rounds.
        bare: those of the yardstick.
    """
    sample = median(samples)
    return Row(
        server,
        setup,
        sample.rate,
        None if sample.p50_s is None else sample.p50_s * 1e3,
        None if sample.p99_s is None else sample.p99_s * 1e3,
        sample.cpu_s * 1e3,
        sample.memory.pss / MIB,
        rate_ratio(ours, samples),
        rate_ratio(samples, bare),
        dict(Counter(sample.failures)),
    )


def merge(former: Iterable[Measured], new: Iterable[Measured]) -> list[Measured]:
    """Put what was measured now beside what was before; of the same work with the same servers, the new counts."""
    found = list(new)
    again = {section.compared for section in found}
    return [*(section for section in former if section.compared not in again), *found]


def as_text(sections: Sequence[Measured], *, tried: bool) -> str:
    """Make the one table, and a line for each kind of request that failed.

    Args:
        sections: its parts.
        tried: with each peer's other set-ups too.
    """
    rows: list[Sequence[str]] = [HEADINGS]
    for section in sections:
        rows.append((f"{section.title} ({section.how})", *[""] * (len(HEADINGS) - 1)))
        rows += [row.cells() for row in section.rows]
        if tried and section.tried:
            rows.append(("  all set-ups, compared beforehand", *[""] * (len(HEADINGS) - 1)))
            rows += [row.cells() for row in section.tried]
    lines = [table(rows)]
    lines += [
        f"{section.title}: {row.server}, {row.setup}: {count} x {reason}"
        for section in sections
        for row in [*section.rows, *section.tried]
        for reason, count in row.failures.items()
    ]
    return "\n".join(lines)
