"""What classification and detection share: one picture as the model's input, and names for its classes."""

from __future__ import annotations

from collections.abc import Mapping

from tf_serving_flask_app.errors import ConfigurationError, NotFound, ServingError
from tf_serving_flask_app.labels import read_labels
from tf_serving_flask_app.model import Model
from tf_serving_flask_app.settings import Settings
from tf_serving_flask_app.spec import InputType
from tf_serving_flask_app.tasks.base import Task, warm_context
from tf_serving_flask_app.tensors import Array, TensorInfo, Tensors, zeros

FREE_SIDE = 64
"""Pixels of a side that the model leaves open, in the picture that it is warmed up with."""


class PictureTask(Task):
    """A model that takes one picture."""

    def __init__(self, model: Model, settings: Settings) -> None:
        super().__init__(model, settings)
        try:
            self._signature = model.signature()
        except NotFound as exc:
            raise ConfigurationError(f"{exc} Name one: `signature:`.") from exc
        self._input = only_tensor(self._signature.inputs, "image", model, "inputs")
        self._image = self.image_input(self._input)
        self._labels = read_labels(model.spec.labels) if model.spec.labels is not None else None

    def input_type(self, info: TensorInfo) -> InputType:
        """The picture is a picture, whether the spec says so or not."""
        return "image" if info.name == self._input.name else super().input_type(info)

    def label(self, index: int) -> str | None:
        """Name a class, where it has a name."""
        return None if self._labels is None else self._labels.label(index)

    def run_blank(self) -> Tensors:
        """Run the model on a black picture.

        Raises:
            ConfigurationError: the model fails on it.
        """
        try:
            return self.model.run({self._input.name: self._blank()}, warm_context())
        except ServingError as exc:
            raise ConfigurationError(f"model {self.model.name!r} fails on a black picture: {exc}") from exc

    def _blank(self) -> Array:
        height, width = self._image.height or FREE_SIDE, self._image.width or FREE_SIDE
        channels = 1 if self._image.color == "grayscale" else 3
        last = self._image.layout == "channels_last"
        shape = (1, height, width, channels) if last else (1, channels, height, width)
        return zeros(TensorInfo(self._input.name, self._input.dtype, shape))


def only_tensor(tensors: Mapping[str, TensorInfo], preferred: str, model: Model, side: str) -> TensorInfo:
    """The one tensor of a signature, or the one of several that bears the task's name for it.

    Raises:
        ConfigurationError: there is none, or several of other names.
    """
    found = tensors.get(preferred) or (next(iter(tensors.values())) if len(tensors) == 1 else None)
    if found is None:
        raise ConfigurationError(
            f"model {model.name!r}: the signature has {len(tensors)} {side} ({', '.join(tensors) or 'none'}); name the"
            f" one to use: `{side}: {{{preferred}: TENSOR}}`."
        )
    return found
