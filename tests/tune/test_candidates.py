"""What is worth a try, and what of it the spec has to say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from tests.conftest import HALF
from tests.tune.conftest import DEFAULT
from tf_serving_flask_app.cores import usable_cores
from tf_serving_flask_app.settings import Settings
from tf_serving_flask_app.spec import ModelSpec
from tf_serving_flask_app.tune.candidates import STAGES, Candidate, Space, space_of

MakeSpecs = Callable[..., list[ModelSpec]]
GRAPH = {"name": "graph", "backend": "frozen_graph", "path": "model"}


def tried(space: Space) -> list[Candidate]:
    """All that is tried while nothing is better than the default."""
    found = [candidate for stage in STAGES for candidate in stage(space, space.default)]
    return [candidate for candidate in dict.fromkeys(found) if candidate != space.default]


def test_what_promises_most_comes_first(space: Space) -> None:
    assert [str(candidate) for candidate in tried(space)] == [
        "2 x 1, bfloat16, batch 8",
        "1 x 2, float32, batch 8",
        "2 x 2, float32, batch 8",
        "2 x 1, float32, xla, batch 8",
        "2 x 1, float32, batch 1",
        "2 x 1, float32, batch 4",
        "2 x 1, float32, batch 2",
        "4 x 1, float32, batch 8",
        "2 x 1, inter-op 2, float32, batch 8",
    ]


def test_one_process_has_no_workers_to_choose(space: Space) -> None:
    alone = replace(space, several_workers=False, default=replace(DEFAULT, workers=1, intra_op_threads=2))

    assert {candidate.workers for candidate in tried(alone)} == {1}
    assert 4 in {candidate.intra_op_threads for candidate in tried(alone)}


def test_a_model_that_heeds_no_session_is_tried_with_workers_only(space: Space) -> None:
    remote = replace(space, threads=False, compiles=False, batches=False)

    assert [candidate.workers for candidate in tried(remote)] == [1, 4]


def test_no_batch_is_larger_than_the_requests_at_once(space: Space) -> None:
    sizes = {candidate.max_batch_size for candidate in tried(replace(space, concurrency=2))}

    assert sizes == {8, 1, 2}


def test_calls_that_the_server_does_not_join_are_not_tried_joined(make_specs: MakeSpecs) -> None:
    (graph,) = make_specs(GRAPH)
    alone, joined = (space_of(graph, Settings.from_environ({}), 8, rows) for rows in (1, 8))

    assert {candidate.max_batch_size for candidate in tried(alone)} == {1}
    assert {candidate.max_batch_size for candidate in tried(joined)} == {1, 2, 4, 8}


def test_a_default_of_bfloat16_is_tried_in_float32_first(space: Space) -> None:
    fast = replace(DEFAULT, precision="bfloat16", xla=True)

    assert tried(replace(space, default=fast))[0] == DEFAULT


@pytest.mark.parametrize(
    ("settings", "changes"),
    [
        ({}, {}),
        ({"workers": 1, "intra_op_threads": 2}, {}),
        ({"workers": 1}, {"session": {"intra_op_threads": 1}}),
        ({"precision": "bfloat16", "xla": True}, {"session": {"precision": "bfloat16", "xla": True}}),
        ({"max_batch_size": 1}, {"batching": {"max_batch_size": 1}}),
    ],
)
def test_the_spec_changes_where_it_does_not_say_it_already(
    space: Space, settings: Mapping[str, Any], changes: Mapping[str, Any]
) -> None:
    assert space.spec_changes(replace(DEFAULT, **settings)) == changes


def test_threads_that_the_spec_gives_do_not_follow_the_workers(space: Space) -> None:
    given = replace(space, auto_threads=False)

    assert given.spec_changes(replace(DEFAULT, workers=1)) == {}
    assert given.spec_changes(replace(DEFAULT, workers=1, intra_op_threads=2)) == {"session": {"intra_op_threads": 2}}


def test_the_default_is_what_spec_and_environment_say(make_specs: MakeSpecs) -> None:
    session = {"intra_op_threads": 3, "precision": "bfloat16"}
    (graph, half) = make_specs({**GRAPH, "session": session}, HALF)
    settings = Settings.from_environ({"WEB_CONCURRENCY": "3"})
    space = space_of(graph, settings, 8, joined_rows=4)

    assert space.default == Candidate(3, 3, 1, "bfloat16", False, 4)
    assert (space.auto_threads, space.threads, space.compiles) == (False, True, True)
    own = space_of(half, settings, 8, joined_rows=1)
    assert own.default == Candidate(3, max(1, usable_cores() // 3), 1, "float32", False, 1)
    assert (own.auto_threads, own.threads, own.compiles) == (True, False, False)
