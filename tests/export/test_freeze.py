"""Optimising: batch norms go into the convolutions, and the answers stay."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.export.networks import every_kind, shake
from tf_serving_flask_app.export.folding import fold_scales
from tf_serving_flask_app.export.freeze import optimise
from tf_serving_flask_app.export.sources import Source, keras_source, open_source

pytestmark = pytest.mark.tensorflow

ONLY_TRAINING = {"Identity", "IdentityN", "StopGradient", "CheckNumerics", "NoOp", "PlaceholderWithDefault"}


def optimised(source: Source) -> Any:
    (taken,), (given,) = source.inputs.values(), source.outputs.values()
    return optimise(source.graph_def, {"image": taken}, {"scores": given})


def operations(graph_def: Any) -> Counter[str]:
    return Counter(node.op for node in graph_def.node)


def answer(graph_def: Any, image: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    import tensorflow as tf

    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
    with tf.compat.v1.Session(graph=graph) as session:
        scores: np.ndarray[Any, Any] = session.run("scores:0", {"image:0": image})
    return scores


def assert_same_answers(source: Source, graph_def: Any) -> None:
    (info,) = source.signature.inputs.values()
    assert info.shape is not None
    image = np.random.default_rng(1).uniform(-1, 1, (2, *filter(None, info.shape[1:]))).astype(np.float32)
    (wanted,) = source.run({info.name: image}).values()
    np.testing.assert_allclose(answer(graph_def, image), wanted, rtol=1e-3, atol=1e-6)
    assert np.ptp(wanted) > 1e-4  # else every mistake would be the same to this test


def test_batch_norms_behind_every_kind_of_convolution_are_folded() -> None:
    import keras

    source = keras_source(every_kind(keras))
    graph_def = optimised(source)
    found = operations(graph_def)

    assert operations(source.graph_def)["Mul"] >= 5
    assert (found["Mul"], found["Rsqrt"], found["Sub"]) == (0, 0, 0)
    assert (found["Conv2D"], found["DepthwiseConv2dNative"]) == (3, 3)
    assert sum(found[name] for name in ("AddV2", "BiasAdd", "AddN")) == 5  # the shifts
    # The one that is left is the output, whose name the spec holds.
    assert [node.name for node in graph_def.node if node.op in ONLY_TRAINING] in ([], ["scores"])
    assert_same_answers(source, graph_def)


def test_the_batch_norm_operations_of_keras_2_are_folded(tmp_path: Path) -> None:
    import tf_keras

    model = every_kind(tf_keras)
    model.export(tmp_path / "old")
    with open_source(tmp_path / "old") as source:
        graph_def = optimised(source)
        found = operations(graph_def)

        assert not [name for name in found if "BatchNorm" in name or name == "Mul"]
        assert (found["Conv2D"], found["DepthwiseConv2dNative"]) == (3, 3)
        assert not graph_def.library.function
        assert_same_answers(source, graph_def)


@pytest.mark.parametrize(
    ("name", "multiplications"),
    # Those of EfficientNet are its own: 49 swishes, 16 squeezes, and the scaling of pixels at its beginning.
    [("MobileNetV2", 0), ("EfficientNetB0", 67)],
)
def test_of_a_real_network_only_its_own_multiplications_are_left(name: str, multiplications: int) -> None:
    import keras

    keras.utils.set_random_seed(1)
    source = keras_source(shake(getattr(keras.applications, name)(weights=None, input_shape=(32, 32, 3), classes=10)))
    graph_def = optimised(source)

    assert operations(graph_def)["Mul"] == multiplications
    assert_same_answers(source, graph_def)


def test_a_switch_for_training_that_no_input_reaches_keeps_its_default() -> None:
    import tensorflow as tf

    with tf.Graph().as_default() as graph:
        image = tf.compat.v1.placeholder(tf.float32, [None, 2], "x")
        training = tf.compat.v1.placeholder_with_default(False, [], "keras_learning_phase")
        y = tf.compat.v1.cond(training, lambda: tf.random.normal([1, 2]), lambda: image * 3)
    graph_def = optimise(graph.as_graph_def(), {"image": "x:0"}, {"scores": y.name})

    assert set(operations(graph_def)) <= {"Placeholder", "Const", "Mul", "Identity"}
    np.testing.assert_array_equal(answer(graph_def, np.ones((1, 2), np.float32)), [[3, 3]])


def test_an_input_that_no_output_needs_stays() -> None:
    import tensorflow as tf

    with tf.Graph().as_default() as graph:
        tf.compat.v1.placeholder(tf.float32, [None], "x")
        tf.compat.v1.placeholder(tf.float32, [None], "y")
        tf.negative(graph.get_tensor_by_name("x:0"), name="z")
    graph_def = optimise(graph.as_graph_def(), {"x": "x:0", "y": "y:0"}, {"z": "z:0"})

    assert {node.name for node in graph_def.node} >= {"x", "y", "z"}


@pytest.mark.parametrize("shape", [(1, 4, 4, 1), (4, 4, 2)], ids=["by pixel", "by column"])
def test_a_factor_that_is_not_one_for_each_channel_is_left_alone(shape: tuple[int, ...]) -> None:
    import tensorflow as tf

    with tf.Graph().as_default() as graph:
        image = tf.compat.v1.placeholder(tf.float32, [None, 4, 4, 2], "image")
        kernel = np.ones((3, 3, 2, 1), np.float32)
        convolved = tf.nn.depthwise_conv2d(image, kernel, [1, 1, 1, 1], "SAME")
        tf.multiply(convolved, np.ones(shape, np.float32), "scores")
    graph_def = graph.as_graph_def()

    assert fold_scales(graph_def) == graph_def
