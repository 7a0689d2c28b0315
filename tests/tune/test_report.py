"""The table, what is said below it, and the JSON."""

from __future__ import annotations

import json
from dataclasses import replace

from tests.tune.conftest import DEFAULT, MIB, pairs, trial
from tf_serving_flask_app.bench.machine import Machine
from tf_serving_flask_app.tune.agreement import Agreement
from tf_serving_flask_app.tune.candidates import Space
from tf_serving_flask_app.tune.report import Report, environment
from tf_serving_flask_app.tune.search import Found
from tf_serving_flask_app.tune.trials import Figures, Final, Trial

ONE = replace(DEFAULT, workers=1)
LOSSY = replace(DEFAULT, precision="bfloat16")
XLA = replace(DEFAULT, xla=True)


def report(space: Space, *, final: bool = True) -> Report:
    found = Found(Trial(DEFAULT, agreement=Agreement(1.0, 0.0, 64)), 0.99)
    found.trials = [
        trial(ONE, 1.4, 1.4),
        replace(trial(LOSSY, 3.0, 3.0), agreement=Agreement(0.9, float("inf"), 64, "a note")),
        Trial(XLA, refused="no XLA here"),
    ]
    found.trials.append(replace(trial(replace(ONE, max_batch_size=4), 1.5, 1.5), failed="no luck"))
    found.untried = [replace(DEFAULT, max_batch_size=1)]
    if final:
        found.final = Final(1.0, [ONE], [list(pairs([1.5])[0])] * 5)
    baseline = Figures(100.0, 0.02, 400 * MIB)
    return Report(Machine("Some Processor", 2, {}), {"spec": "a.spec"}, space, found, baseline, "./run.sh -s a.spec")


def test_the_table_has_a_row_for_each_candidate_and_the_finals_figures(space: Space) -> None:
    _, rows, _, advice = report(space).as_text().split("\n\n")[:4]

    assert [line.split() for line in rows.splitlines()[1:3]] == [
        ["2", "x", "1", "1", "float32", "no", "8", "100.0", "20.0", "400", "1", "0", "as", "it", "is"],
        ["1", "x", "1", "1", "float32", "no", "8", "150.0", "1.50", "20.0", "1.00", "300", "1", "0.001", "advised"],
    ]
    assert rows.splitlines()[3].endswith("  agreement 0.9000, below 0.99")
    assert rows.splitlines()[4].endswith("  refused")
    assert rows.splitlines()[5].endswith("  failed")
    assert advice.startswith("Advice: 1 x 1, float32, batch 8\n1.50 times the default's requests a second")


def test_what_was_refused_not_tried_or_is_unsure_is_told(space: Space) -> None:
    text = report(space, final=False).as_text()

    assert "Refused: 2 x 1, float32, xla, batch 8: no XLA here" in text
    assert "Failed: 1 x 1, float32, batch 4: no luck" in text
    assert "Agreement: a note." in text
    assert "goes on from here:\n  2 x 1, float32, batch 1" in text
    assert "a larger --budget makes the advice surer" in text
    assert "surer" not in report(space).as_text()


def test_an_agreement_that_nothing_tells_is_called_unknown(space: Space) -> None:
    whole = report(space)
    whole.found.default = Trial(DEFAULT)
    whole.found.trials = [Trial(ONE, 1.0, pairs([1.4, 1.4])), Trial(LOSSY, 1.0, pairs([3.0, 3.0]))]
    _, rows, notes, advice = whole.as_text().split("\n\n")[:4]

    assert [row.split("unknown", 1)[1].split() for row in rows.splitlines()[1:]] == [
        ["as", "it", "is"],
        ["advised"],
        ["agreement", "unknown"],
    ]
    assert notes.startswith("Agreement: unknown, as float32's answers hold no object, or no element, to compare")
    assert advice.startswith("Advice: 1 x 1, float32, batch 8")


def test_the_lines_to_write_into_the_spec_are_shown(space: Space) -> None:
    assert report(space).as_text().endswith("In the spec: session: {intra_op_threads: 1}\nServe it: ./run.sh -s a.spec")


def test_workers_are_left_unsaid_only_where_they_are_the_same_without_a_word(space: Space) -> None:
    three = replace(space, default=replace(DEFAULT, workers=3))
    alone = replace(space, several_workers=False, default=ONE)

    assert environment(space, DEFAULT) == {}
    assert environment(three, three.default) == {"WEB_CONCURRENCY": "3"}
    assert environment(three, DEFAULT) == {"WEB_CONCURRENCY": "2"}
    assert environment(alone, ONE) == {}


def test_the_json_has_every_figure_and_is_json(space: Space) -> None:
    found = json.loads(json.dumps(report(space).as_json(), allow_nan=False))

    assert found["default"]["requests_per_s"] == 100.0
    first, second, third, fourth = found["tried"]
    assert (first["ratio_to_default"], first["rounds"], first["objection"]) == (1.5, 5, None)
    assert (second["agreement"], second["largest_difference"], second["note"]) == (0.9, None, "a note")
    assert (third["refused"], third["requests_per_s"], third["objection"]) == ("no XLA here", None, "refused")
    assert (fourth["failed"], fourth["ratio_to_default"], fourth["objection"]) == ("no luck", 1.5, "failed")
    assert found["not_tried"][0]["max_batch_size"] == 1
    assert found["advice"]["environment"] == {"WEB_CONCURRENCY": "1"}
    assert found["advice"]["spec"] == {"session": {"intra_op_threads": 1}}
    assert found["advice"]["changed"] is True
