"""The demo's classifier: a small convolutional network that names a drawn shape, trained in two minutes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
from PIL import Image

from tf_serving_flask_app.backends.freeze import freeze_function
from tf_serving_flask_app.backends.frozen_graph import read_graph_def
from tf_serving_flask_app.backends.graphs import import_graph
from tf_serving_flask_app.errors import ConfigurationError
from tf_serving_flask_app.export.network import convolution, fit, fold_batch_norms
from tf_serving_flask_app.export.shapes import SHAPES, draw_picture

SIDE = 48
TRAINING_PICTURES = 10_000
EPOCHS = 4
BATCH = 32
LEARNING_RATE = 1e-2
TRAINING_SEED, EVALUATION_SEED = 1, 2
EVALUATION_PICTURES = 1_000
LEAST_ACCURACY = 0.97
MOST_DIFFERENCE = 1e-4

Pixels = npt.NDArray[np.uint8]
Classes = npt.NDArray[np.int64]


def draw_pictures(seed: int, count: int, progress: Callable[[int], object] = lambda _: None) -> tuple[Pixels, Classes]:
    """Draw pictures of various sizes and resize them as the server does.

    Returns:
        uint8 [count, SIDE, SIDE, 3], and the index in ``SHAPES`` of what each shows.
    """
    rng = np.random.default_rng(seed)
    pictures = np.empty((count, SIDE, SIDE, 3), np.uint8)
    classes = np.arange(count) % len(SHAPES)
    for index in range(count):
        width = int(rng.integers(72, 121))
        size = (width, round(width * np.exp(rng.uniform(-0.5, 0.5))))
        image = draw_picture(rng, SHAPES[classes[index]], size).image
        pictures[index] = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR))
        progress(1)
    return pictures, classes


def build(*, normalised: bool) -> Any:
    """Build the network: float32 [batch, SIDE, SIDE, 3] of 0..1 to a probability for each shape.

    Args:
        normalised: with batch normalisation behind each convolution, for training; else a bias in its place.
    """
    import keras

    def add(x: Any, filters: int, kernel: int = 3, strides: int = 1) -> Any:
        return convolution(x, filters, kernel, strides, normalised=normalised)

    image = keras.Input((SIDE, SIDE, 3), name="image")
    # A shape is what differs from the rest of its picture: without the mean colour it is learned in half the time.
    x = keras.layers.Subtract()([image, keras.layers.GlobalAveragePooling2D(keepdims=True)(image)])
    x = keras.layers.MaxPooling2D()(add(x, 16, kernel=5, strides=2))
    x = keras.layers.MaxPooling2D()(add(add(x, 32), 48))
    x = keras.layers.GlobalMaxPooling2D()(add(add(x, 64), 96))
    scores = keras.layers.Dense(len(SHAPES), activation="softmax", name="scores")(x)
    return keras.Model(image, scores)


def train() -> Any:
    """Draw pictures and train a network on them, with progress bars; the second shows the loss."""
    import keras

    with click.progressbar(length=TRAINING_PICTURES, label="Drawing pictures") as progress:
        pictures, classes = draw_pictures(TRAINING_SEED, TRAINING_PICTURES, progress.update)
    keras.utils.set_random_seed(TRAINING_SEED)
    model = build(normalised=True)
    steps = len(pictures) // BATCH * EPOCHS
    batches = _batches(np.random.default_rng(TRAINING_SEED), pictures, classes)
    fit(model, "sparse_categorical_crossentropy", LEARNING_RATE, batches, steps, "Training the classifier")
    return model


def _batches(
    rng: np.random.Generator, pictures: Pixels, classes: Classes
) -> Iterator[tuple[npt.NDArray[np.float32], Classes]]:
    """Go through the pictures in random order, mirrored and turned at random: a shape keeps its name."""
    for _ in range(EPOCHS):
        order = rng.permutation(len(pictures))
        for start in range(0, len(pictures) - BATCH + 1, BATCH):
            chosen = order[start : start + BATCH]
            batch = pictures[chosen]
            if rng.random() < 0.5:
                batch = batch[:, ::-1]
            if rng.random() < 0.5:
                batch = batch[:, :, ::-1]
            if rng.random() < 0.5:
                batch = batch.transpose(0, 2, 1, 3)
            yield np.divide(batch, 255, dtype=np.float32), classes[chosen]


def freeze(model: Any) -> Any:
    """Freeze a trained network into a GraphDef with the tensors ``image:0`` and ``scores:0``.

    Raises:
        ConfigurationError: the frozen graph answers otherwise than the network does.
    """
    import tensorflow as tf

    folded = fold_batch_norms(model, build(normalised=False))

    def serve(image: Any) -> Any:
        return tf.identity(folded(image, training=False), "scores")

    signature = tf.TensorSpec([None, SIDE, SIDE, 3], tf.float32, "image")
    function = freeze_function(tf.function(serve).get_concrete_function(signature))
    random = np.random.default_rng(EVALUATION_SEED).random((16, SIDE, SIDE, 3), np.float32)
    frozen = np.asarray(function(tf.constant(random))).reshape(16, -1)
    difference = float(np.abs(frozen - model.predict_on_batch(random)).max())
    if difference > MOST_DIFFERENCE:
        raise ConfigurationError(f"The frozen graph differs from the trained network by {difference}.")
    return function.graph.as_graph_def()


def evaluate(graph: Path, pictures: int = EVALUATION_PICTURES, seed: int = EVALUATION_SEED) -> float:
    """Tell the share of freshly drawn pictures that a frozen graph names rightly.

    Args:
        graph: a graph with the tensors ``image:0`` and ``scores:0``.
        pictures: how many to draw.
        seed: must differ from the training's.
    """
    import tensorflow as tf

    drawn, classes = draw_pictures(seed, pictures)
    with tf.compat.v1.Session(graph=import_graph(read_graph_def(graph), graph)) as session:
        scores = session.run("scores:0", {"image:0": np.divide(drawn, 255, dtype=np.float32)})
    return float((scores.argmax(axis=1) == classes).mean())
