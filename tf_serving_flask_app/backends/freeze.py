"""Fold variables into constants, so that a loaded model runs as fast as a frozen graph does."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

FOLDED = frozenset({"VarHandleOp", "ReadVariableOp", "ResourceGather", "ResourceGatherNd"})
"""Operations on a variable that TensorFlow can replace by the same on a constant."""

FOLDED_IN_FUNCTIONS = FOLDED - {"ResourceGather", "ResourceGatherNd"}
"""Those which it replaces inside the body of a function too."""


def freeze_function(function: Any) -> Any:
    """Fold the variables of a concrete function into its graph.

    Args:
        function: a ``ConcreteFunction`` that takes plain tensors.

    Returns:
        The frozen ``ConcreteFunction``: its ``graph``, ``inputs`` and ``outputs`` are those to run.

    Raises:
        ValueError: it needs more than variables, such as a lookup table.
    """
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2
    from tensorflow.python.util import deprecation

    with deprecation.silence():
        frozen = convert_variables_to_constants_v2(function)
    if any(tensor.dtype == tf.resource for tensor in frozen.inputs):
        raise ValueError(
            "it holds a lookup table or the like, which is no variable; write it as a SavedModel by"
            " model.export('FOLDER') and serve that."
        )
    return frozen


def freeze_session(session: Any, tensors: Iterable[Any]) -> Any:
    """Fold the variables of an initialised session into the part of its graph that the tensors need.

    Returns:
        A ``GraphDef`` in which the tensors keep their names.
    """
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_from_session_graph
    from tensorflow.python.util import deprecation

    names = sorted({tensor.op.name for tensor in tensors})
    with deprecation.silence():
        return convert_variables_to_constants_from_session_graph(session, session.graph_def, names)


def can_freeze(graph_def: Any, tensors: Iterable[Any]) -> bool:
    """Tell whether what the tensors need of a graph has variables, only reads them, and holds no other state."""
    nodes, called = _needed_nodes(graph_def, [tensor.op.name for tensor in tensors])
    return (
        any(node.op == "VarHandleOp" for node in nodes)
        and not any(_keeps_state(node, FOLDED) for node in nodes)
        and not any(_keeps_state(node, FOLDED_IN_FUNCTIONS) for node in called)
    )


def holds_state(graph_def: Any, names: Iterable[str]) -> bool:
    """Tell whether the nodes of these names need anything that a graph's file does not hold: a table, a variable."""
    nodes, called = _needed_nodes(graph_def, list(names))
    return any(_keeps_state(node, frozenset()) for node in [*nodes, *called])


def functions_called(node: Any) -> set[str]:
    """Name the functions that a node calls."""
    return {
        function.name
        for value in node.attr.values()
        for function in ([value.func] if value.HasField("func") else value.list.func)
    }


def _keeps_state(node: Any, folded: frozenset[str]) -> bool:
    """Tell whether a node holds or may change what outlives a call: a variable, a table, a queue, an iterator."""
    from tensorflow.python.framework import op_def_registry
    from tensorflow.python.framework.dtypes import resource

    if node.op in folded:
        return False
    definition = op_def_registry.get(node.op)
    # An operation that is not registered is TensorFlow 1's direct call of a function, which is never folded.
    return definition is None or any(
        argument.is_ref or argument.type == resource.as_datatype_enum
        for argument in (*definition.input_arg, *definition.output_arg)
    )


def _needed_nodes(graph_def: Any, names: list[str]) -> tuple[list[Any], list[Any]]:
    """The nodes from which those of the given names are computed, and those of the functions that they call."""
    nodes = {node.name: node for node in graph_def.node}
    needed: dict[str, Any] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed[name] = nodes[name]
            waiting.extend(source.split(":")[0].removeprefix("^") for source in nodes[name].input)
    # A function's body has names of its own, so it is taken whole rather than followed through the graph's names.
    bodies = {function.signature.name: function.node_def for function in graph_def.library.function}
    found, called = list(needed.values()), set[str]()
    for node in found:
        for name in functions_called(node) - called:
            called.add(name)
            found.extend(bodies.get(name, []))
    return found[: len(needed)], found[len(needed) :]
