"""Have convolutions do the padding before them, where they can: a step of its own copies the whole picture first.

Keras pads before each convolution that halves a picture (MobileNet, EfficientNet...), so as to train on every processor
alike. For the sizes that pictures have in these networks that is mostly what ``padding="SAME"`` does, to the bit.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

PADDINGS = frozenset({"Pad", "PadV2"})
CONVOLUTIONS = frozenset({"Conv2D", "DepthwiseConv2dNative"})
SPATIAL = (1, 2)
"""Dimensions of a picture with the channels last."""

LOOPS = frozenset({"Enter", "NextIteration"})
"""Operations whose copies would take part in the same loop."""

COPY = "without_padding"


def absorb_padding(graph: Any, fed: Collection[str]) -> Mapping[str, str]:
    """Add, to what a graph has, a copy of all that follows such a padding, which does without it.

    The graph itself stays as it is: for a picture of another size than it notes, ``SAME`` may be another padding.

    Args:
        graph: a ``tf.Graph``.
        fed: names of the tensors that are given to it; what follows a padding is computed, none of it given.

    Returns:
        Name of a tensor -> that of the same in the copy; empty where no padding can be left out.
    """
    import tensorflow as tf

    absorbed = {
        operation.name: padding
        for operation in graph.get_operations()
        if (padding := _same_padding(operation)) is not None
    }
    changed = _followers([graph.get_operation_by_name(name) for name in absorbed])
    computed = {tensor.name for operation in (*absorbed.values(), *changed.values()) for tensor in operation.outputs}
    if not changed or computed & set(fed) or any(operation.type in LOOPS for operation in changed.values()):
        return {}
    nodes = tf.compat.v1.GraphDef(versions=graph.graph_def_versions)
    given: dict[str, Any] = {}
    for name, operation in changed.items():
        node = nodes.node.add()
        node.CopyFrom(operation.node_def)
        node.attr.pop("_class", None)  # what it should be placed with may not be in the copy
        sources = list(operation.inputs)
        if name in absorbed:
            sources[0] = absorbed[name].inputs[0]
            node.attr["padding"].s = b"SAME"
        node.input[:] = [source.name for source in sources]
        given |= {source.name: source for source in sources if source.op.name not in changed}
    with graph.as_default():
        imported = tf.import_graph_def(nodes, given, list(changed), name=COPY)
    copies = dict(zip(changed, imported, strict=True))
    for name, copy in copies.items():
        # What is not in the copy cannot be named while it is imported.
        copy._add_control_inputs([copies.get(other.name, other) for other in changed[name].control_inputs])
    return {
        output.name: twin.name
        for name, copy in copies.items()
        for output, twin in zip(changed[name].outputs, copy.outputs, strict=True)
    }


def _followers(operations: Collection[Any]) -> dict[str, Any]:
    """These operations and all that use their results: name -> operation."""
    found: dict[str, Any] = {}
    waiting = list(operations)
    while waiting:
        operation = waiting.pop()
        if operation.name not in found:
            found[operation.name] = operation
            waiting.extend(user for output in operation.outputs for user in output.consumers())
    return found


def _same_padding(operation: Any) -> Any | None:
    """The padding with zeros before a convolution, if it is the one that ``SAME`` stands for."""
    if operation.type not in CONVOLUTIONS or operation.get_attr("padding") != b"VALID":
        return None
    padding, filters = operation.inputs[0].op, operation.inputs[1].shape
    if padding.type not in PADDINGS or operation.get_attr("data_format") != b"NHWC" or filters.rank != 4:
        return None
    around = _zeros_around(padding)
    sizes = padding.inputs[0].shape
    if around is None or sizes.rank != 4 or around[0].any() or around[3].any():
        return None
    strides, dilations = operation.get_attr("strides"), operation.get_attr("dilations")
    for dimension in SPATIAL:
        size, length = sizes[dimension], filters[dimension - 1]
        if size is None or length is None:
            return None
        same = _same(size, (length - 1) * dilations[dimension] + 1, strides[dimension])
        if tuple(around[dimension]) != same:
            return None
    return padding


def _zeros_around(padding: Any) -> Any | None:
    """How many zeros are put before and after each dimension, an array [rank, 2].

    None where that is not known, or where the padding waits for something else to be done.
    """
    import tensorflow as tf

    if any(operation.control_inputs for operation in (padding, *(tensor.op for tensor in padding.inputs[1:]))):
        return None
    filling = 0 if padding.type == "Pad" else tf.get_static_value(padding.inputs[2])
    return tf.get_static_value(padding.inputs[1]) if np.all(np.equal(filling, 0)) else None


def _same(size: int, extent: int, stride: int) -> tuple[int, int]:
    """How many zeros ``SAME`` puts before and after a dimension.

    The formula is in the notes on padding of https://www.tensorflow.org/api_docs/python/tf/nn.

    Args:
        size: of the dimension.
        extent: of the filter, its gaps included.
        stride: of the filter.
    """
    total = max((-(-size // stride) - 1) * stride + extent - size, 0)
    return total // 2, total - total // 2
