"""What the command refuses before it starts anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import HALF, WriteSpec
from tf_serving_flask_app.errors import ConfigurationError
from tf_serving_flask_app.spec_file import load_spec
from tf_serving_flask_app.tune.command import Plan, code_path, copy_path, run_tune, serving_command


def plan(spec: Path, **options: Any) -> Plan:
    """A plan with these options."""
    defaults: dict[str, Any] = {
        "assets": None,
        "model": None,
        "budget": 10.0,
        "concurrency": 8,
        "min_agreement": 0.99,
        "pictures": [],
        "state": None,
        "fresh": False,
        "write": None,
    }
    return Plan(spec, **{**defaults, **options})


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ({"pictures": [Path("red.png")]}, "leave --picture out"),
        ({"model": "nobody"}, "has no model 'nobody'; it has half"),
        ({"write": "models.spec"}, "is the spec itself, which stays as it is"),
        ({"write": "nowhere/copy.spec"}, "cannot be written; name another file"),
        ({"state": "model/state"}, "name another with --state"),
    ],
)
def test_what_cannot_be_done_is_refused(
    option: dict[str, Any], says: str, write_spec: WriteSpec, tmp_path: Path
) -> None:
    files = {name: tmp_path / value for name, value in option.items() if name in ("write", "state")}
    with pytest.raises(ConfigurationError, match=says):
        run_tune(plan(write_spec([HALF]), **{"state": tmp_path / "state", **option, **files}), {})


def test_the_copy_lies_beside_the_spec() -> None:
    assert copy_path(Path("specs/demo.spec")) == Path("specs/demo.tuned.spec")


def test_the_line_that_serves_a_copy_elsewhere_names_the_folder_of_its_models(tmp_path: Path) -> None:
    spec, link = tmp_path / "a.spec", tmp_path / "links" / "a.spec"
    link.parent.mkdir()
    spec.touch()
    link.symlink_to(spec)

    assert serving_command(plan(spec), {"WEB_CONCURRENCY": "3"}) == f"WEB_CONCURRENCY=3 ./run.sh -s {spec}"
    assert serving_command(plan(spec, write=tmp_path / "b c.spec"), {}) == f"./run.sh -s '{tmp_path}/b c.spec'"
    assert serving_command(plan(spec, write=link), {}) == f"./run.sh -s {link} -a {tmp_path}"
    assert serving_command(plan(link, write=copy_path(link)), {}) == f"./run.sh -s {copy_path(link)}"
    assert serving_command(plan(link, write=copy_path(spec)), {}) == f"./run.sh -s {copy_path(spec)} -a {link.parent}"
    assert serving_command(plan(spec, assets=link.parent), {}) == f"./run.sh -s {spec} -a {link.parent}"


def test_a_copy_elsewhere_is_told_where_the_code_beside_the_spec_is(write_spec: WriteSpec, tmp_path: Path) -> None:
    spec, link = write_spec([{**HALF, "preprocess": "own_hooks:before"}]), tmp_path / "links" / "a.spec"
    link.parent.mkdir()
    link.symlink_to(spec)
    models = load_spec(spec).models
    elsewhere = plan(spec, write=link.parent / "b.spec")

    assert code_path(elsewhere, models, {}) == {}
    (tmp_path / "own_hooks.py").touch()
    assert code_path(elsewhere, models, {}) == {"PYTHONPATH": str(tmp_path)}
    assert code_path(elsewhere, models, {"PYTHONPATH": "/more"}) == {"PYTHONPATH": f"/more:{tmp_path}"}
    assert code_path(plan(link, write=copy_path(link)), models, {}) == {"PYTHONPATH": str(tmp_path)}
    assert code_path(plan(spec, write=copy_path(spec)), models, {}) == {}
    assert code_path(plan(spec), models, {}) == {}
