"""Small Keras models, each made when a test first asks for it."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

MATRIX = np.arange(12, dtype=np.float32).reshape(4, 3) / 10 - 0.5
"""The weights of most models here."""


class KerasModels:
    """Makes models in a folder; each attribute is the path of one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def sequential(self) -> Path:
        """``.keras``: softmax(x @ MATRIX), of ``x`` [-1, 4]."""
        return self._keras("sequential.keras", self._sequential())

    @cached_property
    def sequential_h5(self) -> Path:
        """The same as ``.h5``."""
        return self._keras("sequential.h5", self._sequential())

    @cached_property
    def two_inputs(self) -> Path:
        """A dict of inputs whose order is not the alphabet's, a dict of outputs: sum and product of the two."""
        import keras

        left, right = keras.Input((3,), name="zebra"), keras.Input((3,), name="ant")
        total = keras.layers.Add(name="add")([left, right])
        difference = keras.layers.Subtract(name="subtract")([left, right])
        inputs = {"ant": right, "zebra": left}
        return self._keras("two_inputs.keras", keras.Model(inputs, {"total": total, "difference": difference}))

    @cached_property
    def listed(self) -> Path:
        """A list of inputs and one of outputs, in no alphabet's order."""
        import keras

        left, right = keras.Input((3,), name="zebra"), keras.Input((3,), name="ant")
        total = keras.layers.Add(name="total")([left, right])
        difference = keras.layers.Subtract(name="difference")([left, right])
        return self._keras("listed.keras", keras.Model([left, right], [total, difference]))

    @cached_property
    def recurrent(self) -> Path:
        """Numbers of words [-1, 5] through an embedding and an LSTM: control flow and gathered variables."""
        import keras

        keras.utils.set_random_seed(7)
        ids = keras.Input((5,), dtype="int32", name="ids")
        last = keras.layers.LSTM(3, name="lstm")(keras.layers.Embedding(10, 4)(ids))
        return self._keras("recurrent.keras", keras.Model(ids, keras.layers.Dense(2, name="y")(last)))

    @cached_property
    def lookup(self) -> Path:
        """Strings through a lookup table, which no frozen graph can hold."""
        import keras

        words = keras.Input((), dtype="string", name="words")
        table = keras.layers.StringLookup(vocabulary=["cat", "dog"], name="ids")
        return self._keras("lookup.keras", keras.Model(words, table(words)))

    @cached_property
    def channels_first(self) -> Path:
        """A picture [-1, 3, 8, 8] in, the softmax of each channel's mean out."""
        import keras

        image = keras.Input((3, 8, 8), name="image")
        means = keras.layers.GlobalAveragePooling2D(data_format="channels_first")(image)
        scores = keras.layers.Softmax(name="scores")(means)
        return self._keras("channels_first.keras", keras.Model(image, scores))

    @cached_property
    def regularised(self) -> Path:
        """Dropout and noise, which leave ``x`` [-1, 3] as it is outside training."""
        import keras

        x = keras.Input((3,), name="x")
        dropped = keras.layers.Dropout(0.5)(keras.layers.GaussianNoise(1.0)(x))
        return self._keras("regularised.keras", keras.Model(x, keras.layers.Identity(name="y")(dropped)))

    def _sequential(self) -> Any:
        import keras

        dense = keras.layers.Dense(3, activation="softmax", name="scores")
        model = keras.Sequential([keras.Input((4,), name="x"), dense])
        dense.set_weights([MATRIX, np.zeros(3, np.float32)])
        return model

    def _keras(self, name: str, model: Any) -> Path:
        path = self.folder / name
        model.save(path)
        return path
