"""``session.precision: bfloat16`` and ``session.xla``: refused where they would do nothing, or make a model slower."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tf_serving_flask_app.backends.freeze import functions_called
from tf_serving_flask_app.errors import SessionRefused
from tf_serving_flask_app.spec import ModelSpec
from tf_serving_flask_app.tensors import Signature, zeros

logger = logging.getLogger(__name__)

CPUINFO = Path("/proc/cpuinfo")

BFLOAT16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
"""What Linux calls the instructions that multiply bfloat16: the first two on x86-64, the last on ARM."""

XLA_CLUSTER = "_XlaRun"
"""The operation that runs what XLA compiled."""

PLUMBING = frozenset(
    {"_Arg", "_Retval", "Const", "Identity", "NoOp", "Placeholder", "ReadVariableOp", "VarHandleOp", "VariableV2"}
)
"""Operations that no compiler would make faster."""

TRIED_LENGTHS = (1, 64)
"""Of the dimensions that a signature leaves open: one row, and pixels enough for a network that makes them fewer."""

MOST_NAMED = 6


def check_machine(spec: ModelSpec, cpuinfo: Path = CPUINFO) -> None:
    """Refuse bfloat16 on a processor or a TensorFlow that is not made for it.

    Args:
        spec: the model's.
        cpuinfo: where Linux tells what the processor has; a file that is not there tells nothing.

    Raises:
        SessionRefused: naming the field, the reason and the remedy.
    """
    from tensorflow.python.util import _pywrap_util_port as build

    if spec.session.xla and not build.IsBuiltWithXLA():
        raise SessionRefused(spec.name, "xla", "this TensorFlow is built without XLA")
    if spec.session.precision == "float32":
        return
    flags = processor_flags(cpuinfo)
    if flags and not flags & BFLOAT16_FLAGS:
        raise SessionRefused(
            spec.name,
            "precision",
            "this processor cannot compute in bfloat16 (it has neither avx512_bf16 nor amx_bf16, or on ARM bf16), so it"
            " would be slower than in float32",
        )
    if not build.IsMklEnabled():
        raise SessionRefused(
            spec.name,
            "precision",
            "bfloat16 is computed by oneDNN, which TF_ENABLE_ONEDNN_OPTS=0 switches off or this TensorFlow lacks",
        )


def check_graph(spec: ModelSpec, session: Any, signature: Signature) -> None:
    """Refuse what TensorFlow's optimisers, asked for it, do nowhere in a model's graph.

    They leave what they cannot change as it is, and say nothing. So the graph that is run in the end is looked at.

    Args:
        spec: the model's.
        session: the ``tf.compat.v1.Session`` with its graph.
        signature: the one to look at.

    Raises:
        SessionRefused: naming the field, the reason and the remedy.
    """
    nodes = executed_nodes(session, signature)
    if nodes is None:
        logger.info(
            "model %s: signature %s refuses zeros, so it was not tried whether `session` acts",
            spec.name,
            signature.name,
        )
        return
    # What a function does that is still called as one cannot be seen here.
    opaque = any(functions_called(node) for node in nodes)
    if spec.session.xla and not opaque and not any(node.op == XLA_CLUSTER for node in nodes):
        raise SessionRefused(
            spec.name,
            "xla",
            f"XLA compiles nothing in this graph ({_named_operations(nodes)}): it takes no strings, tables, encoded"
            " pictures or shapes that depend on values, nothing that oneDNN computes, and no fewer than 4 operations",
        )
    if spec.session.precision == "bfloat16" and not opaque and not any(map(_is_bfloat16, nodes)):
        raise SessionRefused(
            spec.name,
            "precision",
            f"nothing in this graph is computed in bfloat16 ({_named_operations(nodes)}): that takes a float32"
            " convolution or matrix product",
        )


def processor_flags(cpuinfo: Path) -> frozenset[str]:
    """Read what the first processor can do; nothing where the file is not there."""
    lines = cpuinfo.read_text("utf-8", "replace").splitlines() if cpuinfo.exists() else []
    found = (line.partition(":")[2].split() for line in lines if line.startswith(("flags", "Features")))
    return frozenset(next(found, ()))


def executed_nodes(session: Any, signature: Signature) -> Sequence[Any] | None:
    """Find what is run for a signature, after all optimisers; None where the model refuses zeros."""
    import tensorflow as tf
    from tensorflow.core.protobuf.config_pb2 import CallableOptions

    tensors = [info.tensor for info in signature.inputs.values()]
    fetches = dict.fromkeys(info.tensor for info in signature.outputs.values() if info.tensor not in tensors)
    options = CallableOptions(feed=tensors, fetch=fetches)
    options.run_options.output_partition_graphs = True
    call = session._make_callable_from_options(options)
    for length in TRIED_LENGTHS:
        metadata = tf.compat.v1.RunMetadata()
        try:
            call(*[zeros(info, length) for info in signature.inputs.values()], run_metadata=metadata)
        except (tf.errors.OpError, ValueError, TypeError):
            continue
        return [node for graph in metadata.partition_graphs for node in graph.node]
    return None


def _is_bfloat16(node: Any) -> bool:
    import tensorflow as tf

    return any(value.type == tf.bfloat16.as_datatype_enum for value in node.attr.values())


def _named_operations(nodes: Sequence[Any]) -> str:
    kinds = Counter(node.op for node in nodes if node.op not in PLUMBING)
    named = [kind for kind, _ in kinds.most_common(MOST_NAMED)]
    return ", ".join(named + ["..."] * (len(kinds) > MOST_NAMED)) or "it computes nothing"
