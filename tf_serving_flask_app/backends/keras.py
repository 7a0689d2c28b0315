"""A Keras model file: ``.keras``, or ``.h5``; one of Keras 2 that Keras 3 refuses is read by ``tf_keras``."""

from __future__ import annotations

import importlib
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

from tf_serving_flask_app.backends.freeze import freeze_function
from tf_serving_flask_app.backends.graphs import bind, import_graph, one_line
from tf_serving_flask_app.backends.tensorflow_session import TensorFlowSession, import_tensorflow, session_config
from tf_serving_flask_app.errors import ConfigurationError
from tf_serving_flask_app.spec import ModelSpec

KERAS_2 = "tf_keras"
"""The package in which Keras 2 lives on, and which reads those of its files that Keras 3 does not."""


class KerasModel(TensorFlowSession):
    """Serves a Keras model's call as one signature, frozen."""

    platform = "tensorflow_keras"

    @classmethod
    def before_fork(cls) -> None:
        """Import TensorFlow and Keras."""
        super().before_fork()
        importlib.import_module("keras")

    def __init__(self, spec: ModelSpec) -> None:
        """Load the model, trace its call once and fold its variables into constants."""
        tf = import_tensorflow()
        import keras

        try:
            graph_def, inputs, outputs = freeze_call(load_keras_model(spec.path))
        except ConfigurationError:
            raise
        except Exception as exc:
            raise ConfigurationError(f"{spec.path}: this Keras model cannot be served: {one_line(exc)}") from exc
        finally:
            # Frees what loading and tracing made; the session has its own copy of the weights.
            keras.backend.clear_session()
        graph = import_graph(graph_def, spec.path)
        found = [
            {name: graph.get_tensor_by_name(tensor) for name, tensor in side.items()} for side in (inputs, outputs)
        ]
        binding = (bind(spec.inputs, found[0], spec.path), bind(spec.outputs, found[1], spec.path))
        session = tf.compat.v1.Session(graph=graph, config=session_config(spec.session))
        self._start(spec, session, {spec.signature: binding}, version=1 if spec.version is None else spec.version)


def load_keras_model(path: Path) -> Any:
    """Load a model file.

    Raises:
        ConfigurationError: it is none, or neither Keras 3 nor, for a file of Keras 2, ``tf_keras`` reads it.
    """
    import keras

    if not path.is_file():
        raise ConfigurationError(f"{path}: a Keras model is one .keras or .h5 file.")
    if path.suffix == ".keras" and not zipfile.is_zipfile(path):
        # Keras would say that the file is not there.
        raise ConfigurationError(f"{path}: not a .keras file (a zip archive), or a damaged one.")
    try:
        return keras.models.load_model(path, compile=False)
    except Exception as exc:
        refusal = one_line(exc)
        if not (version := _keras_2_version(path)):
            raise ConfigurationError(f"{path}: this Keras model cannot be served: {refusal}") from exc
        refusal = refusal[:200]  # it may quote a whole layer, and here the remedy matters more
    try:
        keras_2 = importlib.import_module(KERAS_2)
    except ImportError as exc:
        raise ConfigurationError(
            f"{path}: Keras 3 cannot load this model of Keras {version}, but {KERAS_2} can: `{sys.executable} -m pip"
            f" install {KERAS_2}`, then try again. Keras 3 says: {refusal}"
        ) from exc
    try:
        return keras_2.models.load_model(path, compile=False)
    except Exception as exc:
        raise ConfigurationError(
            f"{path}: neither Keras 3 ({refusal}) nor {KERAS_2} can load this model of Keras {version}: {one_line(exc)}"
        ) from exc


def _keras_2_version(path: Path) -> str:
    """The version that wrote an ``.h5`` or ``.keras`` file, where it is older than Keras 3; else nothing."""
    import h5py

    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                version = str(json.loads(archive.read("metadata.json"))["keras_version"])
        else:
            with h5py.File(path) as file:
                version = str(file.attrs["keras_version"])
    except (OSError, KeyError, ValueError):
        return ""
    return version if version.startswith(("1.", "2.")) else ""


def freeze_call(model: Any) -> tuple[Any, dict[str, str], dict[str, str]]:
    """Freeze a model's call: the graph, its inputs and its outputs (public name -> tensor)."""
    import keras
    import tensorflow as tf

    # A Sequential model takes its one input as it is; others take what they were built with: a tensor, list or dict.
    structure = model.inputs[0] if isinstance(model, keras.Sequential) else model.input

    def call(*tensors: Any) -> Any:
        return keras.tree.flatten(model(keras.tree.pack_sequence_as(structure, tensors), training=False))

    specs = [tf.TensorSpec(tensor.shape, tensor.dtype, tensor.name) for tensor in model.inputs]
    function = freeze_function(tf.function(call, autograph=False).get_concrete_function(*specs))
    input_names = [tensor.name for tensor in model.inputs]
    return (
        function.graph.as_graph_def(),
        dict(zip(input_names, (tensor.name for tensor in function.inputs), strict=True)),
        dict(zip(_output_names(model), (tensor.name for tensor in function.outputs), strict=True)),
    )


def _output_names(model: Any) -> list[str]:
    """The keys of a dict of outputs, else the names of the layers that make them."""
    import keras

    if isinstance(model, keras.Sequential):
        return [model.layers[-1].name]
    if isinstance(model.output, dict):
        return ["_".join(map(str, path)) for path, _ in keras.tree.flatten_with_path(model.output)]
    names = list(model.output_names)
    return [name if names.count(name) == 1 else f"{name}_{index}" for index, name in enumerate(names)]
