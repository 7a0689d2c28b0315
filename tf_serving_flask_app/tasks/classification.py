"""Classification: a picture in, classes with their probabilities out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tf_serving_flask_app.context import RequestContext
from tf_serving_flask_app.errors import BackendFailed, ConfigurationError, NotFound, ServingError
from tf_serving_flask_app.labels import read_labels
from tf_serving_flask_app.model import Model
from tf_serving_flask_app.spec import InputType
from tf_serving_flask_app.tasks.base import Task, warm_context
from tf_serving_flask_app.tensors import TensorInfo, Tensors, zeros


@dataclass(frozen=True)
class Prediction:
    """One class of the answer: its index, its label if it has one, and the model's score in the model's own type."""

    index: int
    label: str | None
    confidence: np.floating[Any]


class Classification(Task):
    """A model with one picture as its input and one score a class as its output."""

    def __init__(self, model: Model, max_image_pixels: int) -> None:
        super().__init__(model, max_image_pixels)
        try:
            signature = model.signature()
        except NotFound as exc:
            raise ConfigurationError(f"{exc} Name one: `signature:`.") from exc
        self._input = _only(signature.inputs, "image", model, "inputs")
        self._output = _only(signature.outputs, "scores", model, "outputs")
        self._image = self.image_input(self._input)
        self._labels = read_labels(model.spec.labels) if model.spec.labels is not None else None
        classes = self._output.shape[-1] if self._output.shape else None
        if classes is not None:
            self._check_labels(classes)

    def input_type(self, info: TensorInfo) -> InputType:
        """The picture is a picture, whether the spec says so or not."""
        return "image" if info.name == self._input.name else super().input_type(info)

    def warm(self) -> None:
        """Classify a black picture; tells whether the labels suffice where the graph's shape does not."""
        free = 64 if self._image.width is None else 0
        height, width = self._image.height or free, self._image.width or free
        try:
            scores = self.model.run({self._input.name: self._blank(height, width)}, warm_context())[self._output.name]
        except ServingError as exc:
            raise ConfigurationError(f"model {self.model.name!r} fails on a black picture: {exc}") from exc
        self._check_labels(scores.size)

    def classify(self, picture: bytes, context: RequestContext) -> list[Prediction]:
        """Classify an encoded picture; all classes, best first.

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
            order = np.argsort(-scores.astype(np.float64), kind="stable")  # -1 is 255 in uint8
            return [Prediction(index, self.label(index), scores[index]) for index in order.tolist()]

    def label(self, index: int) -> str | None:
        """Name a class, where it has a name."""
        return None if self._labels is None else self._labels.label(index)

    def _blank(self, height: int, width: int) -> np.ndarray[Any, Any]:
        channels = 1 if self._image.color == "grayscale" else 3
        last = self._image.layout == "channels_last"
        shape = (1, height, width, channels) if last else (1, channels, height, width)
        return zeros(TensorInfo(self._input.name, self._input.dtype, shape))

    def _check_labels(self, classes: int) -> None:
        if self._labels is not None and len(self._labels) < classes:
            raise ConfigurationError(
                f"model {self.model.name!r}: {len(self._labels)} labels for {classes} classes; labels need one name a"
                " class, in the order of the model's output."
            )


def _only(tensors: Any, preferred: str, model: Model, side: str) -> TensorInfo:
    """The one tensor of a signature, or the one of several that bears the task's name for it."""
    found: TensorInfo | None = tensors.get(preferred) or (next(iter(tensors.values())) if len(tensors) == 1 else None)
    if found is None:
        raise ConfigurationError(
            f"model {model.name!r}: the signature has {len(tensors)} {side} ({', '.join(tensors) or 'none'}); name the"
            f" one to use: `{side}: {{{preferred}: TENSOR}}`."
        )
    return found
