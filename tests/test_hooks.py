"""Hooks: each failure says whose it is, and only the client's own is the client's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tf_serving_flask_app.errors import BackendFailed, ConfigurationError, InvalidInput
from tf_serving_flask_app.hooks import Hook, load_hook

MODULE = """
from tf_serving_flask_app.errors import InvalidInput

class Steps:
    @staticmethod
    def double(tensors):
        return {name: 2 * value for name, value in tensors.items()}

double = Steps.double
number = 7

def fails(tensors):
    raise ValueError("odd\\nshape")

def refuses(tensors):
    raise InvalidInput("send more of it")

def forgets(tensors):
    tensors.clear()

def lists(tensors):
    return list(tensors)

def exits(tensors):
    raise SystemExit(3)
"""


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Hook]:
    """Load a hook by its name from a user's module, or from another module by its import path."""
    (tmp_path / "steps_of_a_user.py").write_text(MODULE)
    (tmp_path / "broken_steps.py").write_text("import numpy\n1 / 0\n")
    (tmp_path / "needy_steps.py").write_text("import a_module_that_nobody_has\n")
    monkeypatch.syspath_prepend(tmp_path)
    return lambda name: load_hook(name if ":" in name else f"steps_of_a_user:{name}")


@pytest.mark.parametrize("name", ["double", "Steps.double"])
def test_a_hook_takes_tensors_and_gives_tensors(load: Callable[[str], Hook], name: str) -> None:
    assert load(name)({"x": 2}) == {"x": 4}


def test_what_a_hook_raises_is_a_fault_of_the_server_and_keeps_its_cause(load: Callable[[str], Hook]) -> None:
    hook = load("fails")
    with pytest.raises(BackendFailed, match=r"^hook 'steps_of_a_user:fails' raised ValueError: odd") as caught:
        hook({})

    assert isinstance(caught.value.__cause__, ValueError)


def test_a_hook_can_tell_the_client_what_to_change(load: Callable[[str], Hook]) -> None:
    hook = load("refuses")
    with pytest.raises(InvalidInput, match=r"^send more of it$"):
        hook({})


@pytest.mark.parametrize(("name", "kind"), [("forgets", "NoneType"), ("lists", "list")])
def test_a_hook_that_returns_no_dict_is_a_fault_of_the_server(
    load: Callable[[str], Hook], name: str, kind: str
) -> None:
    hook = load(name)
    with pytest.raises(BackendFailed, match=f"returned {kind}, not a dict of name to array"):
        hook({"x": 1})


def test_a_hook_cannot_swallow_the_end_of_the_process(load: Callable[[str], Hook]) -> None:
    hook = load("exits")
    with pytest.raises(SystemExit):
        hook({})


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("number", "hook 'steps_of_a_user:number' is int, not a function."),
        ("nothing", "module 'steps_of_a_user' has no attribute 'nothing'"),
        ("no_such_steps:run", "there is no module 'no_such_steps'"),
        ("broken_steps:run", "module 'broken_steps' fails to import: ZeroDivisionError: division by zero"),
        ("needy_steps:run", "fails to import: ModuleNotFoundError: No module named 'a_module_that_nobody_has'"),
        ("a..b:run", "is not an import path; write 'package.module:attribute'"),
    ],
)
def test_a_hook_that_cannot_be_used_stops_the_start(load: Callable[[str], Hook], path: str, text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(path)

    assert text in str(caught.value)
