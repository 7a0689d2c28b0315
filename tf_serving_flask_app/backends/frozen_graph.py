"""A frozen graph: one GraphDef file whose variables are constants."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tf_serving_flask_app.backends.graphs import find_tensor, import_graph
from tf_serving_flask_app.backends.tensorflow_session import TensorFlowSession, session_config
from tf_serving_flask_app.errors import ConfigurationError
from tf_serving_flask_app.spec import ModelSpec
from tf_serving_flask_app.spec_parts import TensorSpec

PLACEHOLDERS = {"Placeholder", "PlaceholderV2"}
VARIABLES = {"Variable", "VariableV2", "VarHandleOp"}
FUNCTION_RESULT = re.compile(r"Identity(_\d+)?")
SIDE_OPERATIONS = PLACEHOLDERS | {"Assert", "NoOp", "PlaceholderWithDefault", "Const", "CheckNumerics", "Print"}


class FrozenGraph(TensorFlowSession):
    """Serves a frozen graph under the spec's one signature."""

    platform = "tensorflow_graphdef"

    def __init__(self, spec: ModelSpec) -> None:
        """Load the graph; inputs and outputs that the spec leaves out are found in it."""
        import tensorflow as tf

        graph = import_graph(read_graph_def(spec.path), spec.path)
        inputs = _named(graph, spec.inputs, spec.path) or find_inputs(graph)
        if not spec.inputs and len(inputs) != 1:
            raise ConfigurationError(
                f"{spec.path}: the graph has {len(inputs)} placeholders"
                f" ({', '.join(tensor.name for tensor in inputs.values()) or 'none'}), so the spec must name the"
                " inputs: `inputs: {name: tensor}`."
            )
        outputs = _named(graph, spec.outputs, spec.path) or find_outputs(graph)
        if not outputs:
            raise ConfigurationError(f"{spec.path}: the graph has no outputs; name some: `outputs: {{name: tensor}}`.")
        _check_complete(inputs, outputs, spec.path)
        session = tf.compat.v1.Session(graph=graph, config=session_config(spec.session))
        self._start(
            spec, session, {spec.signature: (inputs, outputs)}, version=1 if spec.version is None else spec.version
        )


def read_graph_def(path: Path) -> Any:
    """Read a binary GraphDef.

    Raises:
        ConfigurationError: the file is something else, or larger than a protocol buffer may be.
    """
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    graph_def = tf.compat.v1.GraphDef()
    if not path.is_file() or path.name == "saved_model.pb":
        raise ConfigurationError(
            f"{path}: a frozen graph is one .pb file; is this a SavedModel (`backend: saved_model` and its folder)?"
        )
    try:
        graph_def.ParseFromString(path.read_bytes())
    except DecodeError as exc:
        raise ConfigurationError(f"{path}: not a frozen graph (a binary GraphDef): {exc}.") from exc
    if not graph_def.node:
        raise ConfigurationError(f"{path}: the graph is empty.")
    return graph_def


def find_inputs(graph: Any) -> dict[str, Any]:
    """Find the placeholders that something in the graph consumes: operation name -> tensor.

    Freezing a TensorFlow 2 function with loops leaves others in the graph, ``unused_control_flow_input``.
    """
    return {
        operation.name: operation.outputs[0]
        for operation in graph.get_operations()
        if operation.type in PLACEHOLDERS and operation.outputs[0].consumers()
    }


def find_outputs(graph: Any) -> dict[str, Any]:
    """Find the results that nothing in the graph consumes: operation name (and ``:index`` from 1) -> tensor.

    Freezing a TensorFlow 2 function names its results ``Identity``, ``Identity_1``...: where there are such, the
    other loose ends are left-overs of its control flow.
    """
    found = {
        tensor.name.removesuffix(":0"): tensor
        for operation in graph.get_operations()
        if operation.type not in SIDE_OPERATIONS and not any(tensor.consumers() for tensor in operation.outputs)
        for tensor in operation.outputs
    }
    return {name: tensor for name, tensor in found.items() if FUNCTION_RESULT.fullmatch(name)} or found


def _check_complete(inputs: dict[str, Any], outputs: dict[str, Any], path: Path) -> None:
    """Refuse outputs that need more than the inputs and the file's constants: every call would fail."""
    seen = {tensor.op for tensor in inputs.values()}
    waiting = [tensor.op for tensor in outputs.values()]
    while waiting:
        operation = waiting.pop()
        if operation in seen:
            continue
        if operation.type in PLACEHOLDERS:
            raise ConfigurationError(
                f"{path}: the outputs need the placeholder {operation.outputs[0].name!r} too: name it in `inputs`, or"
                " choose `outputs` that do without."
            )
        if operation.type in VARIABLES:
            raise ConfigurationError(
                f"{path}: the graph is not frozen: the variable {operation.name!r} has no value in this file. Freeze"
                " it, or serve the SavedModel that it comes from."
            )
        seen.add(operation)
        waiting.extend(tensor.op for tensor in operation.inputs)
        waiting.extend(operation.control_inputs)


def _named(graph: Any, named: dict[str, TensorSpec], path: Path) -> dict[str, Any]:
    """Find the tensors that the spec names, under their public names."""
    return {name: find_tensor(graph, tensor.tensor or name, path) for name, tensor in named.items()}
