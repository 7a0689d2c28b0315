"""A Keras model file: ``.keras``, or ``.h5`` as far as Keras 3 reads it."""

from __future__ import annotations

import importlib
import zipfile
from pathlib import Path
from typing import Any

from tf_serving_flask_app.backends.freeze import freeze_function
from tf_serving_flask_app.backends.tensorflow_session import (
    TensorFlowSession,
    bind,
    import_graph,
    one_line,
    session_config,
)
from tf_serving_flask_app.errors import ConfigurationError
from tf_serving_flask_app.spec import ModelSpec


class KerasModel(TensorFlowSession):
    """Serves a Keras model's call as one signature, frozen."""

    @classmethod
    def before_fork(cls) -> None:
        """Import TensorFlow and Keras."""
        super().before_fork()
        importlib.import_module("keras")

    def __init__(self, spec: ModelSpec) -> None:
        """Load the model, trace its call once and fold its variables into constants."""
        import keras
        import tensorflow as tf

        if not spec.path.is_file():
            raise ConfigurationError(f"{spec.path}: a Keras model is one .keras or .h5 file.")
        if spec.path.suffix == ".keras" and not zipfile.is_zipfile(spec.path):
            # Keras would say that the file is not there.
            raise ConfigurationError(f"{spec.path}: not a .keras file (a zip archive), or a damaged one.")
        try:
            graph_def, inputs, outputs = _frozen_call(spec.path)
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
        self._start(session, {spec.signature: binding}, version=1 if spec.version is None else spec.version)


def _frozen_call(path: Path) -> tuple[Any, dict[str, str], dict[str, str]]:
    """Load a model and freeze its call: the graph, its inputs and its outputs (public name -> tensor)."""
    import keras
    import tensorflow as tf

    model = keras.models.load_model(path, compile=False)
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
