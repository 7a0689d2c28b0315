"""What comes before the search: the settings as they are, served; how fast that is, and float32's answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from tf_serving_flask_app.bench.command import describe
from tf_serving_flask_app.bench.measure import Point, ServerTarget, start_client
from tf_serving_flask_app.bench.server import RunningServer, StartTimeout
from tf_serving_flask_app.bench.work import choose_protocol, picture_work, tensor_work
from tf_serving_flask_app.errors import ConfigurationError
from tf_serving_flask_app.settings import Settings
from tf_serving_flask_app.spec import ModelSpec
from tf_serving_flask_app.tune.budget import Budget
from tf_serving_flask_app.tune.candidates import Space, space_of
from tf_serving_flask_app.tune.lab import Lab, Site
from tf_serving_flask_app.tune.questions import Answer, Questions, picture_questions, tensor_questions
from tf_serving_flask_app.tune.state import State
from tf_serving_flask_app.tune.trials import Figures, Trial, figures_of

MOST_QUESTIONS, LEAST_QUESTIONS = 64, 16

ASK_SHARE = 1 / 60
"""Of the budget: what the questions to one candidate may take, if there are more than the least."""

MEASURE_SHARE = 1 / 150
"""Of the budget: a measurement's seconds."""

LEAST_MEASURE_S, MOST_MEASURE_S = 0.2, 2.0

SLOW_MEASURE_SHARE = 1 / 60
"""The same of a model that is so slow that there are few answers in them."""

ENOUGH_ANSWERS = 100


@dataclass(frozen=True)
class Subject:
    """What is tuned, and under which load.

    Attributes:
        model: as its spec has it.
        settings: of the environment.
        pictures: files to send; none: drawn ones.
        concurrency: requests at once.
    """

    model: ModelSpec
    settings: Settings
    pictures: Sequence[Path]
    concurrency: int


@dataclass(frozen=True)
class Prepared:
    """What the search begins with.

    Attributes:
        lab: measures.
        default: the settings as they are, and their agreement with float32.
        figures: the default's, measured alone.
        what: is sent, in words.
    """

    lab: Lab
    default: Trial
    figures: Figures
    what: str


def prepare(
    stack: ExitStack, subject: Subject, site: Site, state: State, budget: Budget, on_step: Callable[[str], None]
) -> Prepared:
    """Serve the settings as they are and measure what all else is compared with.

    Args:
        stack: ends what is started.
        subject: what is tuned.
        site: where it is served.
        state: where results are kept.
        budget: the time.
        on_step: called with what is done next.

    Raises:
        ConfigurationError: they cannot be served or measured within the budget; the text says why.
    """
    model, workers = subject.model, subject.settings.processes
    on_step("the settings as they are")
    client = stack.enter_context(closing(start_client()))
    server = stack.enter_context(site.serve("default", {}, workers, budget))
    start_s = _wait_ready(server, budget)
    metadata = describe(server, model.name)
    joined_rows = int(metadata["properties"]["joined_rows"])
    space = space_of(model, subject.settings, subject.concurrency, joined_rows)
    pictures = choose_protocol(model, "auto") == "image"
    work = picture_work(model, subject.pictures) if pictures else tensor_work(model.name, "v2", metadata["inputs"])
    target = ServerTarget("default", server, work.requests, client, patience_s=max(1.0, budget.left))
    point = Point(subject.concurrency)
    least_s = min(MOST_MEASURE_S, max(LEAST_MEASURE_S, budget.seconds * MEASURE_SHARE))
    rate = figures_of(target.measure(point, least_s)).rate
    seconds = max(least_s, min(budget.seconds * SLOW_MEASURE_SHARE, ENOUGH_ANSWERS / rate)) if rate else least_s
    began = time.monotonic()
    figures = figures_of(target.measure(point, seconds))
    measure_s = time.monotonic() - began
    if figures.failures or not figures.rate:
        failures = ", ".join(f"{count} x {reason}" for reason, count in figures.failures.items()) or "none is answered"
        raise ConfigurationError(f"With the settings as they are, requests fail: {failures}.\n{server.tail()}")
    count = min(MOST_QUESTIONS, max(LEAST_QUESTIONS, round(figures.rate * budget.seconds * ASK_SHARE)))
    if pictures:
        given = [file.read_bytes() for file in subject.pictures]
        outputs = [output["name"] for output in metadata["outputs"]]
        questions = picture_questions(model, subject.settings, outputs, given, count)
    else:
        questions = tensor_questions(model.name, metadata["inputs"], count)
    began = time.monotonic()
    answers = _ask(questions, server, budget)
    ask_s = time.monotonic() - began
    reference = answers if space.default.exact == space.default else _exact_answers(site, space, questions, budget)
    default = Trial(space.default, agreement=questions.compare(reference, answers))
    lab = Lab(
        site=site,
        space=space,
        server=server,
        client=client,
        requests=work.requests,
        concurrency=subject.concurrency,
        questions=questions,
        reference=reference,
        seconds=seconds,
        measure_s=measure_s,
        start_s=start_s,
        ask_s=ask_s,
        state=state,
        budget=budget,
        on_step=on_step,
    )
    return Prepared(lab, default, figures, work.what)


def _wait_ready(server: RunningServer, budget: Budget) -> float:
    """Wait until the default is served; how long that took."""
    began = time.monotonic()
    try:
        server.wait_ready(patience_s=max(1.0, budget.left))
    except StartTimeout as exc:
        raise ConfigurationError(f"{exc}\nThe budget is too small for this model; give more, --budget.") from exc
    return time.monotonic() - began


def _ask(questions: Questions, server: RunningServer, budget: Budget) -> list[Answer]:
    answers = questions.ask(server.address, max(1.0, budget.left))
    if answers is None:
        raise ConfigurationError(
            f"{len(questions.requests)} requests are not answered within the budget; give more, --budget."
        )
    return answers


def _exact_answers(site: Site, space: Space, questions: Questions, budget: Budget) -> list[Answer]:
    """What float32 answers, where the spec says something else."""
    exact = space.default.exact
    with site.serve("exact", space.spec_changes(exact), exact.workers, budget) as server:
        _wait_ready(server, budget)
        return _ask(questions, server, budget)
