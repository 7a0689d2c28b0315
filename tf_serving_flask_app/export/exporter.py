"""Export: a Keras application or a model file becomes a frozen graph that is ready to be served, with its spec."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tf_serving_flask_app.backends.graphs import one_line
from tf_serving_flask_app.errors import ConfigurationError
from tf_serving_flask_app.export import keras_applications as applications
from tf_serving_flask_app.export.freeze import optimise
from tf_serving_flask_app.export.package import compare, keep, staging, write_candidate
from tf_serving_flask_app.export.sources import Source, keras_source, open_source
from tf_serving_flask_app.inspection import guess_spec, model_name
from tf_serving_flask_app.labels import read_labels
from tf_serving_flask_app.scaling import Scale, parse_scale
from tf_serving_flask_app.spec import ModelSpec

Report = Callable[[str], None]


def export_by_name(
    what: str, weights: str | None, labels: Path | None, out: Path | None, default: Path, report: Report
) -> Path:
    """Export what a user names: an application of Keras, else the model at a path.

    Args:
        what: the name or path.
        weights: of an application: ``imagenet`` (None means it), ``none`` or a file.
        labels: a label file, or None.
        out: the folder to write to; None: one with the model's name in ``default``.
        default: see ``out``.
        report: takes each line of what is being done.

    Returns:
        The spec that serves it.

    Raises:
        ConfigurationError: there is neither, or it cannot be exported; nothing is written then.
    """
    if name := applications.find_application(what):
        return export_application(name, weights or "imagenet", labels, out or default / name, report)
    path = Path(what)
    if not path.exists():
        raise ConfigurationError(f"{what}: there is no such file, folder or application; {applications.nearest(what)}")
    if weights:
        raise ConfigurationError(f"{what}: --weights is for an application; a model's file has weights of its own.")
    return export_model(path, labels, out, default, report)


def export_application(name: str, weights: str, labels: Path | None, out: Path, report: Report) -> Path:
    """Export a Keras application.

    Args:
        name: as ``find_application`` gives it.
        weights: ``imagenet``, ``none`` or the path of a file.
        labels: a label file; None: ImageNet's, or none for random weights.
        out: the folder to write to; made if it is not there.
        report: takes each line of what is being done.

    Returns:
        The spec that serves it.

    Raises:
        ConfigurationError: weights or labels cannot be had, or the export does not answer as the source does.
    """
    step = _steps(report)
    text = _label_text(labels)
    with staging(out) as folder:
        step(f"Building {name}" + (" with random weights" if weights == "none" else f", weights: {weights}"))
        model = applications.build(name, weights)
        if not text and weights != "none":
            step("Looking up ImageNet's labels")
            text = _lines(applications.imagenet_labels())
        step("Folding its variables into constants")
        source = keras_source(model)
        scale = parse_scale(applications.find_scale(name))
        remark = f"Made by `./run.sh export {name}`" + (" with random weights." if weights == "none" else ".")
        spec = _guess(name, folder / name, source)
        return _export(source, spec, out, folder, text, remark, step, scale)


def export_model(path: Path, labels: Path | None, out: Path | None, default: Path, report: Report) -> Path:
    """Export a SavedModel folder or a Keras file; its task and labels are guessed as ``inspect`` does.

    Args:
        path: the model.
        labels: a label file; None: one beside the model, where it fits.
        out: the folder to write to; made if it is not there.
        default: where a folder with the model's name is made if ``out`` is None.
        report: takes each line of what is being done.

    Returns:
        The spec that serves it.

    Raises:
        ConfigurationError: it cannot be loaded or frozen, or the export does not answer as the source does.
    """
    step = _steps(report)
    text = _label_text(labels)
    path = path.resolve()
    name = model_name(path.parent if path.name == "saved_model.pb" else path)
    out = out or default / name
    with staging(out) as folder:
        step(f"Loading {path} and folding its variables into constants")
        with open_source(path) as source:
            spec = _guess(name, path, source)
            if not text and "labels" in spec:
                text = _label_text(Path(spec["labels"]))
            return _export(source, spec, out, folder, text, f"Made of {path} by `./run.sh export`.", step)


def _guess(name: str, path: Path, source: Source) -> dict[str, Any]:
    spec = ModelSpec(name=name, backend="frozen_graph", path=path)
    return guess_spec(spec, {source.signature.name: source.signature})


def _export(
    source: Source,
    spec: dict[str, Any],
    out: Path,
    folder: Path,
    labels: str,
    remark: str,
    step: Report,
    scale: Scale | None = None,
) -> Path:
    """Optimise, write, compare, keep."""
    spec.pop("signature", None)  # a frozen graph has one
    name = spec["name"]
    if spec["task"] == "classification":
        inputs, outputs = {"image": "image"}, {"scores": "scores"}
    else:
        inputs = _node_names(source.inputs, ())
        outputs = _node_names(source.outputs, inputs.values())
    spec["inputs"] = {key: f"{node}:0" for key, node in inputs.items()}
    spec["outputs"] = {key: f"{node}:0" for key, node in outputs.items()}
    if scale is not None:
        spec["image"] = {**spec["image"], "scale": scale.text}
    step("Optimising it for inference")
    try:
        graph_def = optimise(
            source.graph_def,
            dict(zip(inputs.values(), source.inputs.values(), strict=True)),
            dict(zip(outputs.values(), source.outputs.values(), strict=True)),
        )
    except Exception as exc:
        raise ConfigurationError(f"{name}: TensorFlow cannot optimise this graph: {one_line(exc)}") from exc
    spec_file = write_candidate(folder, name, graph_def, spec, labels, remark, scale_is_known=scale is not None)
    step("Comparing its answers with those of the source on random input")
    largest = compare(spec_file, source, scale)
    size = (folder / f"{name}.frozen.pb").stat().st_size
    keep(folder, out)
    step(f"Wrote {out / name}.frozen.pb ({size / 1e6:.1f} MB); the largest difference is {largest:.1g}")
    return out / f"{name}.spec"


def _node_names(names: Iterable[str], taken: Iterable[str]) -> dict[str, str]:
    """A valid name in the graph for each tensor of a signature, different from each other."""
    found: dict[str, str] = {}
    for name in names:
        node = re.sub(r"[^A-Za-z0-9_.-]", "_", name).lstrip("_-") or "tensor"
        while node in taken or node in found.values():
            node += "_"
        found[name] = node
    return found


def _label_text(path: Path | None) -> str:
    """The text of a label file, which is checked; Keras' JSON file of ImageNet's classes is taken too."""
    if path is None:
        return ""
    if path.suffix == ".json":
        return _lines(applications.read_class_index(path))
    read_labels(path)
    return path.read_text(encoding="utf-8-sig")


def _lines(names: Iterable[str]) -> str:
    return "".join(f"{name}\n" for name in names)


def _steps(report: Report) -> Report:
    """Report each step with the seconds since the first."""
    began = time.monotonic()
    return lambda text: report(f"[{time.monotonic() - began:5.1f} s] {text}")
