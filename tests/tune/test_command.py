"""What the command refuses before it starts anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import HALF, WriteSpec
from tf_serving_flask_app.errors import ConfigurationError
from tf_serving_flask_app.tune.command import Plan, copy_path, run_tune


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
    plan = {
        "spec": write_spec([HALF]),
        "assets": None,
        "model": None,
        "budget": 10.0,
        "concurrency": 8,
        "min_agreement": 0.99,
        "pictures": [],
        "state": tmp_path / "state",
        "fresh": False,
        "write": None,
        **option,
        **files,
    }
    with pytest.raises(ConfigurationError, match=says):
        run_tune(Plan(**plan), {})


def test_the_copy_lies_beside_the_spec() -> None:
    assert copy_path(Path("specs/demo.spec")) == Path("specs/demo.tuned.spec")
