"""A copy of a spec keeps all but what is changed."""

from __future__ import annotations

import json

import pytest
import yaml

from tf_serving_flask_app.tune.spec_copy import Changes, change_spec

SPEC = """\
# what we serve
models:
  - name: first   # the old one
    backend: frozen_graph
    path: first.pb  # from the archive
    labels: [a, b]

  - name: second
    backend: saved_model
    path: second
    session:
      precision: float32  # for now
      xla: false
    image: {scale: unit}
"""


def test_a_missing_section_is_added_behind_the_path() -> None:
    changed = change_spec(SPEC, 0, {"session": {"precision": "bfloat16", "intra_op_threads": 2}})

    assert changed == SPEC.replace(
        "from the archive\n", "from the archive\n    session: {precision: bfloat16, intra_op_threads: 2}\n"
    )


def test_keys_of_a_section_are_replaced_or_added_and_comments_stay() -> None:
    changed = change_spec(SPEC, 1, {"session": {"precision": "bfloat16", "xla": True, "inter_op_threads": 2}})

    assert changed == SPEC.replace("precision: float32  # for now", "precision: bfloat16  # for now").replace(
        "xla: false", "xla: true\n      inter_op_threads: 2"
    )


def test_both_sections_at_once() -> None:
    changed = change_spec(SPEC, 1, {"session": {"xla": True}, "batching": {"max_batch_size": 4}})

    assert "    path: second\n    batching: {max_batch_size: 4}\n    session:\n" in changed
    assert yaml.safe_load(changed)["models"][1]["session"] == {"precision": "float32", "xla": True}


@pytest.mark.parametrize(
    ("model", "becomes"),
    [
        ("{name: m, backend: keras, path: m.keras}", "path: m.keras, session: {xla: true}}"),
        ("{name: m, backend: keras, path: p, session: {precision: float32}}", "{precision: float32, xla: true}}"),
        ("{name: m, backend: keras, path: p, session: {}}", "session: {xla: true}}"),
    ],
)
def test_a_model_in_braces_is_changed_in_them(model: str, becomes: str) -> None:
    assert change_spec(f"models: [{model}]", 0, {"session": {"xla": True}}).endswith(becomes + "]")


def test_json_stays_json() -> None:
    text = json.dumps({"models": [{"name": "m", "backend": "keras", "path": "m", "session": {"precision": "float32"}}]})
    changed = json.loads(
        change_spec(text, 0, {"session": {"precision": "bfloat16", "xla": True}, "batching": {"max_batch_size": 2}})
    )

    assert changed["models"][0]["session"] == {"precision": "bfloat16", "xla": True}
    assert changed["models"][0]["batching"] == {"max_batch_size": 2}


def test_a_section_that_two_models_share_is_changed_for_one_of_them() -> None:
    text = """\
models:
  - {name: a, backend: keras, path: a, session: &fast {inter_op_threads: 2}}
  - {name: b, backend: keras, path: b, session: *fast}
"""
    first, second = yaml.safe_load(change_spec(text, 1, {"session": {"inter_op_threads": 3}}))["models"]

    assert (first["session"], second["session"]) == ({"inter_op_threads": 2}, {"inter_op_threads": 3})


def test_a_model_that_takes_its_keys_from_another_is_changed_alone() -> None:
    text = """\
models:
  - &base {name: a, backend: keras, path: a}
  - <<: *base
    name: b
"""
    first, second = yaml.safe_load(change_spec(text, 1, {"session": {"xla": True}}))["models"]

    assert first == {"name": "a", "backend": "keras", "path": "a"}
    assert second == {**first, "name": "b", "session": {"xla": True}}


def test_a_spec_without_a_last_newline_is_changed_too() -> None:
    text = "models:\n  - name: m\n    backend: keras\n    path: m"

    assert change_spec(text, 0, {"session": {"xla": True}}) == text + "\n    session: {xla: true}"


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("note", ["", "Tuned.\nServe it"])
def test_ends_of_lines_are_kept(number: int, note: str) -> None:
    changes: Changes = {"session": {"precision": "bfloat16", "inter_op_threads": 2}, "batching": {"max_batch_size": 4}}
    changed = change_spec(SPEC.replace("\n", "\r\n"), number, changes, note)

    assert changed == change_spec(SPEC, number, changes, note).replace("\n", "\r\n")


def test_ends_of_lines_are_kept_where_the_whole_is_written_anew() -> None:
    text = """\
models:
  - {name: a, backend: keras, path: a, session: &fast {inter_op_threads: 2}}
  - {name: b, backend: keras, path: b, session: *fast}
"""
    changes = {"session": {"inter_op_threads": 3}}
    changed = change_spec(text.replace("\n", "\r\n"), 1, changes)

    assert changed == change_spec(text, 1, changes).replace("\n", "\r\n")


@pytest.mark.parametrize("note", ["", "Tuned."])
def test_a_byte_order_mark_stays_at_the_head(note: str) -> None:
    changes = {"session": {"xla": True}}

    assert change_spec("\ufeff" + SPEC, 0, changes, note) == "\ufeff" + change_spec(SPEC, 0, changes, note)


def test_without_changes_the_copy_is_the_spec_under_its_note() -> None:
    assert change_spec(SPEC, 0, {}, "Tuned.\nServe it with WEB_CONCURRENCY=1") == (
        "# Tuned.\n# Serve it with WEB_CONCURRENCY=1\n" + SPEC
    )
