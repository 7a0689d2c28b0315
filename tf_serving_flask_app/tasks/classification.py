"""Classification: a picture in, classes with their probabilities out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tf_serving_flask_app.context import RequestContext
from tf_serving_flask_app.errors import BackendFailed, ConfigurationError
from tf_serving_flask_app.model import Model
from tf_serving_flask_app.ranking import ranked
from tf_serving_flask_app.settings import Settings
from tf_serving_flask_app.tasks.picture import PictureTask, only_tensor
from tf_serving_flask_app.tensors import Tensors


@dataclass(frozen=True)
class Prediction:
    """One class of the answer: its index, its label if it has one, and the model's score in the model's own type."""

    index: int
    label: str | None
    confidence: np.floating[Any]


class Classification(PictureTask):
    """A model with one picture as its input and one score a class as its output."""

    def __init__(self, model: Model, settings: Settings) -> None:
        super().__init__(model, settings)
        self._output = only_tensor(self._signature.outputs, "scores", model, "outputs")
        classes = self._output.shape[-1] if self._output.shape else None
        if classes is not None:
            self._check_labels(classes)

    def warm(self) -> None:
        """Classify a black picture; tells whether the labels suffice where the graph's shape does not."""
        self._check_labels(self.run_blank()[self._output.name].size)

    def classify(self, picture: bytes, context: RequestContext, most: int | None = None) -> list[Prediction]:
        """Classify an encoded picture; the classes, best first.

        Args:
            picture: the encoded picture.
            context: the request.
            most: how many classes are wanted; None for all.

        Raises:
            InvalidImage: it cannot be decoded.
        """
        with context.stage("decode"):
            inputs: Tensors = {self._input.name: self._image.tensor(picture)}
        outputs = self.call(inputs, context)
        with context.stage("postprocess"):
            if self._output.name not in outputs:
                raise BackendFailed(f"the postprocess hook left out {self._output.name!r}, the scores.")
            scores = np.asarray(outputs[self._output.name]).reshape(-1)
            if scores.dtype.kind not in "iuf":  # bfloat16, which no JSON encoder knows
                scores = scores.astype(np.float32)
            return [Prediction(index, self.label(index), scores[index]) for index in ranked(scores, most).tolist()]

    def class_label(self, output: str, index: int) -> str | None:
        """Name a class, where the output is that of the scores."""
        return self.label(index) if output == self._output.name else None

    def _check_labels(self, classes: int) -> None:
        if self._labels is not None and len(self._labels) < classes:
            raise ConfigurationError(
                f"model {self.model.name!r}: {len(self._labels)} labels for {classes} classes; labels need one name a"
                " class, in the order of the model's output."
            )
