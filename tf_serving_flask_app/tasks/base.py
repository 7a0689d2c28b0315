"""What every task can do: take `/predict`'s fields, run the hooks around the model, warm up."""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np

from tf_serving_flask_app.context import RequestContext
from tf_serving_flask_app.errors import BackendFailed, ConfigurationError, InvalidInput, ServingError
from tf_serving_flask_app.hooks import load_hook
from tf_serving_flask_app.image_input import ImageInput
from tf_serving_flask_app.json_arrays import parse_json
from tf_serving_flask_app.model import Model
from tf_serving_flask_app.scaling import parse_scale
from tf_serving_flask_app.settings import Settings
from tf_serving_flask_app.spec import ModelSpec
from tf_serving_flask_app.spec_parts import InputType
from tf_serving_flask_app.tensors import Array, Signature, TensorInfo, Tensors, array_from_json, array_to_json, zeros

logger = logging.getLogger(__name__)

Field = str | bytes | int | float | bool | list[Any] | Array | dict[str, Any] | None
"""What a client sends for an input: a file's bytes, a form field's text, or a JSON value as ``parse_json`` gives it."""


class Task(ABC):
    """A model with what its task adds to it."""

    def __init__(self, model: Model, settings: Settings) -> None:
        """Prepare the task.

        Raises:
            ConfigurationError: the spec does not fit the model.
        """
        self.model = model
        self.max_image_pixels = settings.max_image_pixels
        self._image_inputs: dict[str, ImageInput] = {}
        spec = model.spec
        self._preprocess = load_hook(spec.preprocess) if spec.preprocess else None
        self._postprocess = load_hook(spec.postprocess) if spec.postprocess else None

    @abstractmethod
    def warm(self) -> None:
        """Run the model once, so that the first request is as fast as the next.

        Raises:
            ConfigurationError: the model cannot do what the task needs.
        """

    def input_type(self, info: TensorInfo) -> InputType:
        """Tell what `/predict` takes for an input: what the spec says, else strings as text, the rest as numbers."""
        tensor = self.model.spec.inputs.get(info.name)
        if tensor is not None and tensor.type is not None:
            return tensor.type
        return "text" if info.dtype == object else "number"

    def predict(self, fields: Mapping[str, Field], context: RequestContext) -> dict[str, Any]:
        """Answer `/predict`: fields by input name in, JSON values by output name out, the hooks applied.

        A field with one dimension fewer than the input is one item: it goes in as a batch of one, and where all
        were such, the answer comes without the batch dimension too.

        Raises:
            InvalidInput: a field is missing, unknown, or does not fit its input.
        """
        signature = self.model.signature()
        if fields.keys() != signature.inputs.keys():
            wanted = ", ".join(f"{name!r} ({self.input_type(info)})" for name, info in signature.inputs.items())
            got = ", ".join(map(repr, fields)) or "none"
            raise InvalidInput(f"Model {self.model.name!r} takes the fields {wanted}; got {got}.")
        with context.stage("decode"):
            arrays = {name: self._array(fields[name], info) for name, info in signature.inputs.items()}
            single = {
                name: info.shape is not None and arrays[name].ndim == len(info.shape) - 1
                for name, info in signature.inputs.items()
            }
            inputs = {name: array[np.newaxis] if single[name] else array for name, array in arrays.items()}
        outputs = self.call(inputs, context)
        with context.stage("postprocess"):
            batch_of_one = bool(single) and all(single.values())
            return {name: _to_json(value, batch_of_one) for name, value in outputs.items()}

    def call(self, inputs: Tensors, context: RequestContext) -> dict[str, Any]:
        """Run the model with the spec's hooks before and after it."""
        if self._preprocess is not None:
            with context.stage("preprocess"):
                inputs = self._preprocess(inputs)
            try:
                self.model.signature().check(inputs)
            except InvalidInput as exc:
                raise BackendFailed(f"the preprocess hook's result does not fit the model: {exc}") from exc
        outputs: dict[str, Any] = self.model.run(inputs, context)
        if self._postprocess is not None:
            with context.stage("postprocess"):
                outputs = self._postprocess(outputs)
        return outputs

    def takes_pictures(self, name: str) -> bool:
        """Tell whether an input may come as strings that hold encoded pictures, in place of the model's own numbers."""
        return False

    def class_label(self, output: str, index: int) -> str | None:
        """Name the class whose score an output holds at an index, where it has a name."""
        return None

    def infer(
        self, inputs: Tensors, context: RequestContext, signature: str | None = None, *, any_shape: bool = False
    ) -> Tensors:
        """Answer a call with raw tensors, for the protocols that carry these; of the hooks, only pictures see any.

        Args:
            inputs: arrays as the signature takes them, or, where ``takes_pictures`` says so, strings.
            context: the request's.
            signature: its name; None for the one that the spec chose.
            any_shape: see ``Model.run``.

        Raises:
            SignatureNotFound: the model has none of that name.
            InvalidInput: the inputs do not fit the signature, or the model refuses their values.
        """
        return self.model.run(inputs, context, signature, any_shape=any_shape)

    def _array(self, value: Field, info: TensorInfo) -> Array:
        """Turn one field into an array; a picture comes back without its batch dimension."""
        kind = self.input_type(info)
        if kind in ("image", "file") and not isinstance(value, bytes):
            raise InvalidInput(f"Field {info.name!r} takes an uploaded file (multipart/form-data with a file name).")
        if kind == "image":
            assert isinstance(value, bytes)
            picture: Array = self.image_input(info).tensor(value)[0]
            return picture
        if isinstance(value, bytes):
            if info.dtype != object:
                raise InvalidInput(f"Field {info.name!r} takes numbers, not a file; send them as JSON text.")
            array = np.empty((), dtype=object)
            array[()] = value
        elif kind == "number" and isinstance(value, str):
            try:
                array = array_from_json(parse_json(value.encode(), non_finite=False), info)
            except ValueError as exc:
                raise InvalidInput(
                    f"Field {info.name!r} takes a number or a JSON list of numbers, not {value[:60]!r}."
                ) from exc
        else:
            array = array_from_json(value, info)
        # A graph of unknown rank that takes strings wants a batch of them.
        return array.reshape(1) if info.dtype == object and info.shape is None and array.ndim == 0 else array

    def image_input(self, info: TensorInfo) -> ImageInput:
        """Work out how a picture becomes this input, from its shape and the spec's ``image:``.

        Raises:
            ConfigurationError: shape and spec contradict each other, or leave the size open.
        """
        if info.name not in self._image_inputs:
            self._image_inputs[info.name] = image_input(self.model.spec, info, self.max_image_pixels)
        return self._image_inputs[info.name]


def image_input(spec: ModelSpec, info: TensorInfo, max_pixels: int) -> ImageInput:
    """See ``Task.image_input``."""
    image = spec.image
    shape = info.shape if info.shape is not None else (None,) * 4
    if len(shape) != 4 or info.dtype == object:
        raise ConfigurationError(
            f"model {spec.name!r}: the input {info} is no picture; a picture needs the shape [batch, height, width,"
            " channels] of numbers."
        )
    height, width, channels = shape[1:] if image.layout == "channels_last" else (shape[2], shape[3], shape[1])
    how = image.resize
    any_size = (width, height, image.width, image.height) == (None,) * 4
    if spec.task == "detection" and any_size and "resize" not in image.model_fields_set:
        # A detector that takes any size resizes in its graph, so it gets the picture as it is.
        how = "none"
    size = {}
    for side, graph, given in (("width", width, image.width), ("height", height, image.height)):
        if graph is not None and given is not None and graph != given:
            raise ConfigurationError(
                f"model {spec.name!r}: image.{side} is {given}, but the input {info} takes {graph}; leave it out."
            )
        size[side] = graph or given
        if size[side] is None and how != "none":
            raise ConfigurationError(
                f"model {spec.name!r}: the input {info} takes any size: set image.{side}, or `resize: none`."
            )
    color = image.color or ("grayscale" if channels == 1 else "bgr" if image.scale == "caffe" else "rgb")
    if channels not in (None, 1 if color == "grayscale" else 3):
        raise ConfigurationError(
            f"model {spec.name!r}: the input {info} takes {channels} channels, but image.color is {color}"
            " (is image.layout right?)."
        )
    try:
        return ImageInput(
            width=size["width"],
            height=size["height"],
            color=color,
            resize=how,
            scale=parse_scale(image.scale, color),
            layout=image.layout,
            dtype=info.dtype,
            max_pixels=max_pixels,
        )
    except ConfigurationError as exc:
        raise ConfigurationError(f"model {spec.name!r}: {exc}") from exc


def _to_json(value: Any, batch_of_one: bool) -> Any:
    if not isinstance(value, np.ndarray):
        return value
    # Reshaped, since value[0] of a batch of strings is bytes.
    return array_to_json(value.reshape(value.shape[1:]) if batch_of_one and value.shape[:1] == (1,) else value)


def warm_signature(model: Model, signature: Signature) -> None:
    """Run a signature on zeros; a model that refuses zeros is only noted."""
    began = time.perf_counter()
    try:
        model.warm_up(signature, {name: zeros(info) for name, info in signature.inputs.items()})
    except ServingError as exc:
        logger.info("model %s: signature %s is not warmed up: %s", model.name, signature.name, exc)
    else:
        logger.debug("model %s: warmed up in %.3f s", model.name, time.perf_counter() - began)
