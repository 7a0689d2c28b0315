"""The README names everything that a user can set, call or send."""

from __future__ import annotations

from pathlib import Path

import pytest

from tf_serving_flask_app.backends import BACKENDS
from tf_serving_flask_app.cli import main
from tf_serving_flask_app.errors import ServingError
from tf_serving_flask_app.scaling import PRESETS
from tf_serving_flask_app.settings import VARIABLES
from tf_serving_flask_app.spec import ModelSpec
from tf_serving_flask_app.spec_parts import BatchingSpec, ImageSpec, SessionSpec, TlsSpec
from tf_serving_flask_app.tasks import TASKS

README = (Path(__file__).resolve().parents[1] / "README.md").read_text()


@pytest.mark.parametrize("variable", VARIABLES)
def test_the_readme_has_a_row_for_each_setting(variable: str) -> None:
    assert any(f"`{variable}`" in line for line in README.splitlines() if line.startswith("| `"))


@pytest.mark.parametrize("command", main.commands)
def test_the_readme_has_a_row_for_each_command(command: str) -> None:
    assert f"| `./run.sh {command}" in README


@pytest.mark.parametrize(
    "key", [key for record in (ModelSpec, BatchingSpec, ImageSpec, SessionSpec, TlsSpec) for key in record.model_fields]
)
def test_the_readme_shows_each_key_of_the_spec(key: str) -> None:
    assert f"{key}: " in README


@pytest.mark.parametrize("word", [*BACKENDS, *TASKS, *PRESETS])
def test_the_readme_names_each_choice(word: str) -> None:
    assert word in README


def test_each_error_has_a_place_in_the_tree_that_its_module_draws() -> None:
    from tf_serving_flask_app import errors

    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ServingError)]

    assert errors.__doc__ is not None
    assert all(kind.__name__ in errors.__doc__ for kind in kinds)
