"""Convolutions that do the padding before them: which can, that they answer the same, and what stays as it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.backends.models import Load
from tf_serving_flask_app.backends.padding import COPY, absorb_padding

pytestmark = pytest.mark.tensorflow

CHANNELS = 3
PADDED_BY_KERAS = [[0, 0], [0, 1], [0, 1], [0, 0]]
"""Before a convolution of 3x3 that halves a picture of even sides."""


def convolution(tf: Any, x: Any, kind: str = "Conv2D", side: int = 3, stride: int = 2, dilation: int = 1) -> Any:
    """A convolution without a padding of its own; its kernel tells every place in it from the others."""
    kernel = np.random.default_rng(0).random((side, side, CHANNELS, CHANNELS), np.float32)
    operation = {"Conv2D": tf.nn.conv2d, "DepthwiseConv2dNative": tf.raw_ops.DepthwiseConv2dNative}[kind]
    steps, gaps = [1, stride, stride, 1], [1, dilation, dilation, 1]
    if kind == "Conv2D":
        return operation(x, kernel, steps, "VALID", dilations=gaps)
    return operation(input=x, filter=kernel, strides=steps, padding="VALID", dilations=gaps)


def waiting(tf: Any, x: Any) -> Any:
    """A padding that is only done for pictures that were looked at."""
    with tf.control_dependencies([tf.compat.v1.assert_less(x, 2.0)]):
        return tf.pad(x, PADDED_BY_KERAS)


def build(make: Callable[[Any, Any], Any], height: int | None = 12, width: int | None = 16) -> Any:
    """A graph with ``y`` of pictures ``x``."""
    import tensorflow as tf

    graph = tf.Graph()
    with graph.as_default():
        x = tf.compat.v1.placeholder(tf.float32, [None, height, width, CHANNELS], "x")
        tf.identity(make(tf, x), name="y")
    return graph


def answers(graph: Any, tensors: list[str], height: int = 12, width: int = 16) -> list[Any]:
    """What a graph gives for two pictures."""
    import tensorflow as tf

    pictures = np.random.default_rng(1).random((2, height, width, CHANNELS), np.float32)
    with tf.compat.v1.Session(graph=graph) as session:
        found: list[Any] = session.run(tensors, {"x:0": pictures})
    return found


def paddings(graph: Any, tensor: str) -> int:
    """How many paddings a tensor is computed by."""
    import tensorflow as tf

    needed = tf.compat.v1.graph_util.extract_sub_graph(graph.as_graph_def(), [tensor.removesuffix(":0")])
    return sum(node.op.startswith("Pad") for node in needed.node)


def check_absorbed(graph: Any, count: int = 1, height: int = 12, width: int = 16) -> None:
    """``y`` stays as it was, and its copy is the same, to the bit, and needs no padding."""
    before = paddings(graph, "y:0")
    copy = absorb_padding(graph, ["x:0"])["y:0"]

    assert (before, paddings(graph, "y:0"), paddings(graph, copy)) == (count, count, 0)
    y, same = answers(graph, ["y:0", copy], height, width)
    np.testing.assert_array_equal(same, y)


@pytest.mark.parametrize("kind", ["Conv2D", "DepthwiseConv2dNative"])
@pytest.mark.parametrize(
    ("height", "width", "side", "stride", "rows", "columns"),
    [
        (12, 16, 3, 2, [0, 1], [0, 1]),
        (13, 16, 3, 2, [1, 1], [0, 1]),
        (12, 16, 5, 2, [1, 2], [1, 2]),
        (13, 17, 5, 2, [2, 2], [2, 2]),
        (12, 16, 3, 1, [1, 1], [1, 1]),
        (12, 15, 7, 3, [2, 2], [2, 2]),
    ],
)
def test_a_padding_that_is_what_same_does_is_left_to_the_convolution(
    kind: str, height: int, width: int, side: int, stride: int, rows: list[int], columns: list[int]
) -> None:
    around = [[0, 0], rows, columns, [0, 0]]
    graph = build(lambda tf, x: convolution(tf, tf.pad(x, around), kind, side, stride), height, width)
    check_absorbed(graph, 1, height, width)


def test_a_filter_with_gaps_is_as_large_as_it_reaches() -> None:
    around = [[0, 0], [2, 2], [2, 2], [0, 0]]
    check_absorbed(build(lambda tf, x: convolution(tf, tf.pad(x, around), stride=1, dilation=2)))


def test_zeros_may_be_written_as_a_padding_with_a_constant() -> None:
    def make(tf: Any, x: Any) -> Any:
        return convolution(tf, tf.raw_ops.PadV2(input=x, paddings=PADDED_BY_KERAS, constant_values=0.0))

    check_absorbed(build(make))


@pytest.mark.parametrize(
    "make",
    [
        lambda tf, x: convolution(tf, tf.pad(x, [[0, 0], [1, 0], [1, 0], [0, 0]])),
        lambda tf, x: convolution(tf, tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]])),
        lambda tf, x: convolution(tf, tf.pad(x, [[1, 0], [0, 1], [0, 1], [0, 0]])),
        lambda tf, x: convolution(tf, tf.pad(x, PADDED_BY_KERAS, constant_values=1)),
        lambda tf, x: convolution(tf, tf.pad(x, PADDED_BY_KERAS, mode="REFLECT")),
        lambda tf, x: convolution(tf, tf.pad(x, tf.compat.v1.placeholder_with_default(PADDED_BY_KERAS, [4, 2]))),
        lambda tf, x: convolution(tf, waiting(tf, x)),
        lambda tf, x: convolution(tf, x),
        lambda tf, x: tf.nn.max_pool2d(tf.pad(x, PADDED_BY_KERAS), 3, 2, "VALID"),
    ],
    ids=["before", "around", "batch", "ones", "mirrored", "fed", "checked", "none", "pooling"],
)
def test_any_other_padding_stays(make: Callable[[Any, Any], Any]) -> None:
    graph = build(make)
    before = len(graph.get_operations())

    assert absorb_padding(graph, ["x:0"]) == {}
    assert len(graph.get_operations()) == before


def test_a_padding_stays_where_the_size_of_the_picture_is_open() -> None:
    assert absorb_padding(build(lambda tf, x: convolution(tf, tf.pad(x, PADDED_BY_KERAS)), width=None), ["x:0"]) == {}


def test_a_graph_that_is_given_what_follows_a_padding_is_left_as_it_is() -> None:
    def make(tf: Any, x: Any) -> Any:
        return tf.identity(convolution(tf, tf.pad(x, PADDED_BY_KERAS, name="padded")), name="features")

    graph = build(make)

    assert absorb_padding(graph, ["padded:0"]) == {}
    assert absorb_padding(graph, ["x:0", "features:0"]) == {}
    assert absorb_padding(graph, ["x:0"])


def test_an_input_in_the_middle_of_a_graph_is_what_its_outputs_are_computed_of(tmp_path: Path, load: Load) -> None:
    graph = build(lambda tf, x: convolution(tf, tf.pad(x, PADDED_BY_KERAS, name="padded")))
    path = tmp_path / "middle.pb"
    path.write_bytes(graph.as_graph_def().SerializeToString())
    whole, second_half = load("frozen_graph", path), load("frozen_graph", path, inputs={"padded": "padded:0"})
    pictures = np.random.default_rng(1).random((2, 12, 16, CHANNELS), np.float32)
    padded = np.pad(pictures, PADDED_BY_KERAS)

    np.testing.assert_allclose(
        second_half.run("serving_default", {"padded": padded})["y"],
        whole.run("serving_default", {"x": pictures})["y"],
        rtol=1e-5,
    )


def test_what_needs_the_padded_picture_itself_gets_it() -> None:
    def make(tf: Any, x: Any) -> Any:
        padded = tf.pad(x, PADDED_BY_KERAS)
        return tf.reduce_sum(convolution(tf, padded)) + tf.reduce_sum(padded * padded)

    graph = build(make)
    y, same = answers(graph, ["y:0", absorb_padding(graph, ["x:0"])["y:0"]])

    assert same == y


def test_paddings_behind_each_other_are_all_left_out() -> None:
    def make(tf: Any, x: Any) -> Any:
        once = convolution(tf, tf.pad(x, PADDED_BY_KERAS))
        return convolution(tf, tf.pad(tf.nn.relu6(once), PADDED_BY_KERAS), "DepthwiseConv2dNative")

    check_absorbed(build(make), 2)


def test_constants_are_not_copied() -> None:
    graph = build(lambda tf, x: convolution(tf, tf.pad(x, PADDED_BY_KERAS)))
    constants = sum(operation.type == "Const" for operation in graph.get_operations())
    absorb_padding(graph, ["x:0"])

    assert sum(operation.type == "Const" for operation in graph.get_operations()) == constants


def test_a_function_that_follows_is_called_in_the_copy_too() -> None:
    def make(tf: Any, x: Any) -> Any:
        halve = tf.function(lambda y: y / 2)
        return halve(convolution(tf, tf.pad(x, PADDED_BY_KERAS)))

    check_absorbed(build(make))


def test_a_graph_whose_loops_follow_is_left_as_it_is() -> None:
    def make(tf: Any, x: Any) -> Any:
        tf.compat.v1.disable_control_flow_v2()
        try:
            y = convolution(tf, tf.pad(x, PADDED_BY_KERAS))
            _, y = tf.compat.v1.while_loop(lambda i, y: i < 3, lambda i, y: (i + 1, y * 2), (0, y))
        finally:
            tf.compat.v1.enable_control_flow_v2()
        return y

    assert absorb_padding(build(make), ["x:0"]) == {}


def test_what_a_result_waits_for_is_waited_for_in_the_copy_too() -> None:
    import tensorflow as tf

    def make(tf: Any, x: Any) -> Any:
        y = convolution(tf, tf.pad(x, PADDED_BY_KERAS))
        small = tf.compat.v1.assert_less(x, 2.0, message="too bright")
        checks = [tf.compat.v1.assert_less(y, 0.0, message="too much"), small]
        with tf.control_dependencies(checks):
            return tf.identity(y)

    graph = build(make)
    copy = absorb_padding(graph, ["x:0"])["y:0"]

    assert paddings(graph, copy) == 0
    with pytest.raises(tf.errors.InvalidArgumentError, match="too much"):
        answers(graph, [copy])


def test_pictures_of_other_sizes_than_the_graph_notes_are_padded_as_it_says(tmp_path: Path, load: Load) -> None:
    def make(tf: Any, x: Any) -> Any:
        return convolution(tf, tf.pad(x, PADDED_BY_KERAS))

    path = tmp_path / "padded.pb"
    path.write_bytes(build(make).as_graph_def().SerializeToString())
    backend = load("frozen_graph", path)
    for height, width in ((12, 16), (13, 15), (12, 16)):
        pictures = np.random.default_rng(1).random((2, height, width, CHANNELS), np.float32)
        (expected,) = answers(build(make, height, width), ["y:0"], height, width)
        np.testing.assert_allclose(backend.run("serving_default", {"x": pictures})["y"], expected, rtol=1e-5)


def test_a_keras_network_is_served_without_its_paddings(tmp_path: Path, load: Load) -> None:
    import keras

    keras.utils.set_random_seed(0)
    network = keras.applications.MobileNetV2(input_shape=(96, 96, 3), alpha=0.35, weights=None, classes=5)
    path = tmp_path / "network.keras"
    network.save(path)
    pictures = np.random.default_rng(0).random((2, 96, 96, 3), np.float32)
    expected = np.asarray(network(pictures))
    backend = load("keras", path)
    ((name, _),) = backend.signatures["serving_default"].inputs.items()
    (scores,) = backend.run("serving_default", {name: pictures}).values()

    np.testing.assert_allclose(scores, expected, atol=1e-5)
    assert padded_when_served(backend) == 0
    assert not any(info.name.startswith(COPY) for info in backend.tensors())


def padded_when_served(backend: Any) -> int:
    """How many paddings TensorFlow runs for the signature."""
    from tf_serving_flask_app.backends.acceleration import executed_nodes
    from tf_serving_flask_app.backends.tensorflow_session import computed_as

    signature = computed_as(backend.signatures["serving_default"], backend._without_padding)
    nodes = executed_nodes(backend._session, signature)
    assert nodes
    return sum(node.op.startswith("Pad") for node in nodes)
