"""What was tried and what is advised, as text and as JSON."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tf_serving_flask_app.bench.machine import Machine
from tf_serving_flask_app.bench.report import MIB, table
from tf_serving_flask_app.tune.advice import share_text
from tf_serving_flask_app.tune.agreement import Agreement
from tf_serving_flask_app.tune.candidates import Candidate, Space
from tf_serving_flask_app.tune.search import Found
from tf_serving_flask_app.tune.trials import Figures, Trial, middle, ratios, slowness

HEADINGS = (
    "workers x threads",
    "inter-op",
    "precision",
    "xla",
    "batch",
    "req/s",
    "of default",
    "p99 ms",
    "of default",
    "PSS MiB",
    "agreement",
    "differs by",
    "",
)


@dataclass(frozen=True)
class Report:
    """A whole search.

    Attributes:
        machine: what it was made on.
        settings: what was tuned, and how: heading -> value.
        space: what there was to choose from.
        found: what came of it.
        baseline: the default's own first figures.
        serve: how to serve what is advised, in a line.
    """

    machine: Machine
    settings: Mapping[str, Any]
    space: Space
    found: Found
    baseline: Figures
    serve: str

    @property
    def _default_figures(self) -> list[Figures]:
        """The default's, of all rounds."""
        pairs = [pair for trial in self.found.trials for pair in self.found.pairs(trial)]
        return [self.baseline, *(default for default, _ in pairs)]

    def as_text(self) -> str:
        """Everything, for people."""
        found = self.found
        parts = [
            "\n".join([str(self.machine), *(f"{name}: {value}" for name, value in self.settings.items())]),
            table([HEADINGS, self._default_row(), *map(self._row, found.trials)]),
            "\n".join(self._notes()),
            "\n".join([f"Advice: {found.advice.candidate}", found.advice.reason, "", *self._settings_lines()]),
        ]
        return "\n\n".join(filter(None, parts))

    def as_json(self) -> dict[str, Any]:
        """Everything, ready for a JSON encoder."""
        advice = self.found.advice
        return {
            "machine": asdict(self.machine),
            "settings": dict(self.settings),
            "default": _trial_json(self.found.default, self._default_figures),
            "tried": [
                {**_trial_json(trial, [own for _, own in self.found.pairs(trial)]), **self._compared(trial)}
                for trial in self.found.trials
            ],
            "not_tried": [asdict(candidate) for candidate in self.found.untried],
            "advice": {
                **asdict(advice.candidate),
                "reason": advice.reason,
                "changed": advice.candidate != self.space.default,
                "spec": self.space.spec_changes(advice.candidate),
                "environment": environment(self.space, advice.candidate),
            },
        }

    def _compared(self, trial: Trial) -> dict[str, Any]:
        pairs = self.found.pairs(trial)
        return {
            "ratio_to_default": statistics.median(ratios(pairs)) if pairs else None,
            "p99_ratio_to_default": _finite(slowness(pairs)) if pairs else None,
            "rounds": len(pairs),
            "refused": trial.refused,
            "failed": trial.failed,
            "objection": self.found.objection(trial),
        }

    def _default_row(self) -> tuple[str, ...]:
        default = self.found.default
        cells = (*_setting_cells(default.candidate), *_figure_cells(self._default_figures, "", ""))
        return (*cells, *_agreement_cells(default.agreement), "as it is")

    def _row(self, trial: Trial) -> tuple[str, ...]:
        pairs = self.found.pairs(trial)
        remark = self.found.objection(trial) or ""
        if trial.candidate == self.found.advice.candidate:
            remark = "advised"
        if not pairs:
            return (*_setting_cells(trial.candidate), "", "", "", "", "", "", "", remark)
        rate, slower = f"{statistics.median(ratios(pairs)):.2f}", f"{slowness(pairs):.2f}"
        cells = (*_setting_cells(trial.candidate), *_figure_cells([own for _, own in pairs], rate, slower))
        return (*cells, *_agreement_cells(trial.agreement), remark)

    def _notes(self) -> list[str]:
        trials = [self.found.default, *self.found.trials]
        lines = [f"Refused: {trial.candidate}: {trial.refused}" for trial in trials if trial.refused is not None]
        lines += [f"Failed: {trial.candidate}: {trial.failed}" for trial in trials if trial.failed is not None]
        known = [trial.agreement for trial in trials if trial.agreement is not None]
        if known:
            lines.append(f"Agreement: with float32 on {known[0].of} answers.")
        else:
            lines.append(
                "Agreement: unknown, as float32's answers hold no object, or no element, to compare, so nothing but"
                " float32 is advised; a detector needs pictures with objects in them, --picture."
            )
        notes = dict.fromkeys(agreement.note for agreement in known if agreement.note)
        lines += [f"Agreement: {note}." for note in notes]
        if any(trial.candidate == self.found.advice.candidate for trial in self.found.trials) and not self.found.final:
            lines.append("The best were not measured once more; a larger --budget makes the advice surer.")
        if self.found.untried:
            lines.append("Not tried, as the budget was spent; the same command goes on from here:")
            lines += [f"  {candidate}" for candidate in self.found.untried]
        return lines

    def _settings_lines(self) -> list[str]:
        changes = self.space.spec_changes(self.found.advice.candidate)
        lines = []
        for section, values in changes.items():
            inside = ", ".join(f"{key}: {str(value).lower()}" for key, value in values.items())
            lines.append(f"In the spec: {section}: {{{inside}}}")
        return [*lines, f"Serve it: {self.serve}"]


def environment(space: Space, candidate: Candidate) -> dict[str, str]:
    """The variables that serve a candidate; none where this environment and one that says nothing do so."""
    if not space.several_workers or candidate.workers == space.default.workers == space.cores:
        return {}
    return {"WEB_CONCURRENCY": str(candidate.workers)}


def _setting_cells(candidate: Candidate) -> tuple[str, ...]:
    return (
        f"{candidate.workers} x {candidate.intra_op_threads}",
        str(candidate.inter_op_threads),
        candidate.precision,
        "yes" if candidate.xla else "no",
        str(candidate.max_batch_size),
    )


def _figure_cells(figures: Sequence[Figures], rate: str, slower: str) -> tuple[str, ...]:
    known = middle(figures)
    p99 = "-" if known.p99_s is None else f"{known.p99_s * 1e3:.1f}"
    return f"{known.rate:.1f}", rate, p99, slower, f"{known.pss / MIB:.0f}"


def _agreement_cells(agreement: Agreement | None) -> tuple[str, str]:
    return ("unknown", "") if agreement is None else (share_text(agreement.share), f"{agreement.difference:.2g}")


def _trial_json(trial: Trial, figures: Sequence[Figures]) -> dict[str, Any]:
    known = middle(figures) if figures else None
    agreement = trial.agreement
    return {
        **asdict(trial.candidate),
        "requests_per_s": known.rate if known else None,
        "p99_ms": None if known is None or known.p99_s is None else known.p99_s * 1e3,
        "pss_bytes": known.pss if known else None,
        "failures": dict(known.failures) if known else {},
        "agreement": agreement.share if agreement else None,
        "largest_difference": _finite(agreement.difference) if agreement else None,
        "answers_compared": agreement.of if agreement else None,
        "note": agreement.note if agreement else "",
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
