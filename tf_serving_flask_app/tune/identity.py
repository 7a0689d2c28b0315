"""What results depend on: where some of it has changed, they count no more."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import orjson

from tf_serving_flask_app.spec import NO_PATH, ModelSpec

VARIABLES = (
    "CUDA_",
    "DNNL_",
    "GLIBC_TUNABLES",
    "KMP_",
    "LD_PRELOAD",
    "MALLOC_",
    "MKL_",
    "OMP_",
    "ONEDNN_",
    "OPENBLAS_",
    "TF_",
    "XLA_",
)
"""How the names of environment variables begin that change how a model is computed or how memory is given out."""


def identity_of(
    models: Iterable[ModelSpec],
    environ: Mapping[str, str],
    search_path: Sequence[str],
    conditions: Mapping[str, object],
) -> str:
    """A hash of the spec's content, the files and the code that it names, the machine and how it is measured.

    Args:
        models: the spec's.
        environ: the servers' environment.
        search_path: the folders in which they find code.
        conditions: all else.
    """
    specs = list(models)
    labels = [model.labels for model in specs if isinstance(model.labels, Path)]
    known = {
        "models": [model.model_dump(mode="json") for model in specs],
        "files": [_files(model.path) for model in specs if model.path is not NO_PATH],
        "labels": [_digest(file) for file in labels],
        "code": [_digest(source_of(path, search_path)) for model in specs for path in import_paths(model)],
        "environment": {name: value for name, value in environ.items() if name.startswith(VARIABLES)},
        "conditions": dict(conditions),
    }
    return hashlib.sha256(orjson.dumps(known, option=orjson.OPT_SORT_KEYS)).hexdigest()


def source_of(import_path: str, search_path: Sequence[str]) -> Path | None:
    """Find the file of the module in ``"package.module:attribute"``; nothing of it, or of its package, is run.

    Returns:
        None where there is none in these folders.
    """
    module = import_path.partition(":")[0].split(".")
    for folder in search_path:
        place = Path(folder, *module)
        for file in (place / "__init__.py", place.with_name(f"{place.name}.py")):
            if file.is_file():
                return file
    return None


def import_paths(model: ModelSpec) -> list[str]:
    """The code that a model's entry names."""
    named = (model.backend, model.preprocess, model.postprocess)
    return [path for path in named if path is not None and ":" in path]


def _digest(file: Path | None) -> str | None:
    return None if file is None else hashlib.sha256(file.read_bytes()).hexdigest()


def _files(path: Path) -> list[tuple[str, int, int]]:
    """Name, size and time of change of each file."""
    found = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
    return [(str(each), (stat := each.stat()).st_size, stat.st_mtime_ns) for each in found]
