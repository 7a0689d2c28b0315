"""Import paths: what they find, and that each way to fail is told apart."""

from __future__ import annotations

import os.path
from pathlib import Path

import pytest

from tf_serving_flask_app.errors import ConfigurationError
from tf_serving_flask_app.imports import import_from_string


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """The name of an importable module whose source is the test's parameter."""
    name = f"imported_by_{request.node.originalname}"
    (tmp_path / f"{name}.py").write_text(request.param, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    return name


def test_an_attribute_of_a_module_is_found() -> None:
    assert import_from_string("os.path:join") is os.path.join


def test_a_dotted_attribute_is_followed() -> None:
    assert import_from_string("pathlib:Path.cwd") == Path.cwd


@pytest.mark.parametrize(
    "path", ["", "os", "os:", ":join", "os:join:x", "os path:join", "..os:join", "os.:x", "os:a-b"]
)
def test_text_of_another_form_is_refused_with_the_form(path: str) -> None:
    with pytest.raises(ConfigurationError, match=r"write 'package\.module:attribute'") as caught:
        import_from_string(path)
    assert repr(path) in str(caught.value)


@pytest.mark.parametrize(
    ("path", "missing"),
    [
        ("no_such_package:x", "no_such_package"),
        ("no_such_package.inner:x", "no_such_package"),
        ("json.no_such_module:x", "json.no_such_module"),
        ("os.path.deeper:x", "os.path.deeper"),
    ],
)
def test_a_module_that_does_not_exist_is_named(path: str, missing: str) -> None:
    with pytest.raises(ConfigurationError, match=f"there is no module '{missing}'"):
        import_from_string(path)


@pytest.mark.parametrize("module", ["import no_such_dependency"], indirect=True)
def test_a_missing_dependency_is_not_taken_for_the_module(module: str) -> None:
    with pytest.raises(ConfigurationError, match=f"module '{module}' fails to import: .*no_such_dependency"):
        import_from_string(f"{module}:anything")


@pytest.mark.parametrize("module", ["raise RuntimeError('first\\nsecond')"], indirect=True)
def test_a_module_that_fails_is_told_in_one_line_with_its_cause(module: str) -> None:
    with pytest.raises(ConfigurationError, match=r"fails to import: RuntimeError: first second$") as caught:
        import_from_string(f"{module}:anything")
    assert isinstance(caught.value.__cause__, RuntimeError)


@pytest.mark.parametrize("module", ["raise ModuleNotFoundError('no name given')"], indirect=True)
def test_a_nameless_module_not_found_error_is_the_modules_own_failure(module: str) -> None:
    with pytest.raises(ConfigurationError, match="fails to import"):
        import_from_string(f"{module}:anything")


@pytest.mark.parametrize("module", ["def broken(:"], indirect=True)
def test_a_syntax_error_is_a_module_that_fails(module: str) -> None:
    with pytest.raises(ConfigurationError, match="fails to import: SyntaxError"):
        import_from_string(f"{module}:anything")


@pytest.mark.parametrize("attribute", ["joyn", "join.nothing"])
def test_a_missing_attribute_is_named(attribute: str) -> None:
    with pytest.raises(ConfigurationError, match=f"module 'os.path' has no attribute '{attribute}'"):
        import_from_string(f"os.path:{attribute}")
