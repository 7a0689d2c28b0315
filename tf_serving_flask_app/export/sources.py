"""Models as they come: loaded, their variables folded, and ready to be asked for the answers an export must give."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tf_serving_flask_app.backends.freeze import freeze_session, holds_state
from tf_serving_flask_app.backends.graphs import import_graph, one_line, tensor_info
from tf_serving_flask_app.backends.keras import freeze_call, load_keras_model
from tf_serving_flask_app.backends.saved_model import find_version, read_meta_graph
from tf_serving_flask_app.errors import ConfigurationError
from tf_serving_flask_app.inspection import guess_backend
from tf_serving_flask_app.spec import DEFAULT_SIGNATURE
from tf_serving_flask_app.tensors import Signature, Tensors


@dataclass(frozen=True)
class Source:
    """A model to export.

    Attributes:
        signature: what it takes and gives, under its own names.
        graph_def: its graph, with constants in place of variables.
        inputs: name in the signature -> tensor in the graph.
        outputs: likewise.
        run: the model's own answer, computed without that graph.
    """

    signature: Signature
    graph_def: Any
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    run: Callable[[Tensors], Tensors]


@contextlib.contextmanager
def open_source(path: Path) -> Iterator[Source]:
    """Load a SavedModel or a Keras file; it is closed at the end.

    Raises:
        ConfigurationError: it is neither, cannot be loaded, or holds what no frozen graph can.
    """
    import tensorflow as tf

    kind = guess_backend(path)
    if kind == "keras":
        model = load_keras_model(path)
        try:
            source = keras_source(model)
        except Exception as exc:
            raise ConfigurationError(f"{path}: this Keras model cannot be frozen: {one_line(exc)}") from exc
        yield source
    elif kind == "saved_model":
        folder, _ = find_version(path.parent if path.name == "saved_model.pb" else path, None)
        with tf.compat.v1.Session(graph=tf.Graph(), config=_on_processor()) as session:
            yield _saved_model_source(session, folder)
    else:
        raise ConfigurationError(
            f"{path}: only a SavedModel folder or a .keras or .h5 file can be exported; what is a frozen graph already"
            f" is served as it is: `./run.sh inspect {path} --spec` prints its spec."
        )


def keras_source(model: Any) -> Source:
    """Freeze a Keras model that is in memory.

    Raises:
        ValueError: it holds a lookup table or the like.
    """
    import keras

    graph_def, inputs, outputs = freeze_call(model)
    structure = model.inputs[0] if isinstance(model, keras.Sequential) else model.input

    def run(tensors: Tensors) -> Tensors:
        packed = keras.tree.pack_sequence_as(structure, [tensors[name] for name in inputs])
        results = keras.tree.flatten(model(packed, training=False))
        return {name: np.asarray(result.numpy()) for name, result in zip(outputs, results, strict=True)}

    return _source(DEFAULT_SIGNATURE, graph_def, inputs, outputs, run)


def _saved_model_source(session: Any, folder: Path) -> Source:
    """Load the signature for serving, else the first by name, into a session and freeze what it needs."""
    import tensorflow as tf
    from tensorflow.python.util import deprecation

    meta_graph = read_meta_graph(folder)
    signatures = {name: found for name, found in sorted(meta_graph.signature_def.items()) if found.outputs}
    signatures.pop("__saved_model_init_op", None)
    if not signatures:
        raise ConfigurationError(f"{folder}: no signature of the SavedModel has an output.")
    name = DEFAULT_SIGNATURE if DEFAULT_SIGNATURE in signatures else next(iter(signatures))
    inputs = {key: info.name for key, info in sorted(signatures[name].inputs.items())}
    outputs = {key: info.name for key, info in sorted(signatures[name].outputs.items())}
    refusal = f"{folder}: the signature {name!r} cannot be frozen"
    if not inputs:
        raise ConfigurationError(
            f"{refusal}: it takes no input, so it tells of the model's state; serve it with `backend: saved_model`."
        )
    try:
        with deprecation.silence():
            tf.compat.v1.saved_model.loader.load(session, list(meta_graph.meta_info_def.tags), str(folder))
        tensors = [session.graph.get_tensor_by_name(tensor) for tensor in [*inputs.values(), *outputs.values()]]
        graph_def = freeze_session(session, tensors)
    except (tf.errors.OpError, OSError, ValueError, TypeError, RuntimeError, KeyError) as exc:
        raise ConfigurationError(
            f"{refusal} ({one_line(exc)}); if `./run.sh check` can load it, serve it with `backend: saved_model`."
        ) from exc
    if holds_state(graph_def, [tensor.split(":")[0] for tensor in outputs.values()]):
        raise ConfigurationError(
            f"{refusal}: it needs a lookup table or other state, which no frozen graph can hold; serve it with"
            " `backend: saved_model`."
        )

    def run(values: Tensors) -> Tensors:
        answers = session.run(list(outputs.values()), {inputs[key]: value for key, value in values.items()})
        return {key: np.asarray(answer) for key, answer in zip(outputs, answers, strict=True)}

    return _source(name, graph_def, inputs, outputs, run)


def _source(
    name: str, graph_def: Any, inputs: Mapping[str, str], outputs: Mapping[str, str], run: Callable[[Tensors], Tensors]
) -> Source:
    graph = import_graph(graph_def, Path(name))
    takes, gives = (
        {key: tensor_info(key, graph.get_tensor_by_name(tensor)) for key, tensor in side.items()}
        for side in (inputs, outputs)
    )
    return Source(Signature(name, takes, gives), graph_def, inputs, outputs, run)


def _on_processor() -> Any:
    import tensorflow as tf

    return tf.compat.v1.ConfigProto(device_count={"GPU": 0})
