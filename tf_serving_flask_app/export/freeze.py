"""Make a frozen graph fast: named tensors, nothing that only training needs, batch norms inside the convolutions.

Most is done by TensorFlow's own tools. Grappler folds constants, and with them the scale of a batch normalisation
into the kernel of a ``Conv2D`` right before it; ``fold_batch_norms`` does the same for the operation
``FusedBatchNorm``. ``folding`` does what neither of them does.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from tf_serving_flask_app.export.folding import fold_scales

GRAPPLER = ("function", "pruning", "loop", "dependency", "constfold", "arithmetic")
"""Grappler's optimisers that are worth a place in a file.

The others, which fuse operations into those of one kind of processor, run whenever a session loads the graph.
"""


def optimise(graph_def: Any, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> Any:
    """Make a frozen graph smaller and faster without changing its answers by more than rounding.

    Args:
        graph_def: a ``GraphDef`` without variables.
        inputs: name that a placeholder gets -> tensor that it takes the place of.
        outputs: name that a result gets -> its tensor.

    Returns:
        A ``GraphDef`` with the tensors ``NAME:0``.
    """
    from tensorflow.python.framework.graph_util_impl import extract_sub_graph
    from tensorflow.python.tools.optimize_for_inference_lib import fold_batch_norms
    from tensorflow.python.util import deprecation

    named = _rename(graph_def, inputs, outputs)
    for node in named.node:
        if node.op == "PlaceholderWithDefault" and node.name not in inputs:
            # A switch between training and inference that no input reaches: it keeps its default.
            node.op = "Identity"
            del node.attr["shape"]
            node.attr["T"].CopyFrom(node.attr.pop("dtype"))
    with deprecation.silence():
        needed = extract_sub_graph(named, list(outputs))
    optimised = _grappler(needed, list(inputs), list(outputs))
    notes = logging.getLogger("tensorflow")
    level = notes.level
    notes.setLevel(logging.ERROR)  # else a warning for each normalisation that is behind no convolution
    try:
        folded = fold_batch_norms(optimised)
    finally:
        notes.setLevel(level)
    # Functions of loops that are still called, and what TensorFlow wrote the graph: it leaves them out.
    folded.library.CopyFrom(optimised.library)
    folded.versions.CopyFrom(optimised.versions)
    with deprecation.silence():
        result = extract_sub_graph(fold_scales(folded), list(outputs))
    placed = {node.name for node in result.node}
    # An input that no output needs stays: it is part of the signature.
    result.node.extend(node for node in named.node if node.name in inputs and node.name not in placed)
    return result


def _rename(graph_def: Any, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> Any:
    """Give a graph placeholders and results of the wanted names; what it had lies below ``model/``."""
    import tensorflow as tf

    source = tf.Graph()
    with source.as_default():
        tf.import_graph_def(graph_def, name="")
    graph = tf.Graph()
    with graph.as_default():
        placed = {}
        for name, tensor in inputs.items():
            found = source.get_tensor_by_name(tensor)
            placed[tensor] = tf.compat.v1.placeholder(found.dtype, found.shape, name)
        results = tf.import_graph_def(graph_def, placed, list(outputs.values()), name="model")
        for name, tensor in zip(outputs, results, strict=True):
            # Its shape is part of the signature, and the new graph's own inference may know less.
            tensor.set_shape(source.get_tensor_by_name(outputs[name]).shape)
            tf.identity(tensor, name)
    return graph.as_graph_def()


def _grappler(graph_def: Any, inputs: list[str], outputs: list[str]) -> Any:
    """Run TensorFlow's graph optimiser."""
    import tensorflow as tf
    from tensorflow.python.grappler import tf_optimizer

    config = tf.compat.v1.ConfigProto(device_count={"GPU": 0})
    rewrite = config.graph_options.rewrite_options
    rewrite.optimizers.extend(GRAPPLER)
    rewrite.meta_optimizer_iterations = rewrite.TWO
    rewrite.min_graph_nodes = -1
    rewrite.fail_on_optimizer_errors = True
    # Also into calls that TensorFlow takes for stateful: what had state was refused, or is a constant now.
    rewrite.function_optimization = rewrite.AGGRESSIVE
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(graph_def, name="")
        meta_graph = tf.compat.v1.train.export_meta_graph(graph_def=graph_def, graph=graph)
    present = {node.name for node in graph_def.node}
    for side, names in (("train_op", outputs), ("feeds", inputs)):
        # Grappler keeps what it finds under any of these; the first is what it takes for a graph's results.
        meta_graph.collection_def[side].node_list.value.extend(name for name in names if name in present)
    return tf_optimizer.OptimizeGraph(config, meta_graph)
