"""What classification and detection share: one picture as the model's input, and names for its classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tf_serving_flask_app.context import RequestContext
from tf_serving_flask_app.errors import ConfigurationError, InvalidImage, InvalidInput, NotFound, ServingError
from tf_serving_flask_app.labels import read_labels
from tf_serving_flask_app.model import Model
from tf_serving_flask_app.settings import Settings
from tf_serving_flask_app.spec_parts import InputType
from tf_serving_flask_app.tasks.base import Task
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

    def takes_pictures(self, name: str) -> bool:
        """Tell whether an input is the picture."""
        return name == self._input.name

    def infer(
        self, inputs: Tensors, context: RequestContext, signature: str | None = None, *, any_shape: bool = False
    ) -> Tensors:
        """Answer a call with raw tensors, or with encoded pictures as strings of shape [N] or [N, 1].

        Pictures are decoded as they are for the task's own routes, and go through the hooks. They go to the model as
        one batch, where they have one size and the model takes such a batch, else one after the other.

        Raises:
            InvalidImage: one of them cannot be decoded.
            InvalidInput: see ``Task.infer``; or the answers to single pictures do not make up one of the whole batch.
        """
        pictures = inputs.get(self._input.name)
        if pictures is None or pictures.dtype != object:
            return super().infer(inputs, context, signature, any_shape=any_shape)
        if signature not in (None, self._signature.name):
            raise InvalidInput(f"Pictures go to the signature {self._signature.name!r} only; leave its name out.")
        with context.stage("decode"):
            decoded = self._decode_all(pictures)
            batches = [np.concatenate(decoded)] if len(decoded) > 1 and self._is_batch(decoded) else decoded
        return join_answers([self.call({**inputs, self._input.name: batch}, context) for batch in batches])

    def _decode_all(self, pictures: Array) -> list[Array]:
        """Decode pictures, each to a batch of one; together they may have as many pixels as one may have alone."""
        if pictures.ndim not in (1, 2) or pictures.shape[1:] not in ((), (1,)) or not pictures.size:
            raise InvalidInput(
                f"Input {self._input.name!r} takes encoded pictures in the shape [N] or [N, 1], with N at least 1, not"
                f" {list(pictures.shape)}."
            )
        decoded: list[Array] = []
        pixels = 0
        for picture in pictures.reshape(-1):
            try:
                decoded.append(self._image.tensor(picture))
            except InvalidImage as exc:
                raise InvalidImage(f"Picture {len(decoded) + 1} of {pictures.size}: {exc}") from exc
            pixels += decoded[-1].size // self._image.channels
            if pixels > self._image.max_pixels and len(decoded) > 1:
                raise InvalidInput(
                    f"{pictures.size} pictures are too many at once: together they have more than the"
                    f" {self._image.max_pixels} pixels that are taken; send fewer."
                )
        return decoded

    def _is_batch(self, decoded: Sequence[Array]) -> bool:
        """Tell whether the model takes decoded pictures in one call."""
        sizes = {array.shape for array in decoded}
        batch = None if self._input.shape is None else self._input.shape[0]
        return len(sizes) == 1 and batch in (None, len(decoded))

    def label(self, index: int) -> str | None:
        """Name a class, where it has a name."""
        return None if self._labels is None else self._labels.label(index)

    def run_blank(self) -> Tensors:
        """Run the model on a black picture.

        Raises:
            ConfigurationError: the model fails on it.
        """
        try:
            return self.model.warm_up(self._signature, {self._input.name: self._blank()})
        except ServingError as exc:
            raise ConfigurationError(f"model {self.model.name!r} fails on a black picture: {exc}") from exc

    def _blank(self) -> Array:
        height, width = self._image.height or FREE_SIDE, self._image.width or FREE_SIDE
        channels = self._image.channels
        last = self._image.layout == "channels_last"
        shape = (1, height, width, channels) if last else (1, channels, height, width)
        return zeros(TensorInfo(self._input.name, self._input.dtype, shape))


def join_answers(answers: Sequence[Mapping[str, Any]]) -> Tensors:
    """Put the answers to single pictures behind each other, as the model would answer the batch of them.

    Raises:
        InvalidInput: that cannot be told, as they differ in shape or have no batch dimension; or a hook's answer is
            no tensor.
    """
    tensors = [{name: as_tensor(name, value) for name, value in answer.items()} for answer in answers]
    if len(tensors) == 1:
        return tensors[0]
    joined: Tensors = {}
    for name, first in tensors[0].items():
        parts = [answer[name] for answer in tensors if name in answer]
        if len(parts) != len(answers) or first.shape[:1] != (1,) or any(part.shape != first.shape for part in parts):
            raise InvalidInput(
                f"The answers to these {len(answers)} pictures cannot be put together: {name!r} has a shape of its own"
                " for each. Send one picture a request."
            )
        joined[name] = np.concatenate(parts)
    return joined


def as_tensor(name: str, value: Any) -> Array:
    """Make an array of what a hook answers; text becomes bytes.

    Raises:
        InvalidInput: it is no tensor.
    """
    try:
        array = np.asarray(value)
    except ValueError as exc:
        raise InvalidInput(f"The hook's {name!r} is no tensor ({exc}); ask /predict for it.") from exc
    if array.dtype.kind not in "OSU":
        return array
    if not isinstance(value, np.ndarray):
        array = np.asarray(value, dtype=object)  # the others drop zero bytes at the end
    items = [item.encode() if isinstance(item, str) else item for item in array.reshape(-1).tolist()]
    if not all(isinstance(item, bytes) for item in items):
        raise InvalidInput(f"The hook's {name!r} is no tensor; ask /predict for it.")
    strings: Array = np.empty(len(items), dtype=object)
    strings[:] = items
    return strings.reshape(array.shape)


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
