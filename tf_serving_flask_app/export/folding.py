"""Fold what Keras' batch normalisation becomes, ``x * scale + shift`` with constants, into the convolution before it.

TensorFlow's graph optimiser does so for a ``Conv2D`` without a bias. Here are a bias in between, and depthwise
convolutions. Only graphs with the channels last are changed, which are those that run on a processor.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt

Constant = npt.NDArray[Any]

ADDITIONS = frozenset({"BiasAdd", "Add", "AddV2"})
CONVOLUTIONS = frozenset({"Conv2D", "DepthwiseConv2dNative"})


def fold_scales(graph_def: Any) -> Any:
    """Fold factors for each channel into the kernels of convolutions, and join the additions that follow.

    ``(x * kernel + bias) * scale + shift`` becomes ``x * (kernel scale) + (bias scale + shift)``, with or without bias.

    Args:
        graph_def: without variables; it is not changed.

    Returns:
        A ``GraphDef`` that gives the same, with nodes that nothing needs any more.
    """
    graph = _Graph(graph_def)
    for node in list(graph.nodes.values()):
        if node.op == "Mul":
            graph.fold_scale(node)
    for node in list(graph.nodes.values()):
        if node.op in ADDITIONS:
            graph.join_additions(node)
    return graph.graph_def


class _Graph:
    """A copy of a graph definition, to be changed; a node that is folded keeps its name, and so all who use it."""

    def __init__(self, graph_def: Any) -> None:
        self.graph_def = type(graph_def)()
        self.graph_def.CopyFrom(graph_def)
        self.nodes = {node.name: node for node in self.graph_def.node}
        self.uses = Counter(name.removesuffix(":0") for node in self.graph_def.node for name in node.input)

    def fold_scale(self, node: Any) -> None:
        """Make a ``Mul`` the convolution before it with a scaled kernel, or the addition between the two."""
        split = self._split(node)
        if split is None:
            return
        source, scale = split
        addition, bias = None, None
        if source.op in ADDITIONS and (inner := self._split(source)) is not None:
            addition, (source, bias) = source, inner
        if source.op not in CONVOLUTIONS or not all(map(self._is_only_step, filter(None, (source, addition)))):
            return
        kernel = self._constant(source.input[1])
        if kernel is None:
            return
        # A depthwise kernel is [height, width, channels, multiplier], of channels * multiplier results in that order.
        results = kernel.shape[2:] if source.op == "DepthwiseConv2dNative" else kernel.shape[3:]
        channels = int(np.prod(results))
        if not _by_channel(scale, channels) or (bias is not None and not _by_channel(bias, channels)):
            return
        factors = np.broadcast_to(scale.reshape(-1), channels)
        name, convolution, sum_of = node.name, type(node)(), type(node)()
        convolution.CopyFrom(source)
        convolution.input[1] = self._add(f"{name}/kernel", kernel * factors.reshape(results))
        convolution.name = name
        if addition is not None and bias is not None:
            sum_of.CopyFrom(addition)
            convolution.name, sum_of.name = f"{name}/convolution", name
            scaled = np.broadcast_to(bias.reshape(-1), channels) * factors
            sum_of.input[:] = [convolution.name, self._add(f"{name}/bias", scaled)]
            self._place(sum_of)
        self._place(convolution)

    def join_additions(self, node: Any) -> None:
        """Make ``(x + a) + b`` of two constants ``x + (a + b)``."""
        split = self._split(node)
        if split is None:
            return
        source, outer = split
        if source.op not in ADDITIONS or not self._is_only_step(source) or (inner := self._split(source)) is None:
            return
        total = inner[1] + outer
        if "BiasAdd" in (node.op, source.op) and total.ndim != 1:
            return
        node.input[:] = [inner[0].name, self._add(f"{node.name}/sum", total)]

    def _split(self, node: Any) -> tuple[Any, Constant] | None:
        """The computed input and the constant one, of an operation with one of each and nothing else."""
        if len(node.input) != 2 or _channels_first(node):
            return None
        values = [self._constant(name) for name in node.input]
        for constant, other in ((values[1], 0), (values[0], 1)):
            source = self.nodes.get(node.input[other].removesuffix(":0"))
            if constant is not None and values[other] is None and source is not None:
                return source, constant
        return None

    def _is_only_step(self, node: Any) -> bool:
        """Tell whether one node alone uses this one, which has its channels last and waits for no other."""
        waits = any(name.startswith("^") for name in node.input)
        return self.uses[node.name] == 1 and not waits and not _channels_first(node)

    def _constant(self, name: str) -> Constant | None:
        import tensorflow as tf

        node = self.nodes.get(name.removesuffix(":0"))
        return None if node is None or node.op != "Const" else tf.make_ndarray(node.attr["value"].tensor)

    def _place(self, node: Any) -> None:
        """Put a node in, in place of that of its name."""
        if node.name not in self.nodes:
            self.nodes[node.name] = self.graph_def.node.add()
        self.nodes[node.name].CopyFrom(node)
        self.uses.update(name for name in node.input)

    def _add(self, name: str, values: Constant) -> str:
        """Put a constant in; returns its name."""
        import tensorflow as tf

        node = self.graph_def.node.add(name=name, op="Const")
        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(values))
        node.attr["dtype"].type = node.attr["value"].tensor.dtype
        self.nodes[name] = node
        return name


def _channels_first(node: Any) -> bool:
    # Asking a node for an attribute that it lacks would give it that attribute.
    return "data_format" in node.attr and bool(node.attr["data_format"].s.startswith(b"NC"))


def _by_channel(values: Constant, channels: int) -> bool:
    """Tell whether a constant holds one number for all channels of a picture, or one for each."""
    return values.size == 1 or values.size == channels == values.shape[-1]
