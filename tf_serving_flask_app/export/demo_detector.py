"""The demo's detector: a small convolutional network that finds drawn shapes, trained in a few minutes.

A grid of cells lies over the picture. For each cell the network tells how likely the centre of each shape is there
(learnt with the focal loss of Zhou et al., "Objects as Points", 2019, section 3), and how far the edges of the shape's
box are from the cell's centre (learnt with the IoU loss of Yu et al., "UnitBox", 2016). Of boxes of one class that
overlap, the graph itself keeps the one with the highest score.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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
from tf_serving_flask_app.export.mean_average_precision import Objects, mean_average_precision
from tf_serving_flask_app.export.network import convolution, fit, fold_batch_norms
from tf_serving_flask_app.export.scenes import draw_scene
from tf_serving_flask_app.export.shapes import SHAPES

SIDE, CELLS = 128, 16
TRAINING_SCENES = 4_000
EPOCHS = 7
BATCH = 16
LEARNING_RATE = 4e-3
TRAINING_SEED, EVALUATION_SEED = 1, 2
EVALUATION_SCENES = 300
LEAST_MAP = 0.80
MOST_DIFFERENCE = 1e-4

OUTPUTS = ("detection_boxes", "detection_classes", "detection_scores", "num_detections")
"""What the graph ends in, by the names of the Object Detection API."""

USUAL_DISTANCE = 0.12
MOST_DETECTIONS = 20
LEAST_SCORE = 0.02
MOST_IOU = 0.5

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


def draw_scenes(
    seed: int, count: int, progress: Callable[[int], object] = lambda _: None
) -> tuple[Pixels, list[Objects]]:
    """Draw scenes of various sizes and resize them as the server does.

    Returns:
        uint8 [count, SIDE, SIDE, 3], and what is in each: boxes as parts of its sides, classes counted from 0 as in
        ``SHAPES``.
    """
    rng = np.random.default_rng(seed)
    pictures = np.empty((count, SIDE, SIDE, 3), np.uint8)
    there = []
    for index in range(count):
        width = int(rng.integers(128, 257))
        height = round(width * np.exp(rng.uniform(-0.35, 0.35)))
        scene = draw_scene(rng, (width, height))
        boxes = [
            (box.top / height, box.left / width, box.bottom / height, box.right / width) for _, box in scene.shapes
        ]
        classes = np.array([SHAPES.index(name) for name, _ in scene.shapes])
        there.append(Objects(np.array(boxes, np.float32), classes, np.ones(len(boxes), np.float32)))
        pictures[index] = np.asarray(scene.image.resize((SIDE, SIDE), Image.Resampling.BILINEAR))
        progress(1)
    return pictures, there


def build(*, normalised: bool) -> Any:
    """Build the network: float32 [batch, SIDE, SIDE, 3] of 0..1 to [batch, CELLS, CELLS, shapes + 4].

    The result holds, for each cell, the logit of each shape's centre, and the logarithms of the distances from the
    cell's centre up, left, down and right to the box, in units of ``USUAL_DISTANCE`` of the picture's side.

    Args:
        normalised: with batch normalisation behind each convolution but the last, for training; else biases.
    """
    import keras

    def add(x: Any, filters: int, kernel: int = 3, strides: int = 1) -> Any:
        return convolution(x, filters, kernel, strides, normalised=normalised)

    image = keras.Input((SIDE, SIDE, 3), name="image")
    x = keras.layers.MaxPooling2D()(add(image, 16, kernel=5, strides=2))
    x = keras.layers.MaxPooling2D()(add(add(x, 32), 48))
    fine = add(add(x, 64), 80)
    # At half the resolution the same convolutions see twice as far: the whole of a large shape.
    coarse = add(add(keras.layers.MaxPooling2D()(fine), 96), 80)
    x = add(keras.layers.Add()([fine, keras.layers.UpSampling2D()(coarse)]), 64)
    # Centres are rare: a network that starts by expecting few learns at once from those it misses.
    rare = keras.initializers.Constant(-2.2)
    centres = keras.layers.Conv2D(len(SHAPES), 1, bias_initializer=rare)(x)
    distances = keras.layers.Conv2D(4, 1)(x)
    return keras.Model(image, keras.layers.Concatenate()([centres, distances]))


def make_targets(there: Sequence[Objects]) -> Floats:
    """Work out what the network should say about scenes.

    Returns:
        float32 [scenes, CELLS, CELLS, shapes + 4 + 1]: for each cell how near it is to the centre of each shape (1 in
        the one cell that holds it, falling off with the box's size around it), its distances to the edges of the
        box as parts of the picture's side, and 1 where those count: near the centre and inside the box.
    """
    targets = np.zeros((len(there), CELLS, CELLS, len(SHAPES) + 5), np.float32)
    middles = (np.arange(CELLS) + 0.5) / CELLS
    rows, columns = middles[:, None], middles[None, :]
    for target, objects in zip(targets, there, strict=True):
        for (top, left, bottom, right), number in zip(objects.boxes, objects.classes, strict=True):
            row, column = int((top + bottom) / 2 * CELLS), int((left + right) / 2 * CELLS)
            near = np.exp(
                -((rows - middles[row]) ** 2) / (2 * ((bottom - top) / 6) ** 2)
                - (columns - middles[column]) ** 2 / (2 * ((right - left) / 6) ** 2)
            )
            np.maximum(target[..., number], near, out=target[..., number])
            distances = np.stack(
                np.broadcast_arrays(rows - top, columns - left, bottom - rows, right - columns), axis=2
            )
            counts = distances.min(axis=2) > 0
            counts &= (abs(rows - middles[row]) < 1.5 / CELLS) & (abs(columns - middles[column]) < 1.5 / CELLS)
            target[counts, len(SHAPES) : -1] = distances[counts]
            target[counts, -1] = 1
    return targets


def loss(targets: Any, answers: Any) -> Any:
    """The focal loss of the centres, divided by how many there are, and the mean IoU loss of the boxes that count."""
    from keras import ops

    wanted, given = targets[..., : len(SHAPES)], answers[..., : len(SHAPES)]
    likely = ops.sigmoid(given)
    missed = -ops.square(1 - likely) * ops.log_sigmoid(given)
    imagined = -ops.power(1 - wanted, 4) * ops.square(likely) * ops.log_sigmoid(-given)
    centres = ops.sum(ops.where(wanted == 1, missed, imagined)) / ops.sum(ops.cast(wanted == 1, "float32"))

    edges, counts = targets[..., len(SHAPES) : -1], targets[..., -1]
    guesses = USUAL_DISTANCE * ops.exp(answers[..., len(SHAPES) :])
    # Both boxes hold the cell's centre, so what they share is bounded by the nearer of each two edges.
    shared = _area(ops.minimum(edges, guesses))
    overlap = (shared + 1e-6) / (_area(edges) + _area(guesses) - shared + 1e-6)
    return centres - ops.sum(counts * ops.log(overlap)) / ops.sum(counts)


def _area(distances: Any) -> Any:
    return (distances[..., 0] + distances[..., 2]) * (distances[..., 1] + distances[..., 3])


def train() -> Any:
    """Draw scenes and train a network on them, with progress bars; the second shows the loss."""
    import keras

    with click.progressbar(length=TRAINING_SCENES, label="Drawing scenes") as progress:
        pictures, there = draw_scenes(TRAINING_SEED, TRAINING_SCENES, progress.update)
    keras.utils.set_random_seed(TRAINING_SEED)
    model = build(normalised=True)
    steps = len(pictures) // BATCH * EPOCHS
    fit(model, loss, LEARNING_RATE, _batches(pictures, there), steps, "Training the detector")
    return model


def _batches(pictures: Pixels, there: Sequence[Objects]) -> Iterator[tuple[Floats, Floats]]:
    """Go through the scenes in random order, mirrored and turned at random: a shape keeps its name."""
    rng = np.random.default_rng(TRAINING_SEED)
    for _ in range(EPOCHS):
        order = rng.permutation(len(pictures))
        for start in range(0, len(pictures) - BATCH + 1, BATCH):
            chosen = order[start : start + BATCH]
            flips = rng.random(3) < 0.5
            batch = np.divide(pictures[chosen], 255, dtype=np.float32)
            yield turn_pictures(batch, *flips), make_targets([turn_boxes(there[index], *flips) for index in chosen])


def turn_pictures(pictures: Any, upside_down: bool, mirrored: bool, transposed: bool) -> Any:
    """Turn pictures [batch, side, side, channels] in one of eight ways."""
    pictures = pictures[:, ::-1] if upside_down else pictures
    pictures = pictures[:, :, ::-1] if mirrored else pictures
    return pictures.transpose(0, 2, 1, 3) if transposed else pictures


def turn_boxes(objects: Objects, upside_down: bool, mirrored: bool, transposed: bool) -> Objects:
    """Turn the boxes of a picture, given as parts of its sides, as ``turn_pictures`` turns it."""
    top, left, bottom, right = objects.boxes.T
    top, bottom = (1 - bottom, 1 - top) if upside_down else (top, bottom)
    left, right = (1 - right, 1 - left) if mirrored else (left, right)
    edges = (left, top, right, bottom) if transposed else (top, left, bottom, right)
    return objects._replace(boxes=np.stack(edges, axis=1))


def decode(answers: Any) -> dict[str, Any]:
    """Turn the network's answers into the outputs of the Object Detection API, at most ``MOST_DETECTIONS`` a picture.

    Args:
        answers: float32 tensor [batch, CELLS, CELLS, shapes + 4] of what ``build`` describes.

    Returns:
        By name, all float32, best first: ``detection_boxes`` [batch, detections, 4] as [ymin, xmin, ymax, xmax] in
        parts of the sides, ``detection_scores`` and ``detection_classes`` [batch, detections], classes counted from 1,
        and ``num_detections`` [batch]; what lies beyond that number is padding with a score of 0.
    """
    import tensorflow as tf

    middles = (np.arange(CELLS, dtype=np.float32) + 0.5) / CELLS
    points = np.stack(np.meshgrid(middles, middles, indexing="ij"), axis=2)
    distances = USUAL_DISTANCE * tf.exp(answers[..., len(SHAPES) :])
    corners = tf.concat([points - distances[..., :2], points + distances[..., 2:]], axis=3)
    boxes, scores, classes, count = tf.image.combined_non_max_suppression(
        tf.reshape(corners, [-1, CELLS * CELLS, 1, 4]),
        tf.reshape(tf.sigmoid(answers[..., : len(SHAPES)]), [-1, CELLS * CELLS, len(SHAPES)]),
        max_output_size_per_class=MOST_DETECTIONS,
        max_total_size=MOST_DETECTIONS,
        iou_threshold=MOST_IOU,
        score_threshold=LEAST_SCORE,
    )
    return {
        "detection_boxes": tf.identity(boxes, "detection_boxes"),
        "detection_scores": tf.identity(scores, "detection_scores"),
        "detection_classes": tf.add(classes, 1.0, "detection_classes"),
        "num_detections": tf.cast(count, tf.float32, "num_detections"),
    }


def freeze(model: Any) -> Any:
    """Freeze a trained network into a GraphDef with the tensor ``image:0`` that ends in those of ``OUTPUTS``.

    Raises:
        ConfigurationError: the frozen graph answers otherwise than the network does.
    """
    import tensorflow as tf
    from tensorflow.python.util import deprecation

    folded = fold_batch_norms(model, build(normalised=False))

    def serve(image: Any) -> Any:
        return decode(tf.identity(folded(image, training=False), "answers"))

    signature = tf.TensorSpec([None, SIDE, SIDE, 3], tf.float32, "image")
    function = freeze_function(tf.function(serve).get_concrete_function(signature))
    with deprecation.silence():
        # Leaves out the unnamed results that a frozen function has behind its outputs.
        graph_def = tf.compat.v1.graph_util.extract_sub_graph(function.graph.as_graph_def(), OUTPUTS)
    random = np.random.default_rng(EVALUATION_SEED).random((16, SIDE, SIDE, 3), np.float32)
    # What is compared is what goes into the decoding, which may order two equal scores either way.
    with tf.compat.v1.Session(graph=import_graph(graph_def, Path("frozen"))) as session:
        frozen = session.run("answers:0", {"image:0": random})
    difference = float(np.abs(frozen - model.predict_on_batch(random)).max())
    if difference > MOST_DIFFERENCE:
        raise ConfigurationError(f"The frozen graph differs from the trained network by {difference}.")
    return graph_def


def detect(graph: Path, pictures: Pixels) -> list[Objects]:
    """Find shapes in pictures, uint8 [pictures, SIDE, SIDE, 3], with a graph that ``freeze`` made."""
    import tensorflow as tf

    names = [f"{name}:0" for name in OUTPUTS]
    found = []
    with tf.compat.v1.Session(graph=import_graph(read_graph_def(graph), graph)) as session:
        for picture in pictures:
            image = np.divide(picture[np.newaxis], 255, dtype=np.float32)
            boxes, classes, scores, (count,) = session.run(names, {"image:0": image})
            kept = int(count)
            found.append(Objects(boxes[0, :kept], classes[0, :kept].astype(int) - 1, scores[0, :kept]))
    return found


def evaluate(graph: Path, scenes: int = EVALUATION_SCENES, seed: int = EVALUATION_SEED) -> float:
    """Tell the mean average precision at an IoU of 0.5 of a frozen graph on freshly drawn scenes.

    Args:
        graph: a graph that ``freeze`` made.
        scenes: how many to draw.
        seed: must differ from the training's.
    """
    pictures, there = draw_scenes(seed, scenes)
    return mean_average_precision(there, detect(graph, pictures))
