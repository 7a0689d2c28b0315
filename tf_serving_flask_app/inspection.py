"""What is in a model file: its tensors, and a guess at how to serve it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from tf_serving_flask_app.backends import backend_class
from tf_serving_flask_app.errors import ConfigurationError
from tf_serving_flask_app.labels import read_labels
from tf_serving_flask_app.model_folder import backend_of_file, find_models
from tf_serving_flask_app.spec import ModelSpec
from tf_serving_flask_app.spec_parts import SessionSpec, TensorSpec
from tf_serving_flask_app.tasks.detection import find_parts
from tf_serving_flask_app.tensors import Signature, TensorInfo

SCALE_HINT = (
    "no graph tells how pixels were scaled in training: raw (0..255), inception, torch, caffe, unit or arithmetic in x"
)


@dataclass(frozen=True)
class Inspection:
    """What was found in a model.

    Attributes:
        tensors: every tensor of the graph.
        signatures: what the model takes and gives.
        spec: the guess, ready to be written as a spec file.
    """

    tensors: Sequence[TensorInfo]
    signatures: Sequence[Signature]
    spec: dict[str, Any]

    def spec_text(self) -> str:
        """The guess as a spec file."""
        return spec_text([self.spec])


def spec_text(models: Sequence[dict[str, Any]]) -> str:
    """A spec file of the given models, with a remark where a person must decide."""
    text = yaml.safe_dump({"models": list(models)}, sort_keys=False, allow_unicode=True, width=200)
    return text.replace("scale: raw\n", f"scale: raw  # {SCALE_HINT}\n")


def inspect_model(path: Path) -> Inspection:
    """Load a model file or folder and guess how it is to be served.

    Raises:
        ConfigurationError: it is no model that can be served here.
    """
    path = path.resolve()
    backend = guess_backend(path)
    if path.name == "saved_model.pb":
        path = path.parent
    spec = ModelSpec(
        name=model_name(path),
        backend=backend,
        path=path,
        inputs=_placeholders(path) if backend == "frozen_graph" else {},
        session=SessionSpec(intra_op_threads=1),
    )
    model = backend_class(backend)(spec)
    try:
        return Inspection(model.tensors(), list(model.signatures.values()), guess_spec(spec, model.signatures))
    finally:
        model.close()


def inspect_folder(folder: Path) -> dict[Path, Inspection | str]:
    """Inspect what a server finds in a folder of models.

    Returns:
        The path of each model -> what is in it, its spec as the folder's rules have it; or why it cannot be served.

    Raises:
        ConfigurationError: the folder holds no model.
    """
    found = find_models(folder)
    results: dict[Path, Inspection | str] = dict(found.faults)
    for model in found.models:
        try:
            inspection = inspect_model(model.path)
        except ConfigurationError as exc:
            results[model.path] = str(exc)
            continue
        by_rule = {"name": model.name}
        if isinstance(model.labels, Path):
            by_rule |= {"task": model.task, "labels": str(model.labels)}
        results[model.path] = replace(inspection, spec={**inspection.spec, **by_rule})
    return dict(sorted(results.items()))


def guess_backend(path: Path) -> str:
    """Tell from a path which backend loads it.

    Raises:
        ConfigurationError: none does.
    """
    if not path.exists():
        raise ConfigurationError(f"{path}: there is no such file or folder.")
    if path.is_dir() or path.name == "saved_model.pb":
        return "saved_model"
    if known := backend_of_file(path):
        return known[1]
    raise ConfigurationError(
        f"{path}: not a model that can be served: a frozen graph ends in .pb, a Keras model in .keras, .h5 or .hdf5, a"
        " TensorFlow Lite model in .tflite, a SavedModel is a folder."
    )


def _placeholders(path: Path) -> dict[str, TensorSpec]:
    """Name every placeholder of a frozen graph, however many, so that it loads."""
    from tf_serving_flask_app.backends.frozen_graph import find_inputs, read_graph_def
    from tf_serving_flask_app.backends.graphs import import_graph

    graph = import_graph(read_graph_def(path), path)
    return {name: TensorSpec(tensor=tensor.name) for name, tensor in find_inputs(graph).items()}


def model_name(path: Path) -> str:
    """A valid model name from a path; of a version folder or a file of a common name, its parent's."""
    stem = path.name if path.is_dir() else path.name.split(".")[0]
    common = ("frozen_graph", "frozen_inference_graph", "saved_model", "model", "graph")
    if (stem.isdigit() or stem in common) and path.parent.name:
        stem = path.parent.name
    return re.sub(r"[^A-Za-z0-9_.-]", "_", stem).lstrip("_.-") or "model"


def guess_spec(spec: ModelSpec, signatures: Mapping[str, Signature]) -> dict[str, Any]:
    """Guess a model's entry in a spec file from what it takes and gives.

    Args:
        spec: its name, backend and path, beside which labels are looked for.
        signatures: at least one.
    """
    signature = signatures.get(spec.signature) or next(iter(signatures.values()))
    inputs, outputs = list(signature.inputs.values()), list(signature.outputs.values())
    guess: dict[str, Any] = {"name": spec.name, "task": "tensor", "backend": spec.backend, "path": str(spec.path)}
    if signature.name != spec.signature:
        guess["signature"] = signature.name
    if spec.backend == "frozen_graph":
        # Without these the names in the graph would be the public ones: "MobilenetV1/Predictions/Reshape_1".
        guess["inputs"] = _public_names(inputs)
        guess["outputs"] = _public_names(outputs)
    classes = _classes(outputs)
    if len(inputs) == 1 and classes and (layout := _picture_layout(inputs[0])):
        guess["task"] = "classification"
        guess["image"] = {"layout": layout, "scale": "raw"} if layout == "channels_first" else {"scale": "raw"}
        if spec.backend == "frozen_graph":
            guess["inputs"] = {"image": f"{inputs[0].name}:0"}
            guess["outputs"] = {"scores": _tensor_name(outputs[0].name)}
        if labels := _find_labels(spec.path, classes):
            guess["labels"] = str(labels)
    elif len(inputs) == 1 and (parts := _detection_parts(inputs[0], signature)):
        guess["task"] = "detection"
        guess["image"] = {"scale": "raw"}
        if spec.backend == "frozen_graph":
            guess["inputs"] = {"image": f"{inputs[0].name}:0"}
            guess["outputs"] = {part: _tensor_name(name) for part, name in parts.items()}
        if label_map := _find_label_map(spec.path):
            guess["labels"] = str(label_map)
    return guess


def _detection_parts(picture: TensorInfo, signature: Signature) -> dict[str, str] | None:
    """The outputs of a detector by what they hold, if it is one."""
    if picture.shape is None or len(picture.shape) != 4 or picture.shape[3] not in (1, 3, None):
        return None
    try:
        return find_parts("", signature.outputs)
    except ConfigurationError:
        return None


def _find_label_map(path: Path) -> Path | None:
    """A label map beside the model, if there is just one."""
    found = list((path if path.is_dir() else path.parent).glob("*.pbtxt"))
    return found[0] if len(found) == 1 else None


def _public_names(tensors: Sequence[TensorInfo]) -> dict[str, str]:
    """Short names for a graph's tensors: the last part of each, where that is not ambiguous."""
    short = [info.name.split("/")[-1] for info in tensors]
    return {
        (name if short.count(name) == 1 else info.name): _tensor_name(info.name)
        for name, info in zip(short, tensors, strict=True)
    }


def _tensor_name(name: str) -> str:
    return name if ":" in name else f"{name}:0"


def _picture_layout(info: TensorInfo) -> str | None:
    """The layout of an input that can be a picture of known size, else None."""
    if info.shape is None or len(info.shape) != 4 or info.dtype.kind not in "fu":
        return None
    _, second, third, last = info.shape
    if last in (1, 3) and second and third:
        return "channels_last"
    return "channels_first" if second in (1, 3) and third and last else None


def _classes(outputs: Sequence[TensorInfo]) -> int | None:
    """How many classes a model's only output has scores for, if it is such."""
    if len(outputs) != 1 or outputs[0].shape is None or len(outputs[0].shape) != 2 or outputs[0].dtype.kind != "f":
        return None
    classes = outputs[0].shape[1]
    return classes if classes and classes > 1 else None


def _find_labels(path: Path, classes: int) -> Path | None:
    """A text file beside the model that names as many classes as the model has."""
    for candidate in sorted((path if path.is_dir() else path.parent).glob("*.txt")):
        try:
            if len(read_labels(candidate)) == classes:
                return candidate
        except ConfigurationError:
            continue
    return None
