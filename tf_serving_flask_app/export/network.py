"""What the demo's two networks have in common: convolutions that are normalised only in training, and the training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click
import numpy as np


def convolution(x: Any, filters: int, kernel: int = 3, strides: int = 1, *, normalised: bool) -> Any:
    """Add a convolution and a ReLU to a network.

    Args:
        x: the Keras tensor to start from.
        filters: channels of the result.
        kernel: its side.
        strides: in both directions.
        normalised: with batch normalisation behind the convolution, for training; else a bias in its place.
    """
    import keras

    x = keras.layers.Conv2D(filters, kernel, strides=strides, padding="same", use_bias=not normalised)(x)
    return keras.layers.ReLU()(keras.layers.BatchNormalization(momentum=0.9)(x) if normalised else x)


def fold_batch_norms(model: Any, folded: Any) -> Any:
    """Give a network the weights of the same one with batch normalisation: its scale goes into the kernels.

    Args:
        model: the network with ``BatchNormalization`` directly behind some convolutions, which have no bias then.
        folded: the same layers in the same order without those, and with a bias in each convolution.

    Returns:
        ``folded``.
    """
    import keras

    weighted = [layer for layer in model.layers if layer.weights]
    targets = iter([layer for layer in folded.layers if layer.weights])
    for layer, following in zip(weighted, [*weighted[1:], None], strict=True):
        if isinstance(layer, keras.layers.BatchNormalization):
            continue
        weights = layer.get_weights()
        if isinstance(following, keras.layers.BatchNormalization):
            gamma, beta, mean, variance = following.get_weights()
            scale = gamma / np.sqrt(variance + following.epsilon)
            weights = [weights[0] * scale, beta - mean * scale]
        next(targets).set_weights(weights)
    return folded


def fit(
    model: Any, loss: Any, learning_rate: float, batches: Iterator[tuple[Any, Any]], steps: int, label: str
) -> None:
    """Train a network with Adam, in place, with a progress bar that shows the loss.

    Args:
        model: a Keras model.
        loss: a Keras loss, by name or as a function of targets and answers.
        learning_rate: the highest: the rate rises to it in the first tenth of the steps and then falls to nothing.
        batches: inputs and targets.
        steps: how many batches there are.
        label: what the progress bar says.
    """
    import keras

    schedule = keras.optimizers.schedules.CosineDecay(
        learning_rate / 20, steps - steps // 10, warmup_target=learning_rate, warmup_steps=steps // 10
    )
    model.compile(keras.optimizers.Adam(schedule), loss, jit_compile=False)
    shown = float("nan")

    def show(_: object) -> str:
        return f"loss {shown:.3f}"

    with click.progressbar(batches, steps, label, item_show_func=show) as progress:
        for number, (inputs, targets) in enumerate(progress):
            latest = model.train_on_batch(inputs, targets)
            if number % 20 == 0:
                shown = float(latest)
                model.reset_metrics()
