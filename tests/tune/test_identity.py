"""What results depend on, and so no longer count for when it has changed."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import COLORS, HALF
from tf_serving_flask_app.spec import ModelSpec
from tf_serving_flask_app.tune.identity import identity_of, source_of

MakeSpecs = Callable[..., list[ModelSpec]]


def test_the_identity_follows_spec_model_file_and_conditions(make_specs: MakeSpecs, tmp_path: Path) -> None:
    def identity(cores: int = 2, changed_ns: int = 0, **keys: float) -> str:
        specs = make_specs({**HALF, **keys})
        os.utime(tmp_path / "model", ns=(0, changed_ns))
        return identity_of(specs, {}, [], {"cores": cores})

    assert identity() == identity()
    assert len({identity(), identity(cores=4), identity(timeout_s=3), identity(changed_ns=1)}) == 4


HEEDED = (
    *("TF_ENABLE_ONEDNN_OPTS", "XLA_FLAGS", "OMP_NUM_THREADS", "KMP_BLOCKTIME", "ONEDNN_MAX_CPU_ISA", "DNNL_VERBOSE"),
    *("MALLOC_ARENA_MAX", "GLIBC_TUNABLES", "LD_PRELOAD"),
)


@pytest.mark.parametrize("name", HEEDED)
def test_the_identity_follows_the_environment_that_tensorflow_heeds(name: str, make_specs: MakeSpecs) -> None:
    specs = make_specs(HALF)
    found = {identity_of(specs, environ, [], {}) for environ in ({}, {name: "1"}, {name: "0"})}

    assert len(found) == 3
    assert identity_of(specs, {"HOME": "/a"}, [], {}) == identity_of(specs, {"HOME": "/b"}, [], {})


def test_the_identity_follows_the_content_of_labels_whatever_their_age(make_specs: MakeSpecs, tmp_path: Path) -> None:
    file = tmp_path / "labels.txt"
    file.touch()
    specs = make_specs({**COLORS, "labels": file.name})

    def identity(labels: str, changed_ns: int) -> str:
        file.write_text(labels)
        os.utime(file, ns=(0, changed_ns))
        return identity_of(specs, {}, [], {})

    red, green, later = identity("red", 1), identity("green", 1), identity("red", 2)

    assert red == later != green


@pytest.mark.parametrize("key", ["backend", "preprocess", "postprocess"])
def test_the_identity_follows_the_code_of_hooks_and_backends_and_runs_none(
    key: str, make_specs: MakeSpecs, tmp_path: Path
) -> None:
    specs = make_specs({**HALF, key: "own_code:Name"})

    def identity(code: str) -> str:
        (tmp_path / "own_code.py").write_text(f"raise RuntimeError('{code}')")
        return identity_of(specs, {}, [str(tmp_path)], {})

    assert identity("one") == identity("one") != identity("two")
    assert "own_code" not in sys.modules


def test_code_is_found_where_python_would_find_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for file in (first / "hooks.py", second / "hooks.py", second / "package/__init__.py", second / "package/part.py"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    search_path = [str(first), str(second)]
    monkeypatch.chdir(second)

    assert source_of("hooks:before", search_path) == first / "hooks.py"
    assert source_of("hooks:before", ["", *search_path]) == Path("hooks.py")
    assert source_of("package:Class.method", search_path) == second / "package" / "__init__.py"
    assert source_of("package.part:Class", search_path) == second / "package" / "part.py"
    assert source_of("elsewhere:Class", search_path) is None
