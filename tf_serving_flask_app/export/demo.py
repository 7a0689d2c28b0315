"""The demo model: a small convolutional network that names a drawn shape, trained from nothing in two minutes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
from PIL import Image

from tf_serving_flask_app.backends.freeze import freeze_function
from tf_serving_flask_app.backends.frozen_graph import read_graph_def
from tf_serving_flask_app.backends.tensorflow_session import import_graph
from tf_serving_flask_app.errors import ConfigurationError
from tf_serving_flask_app.export.shapes import SHAPES, draw_picture

SIDE = 48
TRAINING_PICTURES = 10_000
EPOCHS = 4
BATCH = 32
LEARNING_RATE = 1e-2
TRAINING_SEED, EVALUATION_SEED, SAMPLE_SEED = 1, 2, 13
EVALUATION_PICTURES = 1_000
LEAST_ACCURACY = 0.97
MOST_DIFFERENCE = 1e-4
SAMPLE_SIZE = (320, 240)

Pixels = npt.NDArray[np.uint8]
Classes = npt.NDArray[np.int64]


@dataclass(frozen=True)
class DemoReport:
    """What an export made.

    Attributes:
        accuracy: share of the evaluation's pictures that were named rightly.
        seconds: from the first picture drawn to the last file written.
        graph_bytes: size of the frozen graph.
    """

    accuracy: float
    seconds: float
    graph_bytes: int


def export_demo(out: Path, report: Callable[[str], None]) -> DemoReport:
    """Draw pictures, train on them, freeze, evaluate, and write ``shapes.frozen.pb`` and ``shapes.txt``.

    Args:
        out: the folder to write to; made if it is not there.
        report: takes each line of what is being done.

    Raises:
        ConfigurationError: the result is not as good as a demo must be; nothing is written then.
    """
    began = time.monotonic()
    with click.progressbar(length=TRAINING_PICTURES, label="Drawing pictures") as progress:
        pictures, classes = draw_pictures(TRAINING_SEED, TRAINING_PICTURES, progress.update)
    model = train(pictures, classes)
    graph_def = freeze(model)
    out.mkdir(parents=True, exist_ok=True)
    graph = out / "shapes.frozen.pb"
    candidate = graph.with_suffix(".new")
    try:
        candidate.write_bytes(graph_def.SerializeToString(deterministic=True))
        accuracy = evaluate(candidate)
        report(f"{accuracy:.1%} of {EVALUATION_PICTURES} pictures of another seed are named rightly.")
        if accuracy < LEAST_ACCURACY:
            raise ConfigurationError(f"That is less than the {LEAST_ACCURACY:.0%} a demo must reach; nothing is kept.")
        os.replace(candidate, graph)
    finally:
        candidate.unlink(missing_ok=True)
    (out / "shapes.txt").write_text("\n".join(SHAPES) + "\n")
    result = DemoReport(accuracy, time.monotonic() - began, graph.stat().st_size)
    report(f"Wrote {graph} ({result.graph_bytes // 1000} kB) after {result.seconds:.0f} s.")
    return result


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

    def convolution(x: Any, filters: int, kernel: int = 3, strides: int = 1) -> Any:
        x = keras.layers.Conv2D(filters, kernel, strides=strides, padding="same", use_bias=not normalised)(x)
        return keras.layers.ReLU()(keras.layers.BatchNormalization(momentum=0.9)(x) if normalised else x)

    image = keras.Input((SIDE, SIDE, 3), name="image")
    # A shape is what differs from the rest of its picture: without the mean colour it is learned in half the time.
    x = keras.layers.Subtract()([image, keras.layers.GlobalAveragePooling2D(keepdims=True)(image)])
    x = keras.layers.MaxPooling2D()(convolution(x, 16, kernel=5, strides=2))
    x = keras.layers.MaxPooling2D()(convolution(convolution(x, 32), 48))
    x = keras.layers.GlobalMaxPooling2D()(convolution(convolution(x, 64), 96))
    scores = keras.layers.Dense(len(SHAPES), activation="softmax", name="scores")(x)
    return keras.Model(image, scores)


def fold_batch_norms(model: Any) -> Any:
    """Make the same network without batch normalisation: its scale goes into the kernels, its shift into biases."""
    import keras

    weighted = [layer for layer in model.layers if layer.weights]
    folded = build(normalised=False)
    targets = iter([layer for layer in folded.layers if layer.weights])
    for layer, following in zip(weighted, [*weighted[1:], None], strict=True):
        if isinstance(layer, keras.layers.Conv2D):
            gamma, beta, mean, variance = following.get_weights()
            scale = gamma / np.sqrt(variance + following.epsilon)
            next(targets).set_weights([layer.get_weights()[0] * scale, beta - mean * scale])
        elif isinstance(layer, keras.layers.Dense):
            next(targets).set_weights(layer.get_weights())
    return folded


def train(pictures: Pixels, classes: Classes) -> Any:
    """Train a network on pictures, with a progress bar that shows how often it is right."""
    import keras

    keras.utils.set_random_seed(TRAINING_SEED)
    model = build(normalised=True)
    steps = len(pictures) // BATCH * EPOCHS
    schedule = keras.optimizers.schedules.CosineDecay(
        LEARNING_RATE / 20, steps - steps // 10, warmup_target=LEARNING_RATE, warmup_steps=steps // 10
    )
    model.compile(keras.optimizers.Adam(schedule), "sparse_categorical_crossentropy", jit_compile=False)
    rng = np.random.default_rng(TRAINING_SEED)
    loss = float("nan")

    def show(_: object) -> str:
        return f"loss {loss:.3f}"

    with click.progressbar(_batches(rng, pictures, classes), steps, "Training", item_show_func=show) as batches:
        for number, (batch, wanted) in enumerate(batches):
            latest = model.train_on_batch(batch, wanted)
            if number % 20 == 0:
                loss = float(latest)
                model.reset_metrics()
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

    folded = fold_batch_norms(model)

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


def write_samples(folder: Path) -> None:
    """Draw one larger picture of each shape, as a JPEG named after it."""
    rng = np.random.default_rng(SAMPLE_SEED)
    folder.mkdir(parents=True, exist_ok=True)
    for name in SHAPES:
        draw_picture(rng, name, SAMPLE_SIZE).image.save(folder / f"{name}.jpg", quality=90)
