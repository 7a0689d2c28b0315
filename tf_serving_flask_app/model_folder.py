"""A folder of models in place of a spec: what each file is, by its name and the label file beside it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from tf_serving_flask_app.errors import ConfigurationError
from tf_serving_flask_app.spec import ModelSpec
from tf_serving_flask_app.versions import numbered_folders

MODEL_SUFFIXES: Mapping[str, str] = {
    ".frozen.pb": "frozen_graph",
    ".pb": "frozen_graph",
    ".keras": "keras",
    ".h5": "keras",
    ".hdf5": "keras",
    ".tflite": "tflite",
}
"""How a model file's name ends -> the backend that loads it; the name before that is the model's."""

LABEL_SUFFIXES: Mapping[str, str] = {
    ".label_map.pbtxt": "detection",
    ".pbtxt": "classification",
    ".txt": "classification",
}
"""How the name of the label file beside a model ends -> the task it tells; a model without one is served as tensors."""

RULES = (
    "a model is NAME.pb, NAME.frozen.pb, NAME.keras, NAME.h5, NAME.tflite or the folder of a SavedModel; its labels are"
    " NAME.label_map.pbtxt (detection), NAME.pbtxt or NAME.txt (classification)"
)


@dataclass(frozen=True)
class Found:
    """What a folder holds.

    Attributes:
        models: those that can be tried, sorted by path; nothing is loaded yet.
        faults: what looks like a model and cannot even be tried -> why.
    """

    models: list[ModelSpec]
    faults: dict[Path, str]


def find_models(folder: Path) -> Found:
    """Find the models in a folder; one that is itself a SavedModel is one model.

    Raises:
        ConfigurationError: it cannot be read, or holds nothing that looks like a model.
    """
    try:
        entries = sorted(folder.resolve().iterdir())
    except OSError as exc:
        raise ConfigurationError(f"{folder}: the folder of models cannot be read: {exc.strerror}.") from exc
    found = Found([], {})
    for path, name, backend in _candidates(folder.resolve(), entries):
        fields = {"name": name, "backend": backend, "path": path, **_labels(path.parent / name)}
        try:
            model = ModelSpec.model_validate(fields)
        except ValidationError as exc:
            error = exc.errors()[0]
            found.faults[path] = f"{error['loc'][0]}: {error['msg']}, not {error['input']!r}."
            continue
        if name in [other.name for other in found.models]:
            found.faults[path] = f"another model here is named {name!r} too; rename one."
            continue
        found.models.append(model)
    if not found.models and not found.faults:
        raise ConfigurationError(f"{folder}: not a SavedModel, and there is no model in it; {RULES}.")
    return found


def is_saved_model(folder: Path) -> bool:
    """Tell whether a folder is meant as a SavedModel: it has a saved_model.pb, or numbered folders."""
    return os.path.isfile(folder / "saved_model.pb") or bool(numbered_folders(folder))


def backend_of_file(path: Path) -> tuple[str, str] | None:
    """The name and the backend of a model file, by its own name; None if it is none."""
    for suffix, backend in MODEL_SUFFIXES.items():
        if path.name.endswith(suffix):
            return path.name.removesuffix(suffix), backend
    return None


def _candidates(folder: Path, entries: list[Path]) -> Iterator[tuple[Path, str, str]]:
    """Path, name and backend of what looks like a model."""
    if is_saved_model(folder):
        yield folder, folder.name, "saved_model"
        return
    for path in entries:
        if path.name.startswith("."):
            continue
        if path.is_dir():
            # Not every folder is the user's: a mounted disk has one that only root may read, lost+found.
            if os.access(path, os.R_OK | os.X_OK) and is_saved_model(path):
                yield path, path.name, "saved_model"
        elif known := backend_of_file(path):
            yield path, *known


def _labels(stem: Path) -> dict[str, object]:
    """The fields that the label file of a model sets; nothing where there is none."""
    for suffix, task in LABEL_SUFFIXES.items():
        labels = stem.with_name(stem.name + suffix)
        if labels.is_file():
            return {"task": task, "labels": labels}
    return {}
