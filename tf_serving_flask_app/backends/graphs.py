"""A ``tf.Graph`` made of a definition, its tensors found and named, and what TensorFlow says of it in one line."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tf_serving_flask_app.errors import ConfigurationError
from tf_serving_flask_app.spec_parts import TensorSpec
from tf_serving_flask_app.tensors import TensorInfo

NOISE = re.compile(r"^\d+ root error\(s\) found\.|^\s*\(\d+\) [A-Z_]+: |\{\{[^}]*\}\}|\[\[.*")
"""What TensorFlow writes around its reasons: counts and kinds of errors, and names of the graph's nodes."""

MAX_REASON = 500


def import_graph(graph_def: Any, path: Path) -> Any:
    """Make a ``tf.Graph`` of a graph definition.

    Raises:
        ConfigurationError: the definition is not valid, or needs operations that this TensorFlow lacks.
    """
    import tensorflow as tf

    graph = tf.Graph()
    with graph.as_default():
        try:
            tf.import_graph_def(graph_def, name="")
        except (ValueError, tf.errors.OpError) as exc:
            raise ConfigurationError(f"{path}: TensorFlow cannot import this graph: {one_line(exc)}") from exc
    return graph


def find_tensor(graph: Any, name: str, path: Path) -> Any:
    """Find a tensor by name; ``input`` means ``input:0``.

    Raises:
        ConfigurationError: the graph has none of that name; the text names the nearest.
    """
    wanted = name if ":" in name else f"{name}:0"
    try:
        return graph.get_tensor_by_name(wanted)
    except (KeyError, ValueError) as exc:
        operations = [operation.name for operation in graph.get_operations()]
        near = difflib.get_close_matches(wanted.split(":")[0], operations, n=1)
        hint = f" The nearest is '{near[0]}:0'." if near else ""
        raise ConfigurationError(
            f"{path}: the graph has no tensor {wanted!r}.{hint} `./run.sh inspect {path.name}` lists them all."
        ) from exc


def bind(named: Mapping[str, TensorSpec], found: Mapping[str, Any], where: Path | str) -> dict[str, Any]:
    """Give a signature's tensors the public names that the spec asks for; without a spec, their own.

    Args:
        named: the spec's ``inputs`` or ``outputs``.
        found: the signature's own names -> graph tensors.
        where: the model, for the error's text.

    Raises:
        ConfigurationError: the spec names what the signature does not have.
    """
    if not named:
        return dict(found)
    bound = {}
    for name, tensor in named.items():
        own = tensor.tensor or name
        if own not in found:
            raise ConfigurationError(
                f"{where}: the signature has no tensor {own!r}; it has {', '.join(map(repr, found)) or 'none'}."
            )
        bound[name] = found[own]
    return bound


def tensor_info(name: str, tensor: Any) -> TensorInfo:
    """Describe a graph tensor under its public name."""
    try:
        dtype = np.dtype(tensor.dtype.base_dtype.as_numpy_dtype)
    except (TypeError, KeyError):
        # Handles and variants: no client can send or get one.
        dtype = np.dtype(np.void)
    shape = None if tensor.shape.rank is None else tuple(tensor.shape.as_list())
    return TensorInfo(name, dtype, shape, tensor.name or "")


def one_line(exc: Exception) -> str:
    """What TensorFlow or Keras complains of, without the headings above it and the graph's stack below it."""
    headings = ("Graph execution error", "Detected at node", "Node:", "[[", "in user code:", 'File "')
    lines = [NOISE.sub("", line).strip() for line in str(exc).splitlines()]
    reasons = [line for line in lines if line and not line.startswith(headings)]
    if not reasons:
        return type(exc).__name__
    # A line that ends in a colon announces the next.
    return (" ".join(reasons[:2]) if reasons[0].endswith(":") else reasons[0])[:MAX_REASON]
