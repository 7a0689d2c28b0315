"""A plot of latency against load."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from tf_serving_flask_app.bench.measure import Result
from tf_serving_flask_app.bench.report import Report
from tf_serving_flask_app.errors import ConfigurationError

FORMATS = (".png", ".svg")


def check_plot(file: Path) -> None:
    """Find what is wrong with a plot before anything is measured for it.

    Raises:
        ConfigurationError: the file cannot be written, or what draws it is missing.
    """
    if file.suffix.lower() not in FORMATS:
        raise ConfigurationError(f"{file}: a plot is a {' or a '.join(FORMATS)} file; name it so.")
    if not file.absolute().parent.is_dir():
        raise ConfigurationError(f"{file}: there is no folder {file.absolute().parent}; make it first.")
    if not os.access(file if file.exists() else file.absolute().parent, os.W_OK):
        raise ConfigurationError(f"{file}: it cannot be written; name another file.")
    if find_spec("matplotlib") is None:
        raise ConfigurationError(
            "A plot needs matplotlib, which is not installed:"
            " .venv/bin/pip install -c config/constraints.txt matplotlib"
        )


def write_plot(report: Report, file: Path) -> None:
    """Draw p50 and p99 of each server over its requests a second, and each ceiling's as a line at its rate."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5.5), layout="constrained")
    axes = figure.add_subplot(xlabel="requests a second", ylabel="latency, ms", yscale="log", title=_title(report))
    names = dict.fromkeys(result.name for result in report.results)
    for number, name in enumerate(names):
        results = [result for result in report.results if result.name == name and result.sample.p50_s is not None]
        if not results:
            continue
        color = f"C{number}"
        if all(result.ceiling is None and result.point.share is None for result in results):
            best = max(result.sample.rate for result in results)
            axes.axvline(best, color=color, linestyle=":", label=name)
            continue
        closed = [result for result in results if result.point.share is None]
        rates = [result.sample.rate for result in closed]
        axes.plot(rates, _milliseconds(closed, 50), color=color, marker="o", label=f"{name}, p50")
        axes.plot(rates, _milliseconds(closed, 99), color=color, marker="^", linestyle="--", label=f"{name}, p99")
        for result, rate in zip(closed, rates, strict=True):
            above = (result.sample.p99_s or 0.0) * 1e3
            axes.annotate(str(result.point.concurrency), (rate, above), (4, 4), textcoords="offset points")
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    figure.savefig(file)


def _title(report: Report) -> str:
    return f"{report.settings['model']}: {report.settings['requests']}\n{report.machine.processor}"


def _milliseconds(results: list[Result], percentile: int) -> list[float]:
    return [((each.sample.p50_s if percentile == 50 else each.sample.p99_s) or 0.0) * 1e3 for each in results]
