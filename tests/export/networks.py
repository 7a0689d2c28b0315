"""Networks with batch norms that do something: untrained ones would not show a mistake in their folding."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np


def shake(model: Any) -> Any:
    """Give every batch norm of a Keras model numbers that no training begins with; returns the model."""
    rng = np.random.default_rng(4)
    for layer in model.layers:
        if type(layer).__name__ == "BatchNormalization":
            layer.set_weights([rng.uniform(0.5, 1.5, weight.shape) for weight in layer.get_weights()])
    return model


def every_kind(keras: Any) -> Any:
    """A classifier of pictures [-1, 16, 16, 3] with a batch norm behind each kind of convolution, in any Keras.

    Args:
        keras: Keras 3 or ``tf_keras``.
    """
    layers = keras.layers
    keras.utils.set_random_seed(5)
    image = keras.Input((16, 16, 3), name="picture")
    x = image
    for layer in (
        layers.Conv2D(8, 3, use_bias=False),
        layers.Conv2D(8, 3, use_bias=True, bias_initializer="random_normal"),
        layers.DepthwiseConv2D(3, use_bias=False, depth_multiplier=2),
        layers.DepthwiseConv2D(3, use_bias=True, bias_initializer="random_normal"),
        layers.SeparableConv2D(12, 3, use_bias=False),
    ):
        x = layers.ReLU()(layers.BatchNormalization()(layer(x)))
    x = layers.Dropout(0.5)(layers.GlobalAveragePooling2D()(x))
    return shake(keras.Model(image, layers.Dense(3, activation="softmax", name="best")(x)))


def keras_2_file(folder: Path) -> Path:
    """An ``.h5`` of Keras 2 that Keras 3 refuses: its depthwise convolution says ``groups``."""
    import tf_keras

    path = folder / "old.h5"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that this kind of file is old
        tf_keras.models.save_model(every_kind(tf_keras), path, save_format="h5")
    return path
