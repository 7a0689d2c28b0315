"""The design, held: importing does nothing but import, imports run down only, and each library has its one place."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import tf_serving_flask_app

NAME = "tf_serving_flask_app"
PACKAGE = Path(tf_serving_flask_app.__file__).parent
MAX_LINES = 300

LAYERS: tuple[tuple[str, ...], ...] = (
    ("",),
    ("errors", "number_lists"),
    ("context", "imports", "cores", "memory", "chores", "json_arrays", "json_encoder", "ranking", "shared_values"),
    ("metrics",),
    ("settings", "scaling", "placement", "image_formats"),
    ("images", "label_map"),
    ("image_input",),
    ("labels",),
    ("tensors",),
    ("spec_parts",),
    ("spec",),
    ("spec_file", "model_folder", "versions", "calls"),
    ("batching",),
    ("hooks",),
    ("backends",),
    ("model",),
    ("tasks",),
    ("loading", "control"),
    ("entries",),
    ("local_entry",),
    ("repository",),
    ("apis",),
    ("observability",),
    ("app",),
    ("gunicorn", "development"),
    ("serving",),
    ("export", "inspection", "bench"),
    ("tune",),
    ("options",),
    ("cli",),
    ("__main__",),
)
"""From bottom to top: a module may import what is below it, or beside it; "" is the package itself."""

HOMES = {
    "PIL": ("images", "export", "bench"),
    "tensorflow": ("backends", "export"),
    "keras": ("backends", "export"),
    "ai_edge_litert": ("backends",),
    "h5py": ("backends",),
    "tensorflow_serving": ("backends",),
    "grpc": ("backends",),
    "urllib3": ("backends",),
    "simdjson": ("number_lists",),
    "prometheus_client": ("shared_values", "metrics"),
    "psutil": ("bench",),
    "matplotlib": ("bench",),
    "flask": ("apis", "app"),
    "eventlet": ("gunicorn",),
    "gevent": ("gunicorn",),
    "gunicorn": ("gunicorn",),
}
"""A library, and the only parts of the package that may import it, at whatever level."""

IMPORT_ALL = """
import importlib, json, os, select, socket, sys, threading, time
[first, second] = json.loads(sys.argv[1])
importlib.import_module("tf_serving_flask_app.__main__")  # keeps NumPy's library from starting threads
files, tasks = os.listdir("/proc/self/fd"), len(os.listdir("/proc/self/task"))
genuine = [socket.socket, threading.Thread, threading.Lock, time.sleep, select.select, os.fork]
for name in first:
    importlib.import_module(name)
HEAVY = ("tensorflow", "keras", "ai_edge_litert", "grpc", "eventlet", "gevent")
loaded = [name for name in HEAVY if name in sys.modules]
new_files = sorted(set(os.listdir("/proc/self/fd")) - set(files))
new_tasks = len(os.listdir("/proc/self/task")) - tasks + len(threading.enumerate()) - 1
for name in second:
    importlib.import_module(name)
patched = [socket.socket, threading.Thread, threading.Lock, time.sleep, select.select, os.fork] != genuine
print(json.dumps({"loaded": loaded, "files": new_files, "threads": new_tasks, "patched": patched}))
"""


@cache
def modules() -> dict[str, Path]:
    """Every module of the package by its full name."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def part_of(module: str) -> str:
    """The part of the package that a module is or lies in, "" for the package itself."""
    return module.partition(".")[2].partition(".")[0]


@cache
def imports(module: str, *, everywhere: bool) -> list[tuple[str, int]]:
    """The modules that a module imports, with the line; of type checking's imports, none.

    Args:
        module: its full name.
        everywhere: also inside functions.
    """
    return list(_imports(module, everywhere))


def _imports(module: str, everywhere: bool) -> Iterator[tuple[str, int]]:
    todo: list[ast.AST] = [ast.parse(modules()[module].read_text(encoding="utf-8"))]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}, line {node.lineno}: a relative import"
            base = node.module or ""
            names = [f"{base}.{alias.name}" for alias in node.names]
            yield from ((name if name in modules() else base, node.lineno) for name in names)
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            todo.extend(node.orelse)
        elif everywhere or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            todo.extend(ast.iter_child_nodes(node))


def imports_a_hub(module: str) -> bool:
    return any(name.split(".")[0] in ("eventlet", "gevent") for name, _ in imports(module, everywhere=False))


def reaches_a_hub(module: str, seen: frozenset[str] = frozenset()) -> bool:
    """Tell whether importing a module imports eventlet or gevent."""
    if module not in modules() or module in seen:
        return False
    return imports_a_hub(module) or any(
        reaches_a_hub(name, seen | {module}) for name, _ in imports(module, everywhere=False)
    )


def test_importing_loads_no_model_library_starts_no_thread_opens_no_file_and_patches_nothing() -> None:
    hubs = [name for name in modules() if reaches_a_hub(name)]
    others = [name for name in modules() if name not in hubs]
    run = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, json.dumps([others, hubs])],
        cwd=PACKAGE.parent,
        env={name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == {"loaded": [], "files": [], "threads": 0, "patched": False}


def test_the_table_of_layers_has_every_module_once() -> None:
    table = [part for layer in LAYERS for part in layer]
    parts = {part_of(module) for module in modules()}

    assert sorted(set(table)) == sorted(table)
    assert sorted(parts - set(table)) == [], "give them a layer in LAYERS"


@pytest.mark.parametrize("module", modules())
def test_a_module_imports_nothing_of_a_higher_layer(module: str) -> None:
    height = {part: level for level, layer in enumerate(LAYERS) for part in layer}
    upward = [
        f"line {line}: {name}"
        for name, line in imports(module, everywhere=False)
        if name.split(".")[0] == NAME and height[part_of(name)] > height[part_of(module)]
    ]

    assert upward == []


@pytest.mark.parametrize("library", HOMES)
def test_a_library_is_imported_only_in_its_place(library: str) -> None:
    elsewhere = [
        f"{module}, line {line}"
        for module in modules()
        for name, line in imports(module, everywhere=True)
        if name.split(".")[0] == library and part_of(module) not in HOMES[library]
    ]

    assert elsewhere == []


def test_no_file_is_longer_than_a_reader_can_hold() -> None:
    lengths = {
        str(path.relative_to(PACKAGE)): len(path.read_text(encoding="utf-8").splitlines())
        for path in modules().values()
    }

    assert {name: length for name, length in lengths.items() if length > MAX_LINES} == {}
