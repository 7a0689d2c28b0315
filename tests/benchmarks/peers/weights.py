"""Makes weights that tell pictures apart: `python -m tests.benchmarks.peers.weights mobilenet FOLDER`.

Fresh random weights do not: the signal gets weaker from layer to layer, until every class has the same score for every
picture, and a server that decodes or scales wrongly would go unnoticed. So the last layer is made that much stronger.

Fresh batch normalisations add nothing, so that a frozen graph would lack operations that a trained network's has: a
convolution without a bias is not joined with the activation after it. So each channel gets a shift of its own.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from tests.benchmarks.peers.served import decode
from tf_serving_flask_app.bench.pictures import draw_pictures

SPREAD = 2.5
"""Standard deviation of the logarithms of one picture's scores, as of a trained network."""

SHIFT = 0.1
"""Standard deviation of what the batch normalisations add."""


WEIGHTS, LABELS = "made.weights.h5", "labels.txt"
"""What is written."""


def write(name: str, folder: Path) -> None:
    """Write the weights of one of Keras's applications, and names of its classes."""
    import keras

    keras.utils.set_random_seed(0)
    model = {"inception_v3": keras.applications.InceptionV3, "mobilenet": keras.applications.MobileNet}[name](
        weights=None
    )
    random = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.beta.assign(random.normal(0, SHIFT, layer.beta.shape))
    pictures = np.concatenate([decode(picture, model.input_shape[1]) for picture in draw_pictures()])
    last = next(layer for layer in reversed(model.layers) if hasattr(layer, "kernel"))
    features = np.asarray(keras.Model(model.input, last.input)(pictures)).reshape(len(pictures), -1)
    logits = features @ np.asarray(last.kernel).reshape(features.shape[1], -1)
    last.kernel.assign(last.kernel * (SPREAD / logits.std(axis=1).mean()))
    model.save_weights(folder / WEIGHTS)
    (folder / LABELS).write_text("".join(f"class {index}\n" for index in range(model.output_shape[-1])))


if __name__ == "__main__":
    write(sys.argv[1], Path(sys.argv[2]))
