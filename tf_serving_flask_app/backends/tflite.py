"""A TensorFlow Lite model: one .tflite file, run by LiteRT (``ai-edge-litert``, the extra ``tflite``)."""

from __future__ import annotations

import importlib
import re
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from tf_serving_flask_app.backends.base import Backend
from tf_serving_flask_app.backends.graphs import bind, one_line
from tf_serving_flask_app.errors import ConfigurationError, InvalidInput
from tf_serving_flask_app.spec import ModelSpec
from tf_serving_flask_app.spec_parts import TensorSpec
from tf_serving_flask_app.tensors import Array, Signature, TensorInfo, Tensors

MISSING_OPERATION = re.compile("unresolved custom op|Select TensorFlow op")
"""What the runtime says of an operation that it lacks, whatever the shape of the input."""


class TFLiteModel(Backend):
    """Serves every signature of a TensorFlow Lite model; of one that has none, its inputs and outputs.

    Clients see a quantised tensor as float32, so that scores are probabilities and ``image.scale`` is that of the
    float model. Only an input of uint8 stays as it is: it is made for pixels of 0..255, and its quantisation holds
    what the scaling was. ``dtype`` in the spec's entry chooses the other: float32, or the stored type.

    An interpreter holds the tensors of one call, so a lock lets in one call at a time. More interpreters would need
    the memory of more models; the cores are kept busy by the worker processes, and by ``intra_op_threads`` in one.
    """

    platform = "tensorflow_tflite"
    computes_only = True

    @classmethod
    def before_fork(cls) -> None:
        """Import the runtime; where it is not installed, loading a model says so."""
        with suppress(ImportError):
            importlib.import_module("ai_edge_litert.interpreter")

    def __init__(self, spec: ModelSpec) -> None:
        """Load the model and prepare its tensors."""
        if not spec.path.is_file():
            raise ConfigurationError(f"{spec.path}: a TensorFlow Lite model is one .tflite file.")
        self._interpreter = _load(spec)
        self._lock = threading.Lock()
        self.version = 1 if spec.version is None else spec.version
        names = self._interpreter.get_signature_list()
        self._runners: dict[str, Any] = {name: self._interpreter.get_signature_runner(name) for name in names}
        if not self._runners:
            self._runners[spec.signature] = _WholeModel(self._interpreter)
        self._inputs: dict[str, dict[str, _Tensor]] = {}
        self._outputs: dict[str, dict[str, _Tensor]] = {}
        for name, runner in self._runners.items():
            inputs, outputs = runner.get_input_details(), runner.get_output_details()
            named_inputs, named_outputs = (spec.inputs, spec.outputs) if name == spec.signature else ({}, {})
            self._inputs[name] = {
                public: _input(public, own, inputs[own], named_inputs.get(public))
                for public, own in bind(named_inputs, {own: own for own in sorted(inputs)}, spec.path).items()
            }
            self._outputs[name] = {
                public: _output(public, own, outputs[own], named_outputs.get(public))
                for public, own in bind(named_outputs, {own: own for own in sorted(outputs)}, spec.path).items()
            }
        self.signatures = {
            name: Signature(
                name,
                {public: tensor.info for public, tensor in self._inputs[name].items()},
                {public: tensor.info for public, tensor in self._outputs[name].items()},
            )
            for name in sorted(self._runners)
        }

    def run(self, signature: str, inputs: Tensors) -> Tensors:
        """Run the model once; see ``Backend.run``."""
        values = {tensor.own: tensor.quantize(inputs[name]) for name, tensor in self._inputs[signature].items()}
        try:
            with self._lock:
                found = self._runners[signature](**values)
        except (RuntimeError, ValueError, TypeError) as exc:
            # The runtime has one error for all. What it can still find after the load is in the values and shapes.
            raise InvalidInput(f"The model refuses this input: {one_line(exc)}") from exc
        return {name: tensor.dequantize(found[tensor.own]) for name, tensor in self._outputs[signature].items()}

    def tensors(self) -> list[TensorInfo]:
        """List every tensor of the model under its own name, with the type that the file holds."""
        return [
            TensorInfo(detail["name"], _stored(detail), _shape(detail))
            for detail in self._interpreter.get_tensor_details()
        ]

    def close(self) -> None:
        """Let go of the interpreter."""
        self._runners = {}
        self._interpreter = None


@dataclass(frozen=True)
class _Tensor:
    """An input or output as clients see it, and how the model stores it.

    Attributes:
        info: the public name and type.
        own: the name in the signature.
        stored: the type in the model.
        scale: a real value is ``scale * (stored value - zero_point)``, LiteRT's quantisation scheme; for one tensor
            as a whole.
        zero_point: see there.
    """

    info: TensorInfo
    own: str
    stored: np.dtype[Any]
    scale: float
    zero_point: int

    def quantize(self, values: Array) -> Array:
        """From what clients send to what the model stores: rounded, and what is out of range at its end."""
        if self.info.dtype == self.stored:
            return values
        limits = np.iinfo(self.stored)
        with np.errstate(over="ignore"):
            steps = np.rint(values / np.float32(self.scale)) + self.zero_point
        stored: Array = np.nan_to_num(steps, nan=self.zero_point).clip(limits.min, limits.max).astype(self.stored)
        return stored

    def dequantize(self, values: Array) -> Array:
        """From what the model stores to what clients get."""
        if self.info.dtype == self.stored:
            return values
        return np.asarray(np.float32(self.scale) * (values.astype(np.float32) - np.float32(self.zero_point)))


class _WholeModel:
    """Calls a model without signatures, as LiteRT's ``SignatureRunner`` calls one with them."""

    def __init__(self, interpreter: Any) -> None:
        self._interpreter = interpreter

    def get_input_details(self) -> dict[str, Any]:
        """Tensor name -> details."""
        return {detail["name"]: detail for detail in self._interpreter.get_input_details()}

    def get_output_details(self) -> dict[str, Any]:
        """Tensor name -> details."""
        return {detail["name"]: detail for detail in self._interpreter.get_output_details()}

    def __call__(self, **values: Array) -> dict[str, Array]:
        indices = {name: detail["index"] for name, detail in self.get_input_details().items()}
        for name, value in values.items():
            self._interpreter.resize_tensor_input(indices[name], value.shape)
        self._interpreter.allocate_tensors()
        for name, value in values.items():
            self._interpreter.set_tensor(indices[name], value)
        self._interpreter.invoke()
        return {
            name: self._interpreter.get_tensor(detail["index"]) for name, detail in self.get_output_details().items()
        }


def _load(spec: ModelSpec) -> Any:
    """Make the interpreter.

    Raises:
        ConfigurationError: the runtime is not installed, or it cannot run this file.
    """
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as exc:
        raise ConfigurationError(
            f"model {spec.name!r}: backend tflite needs the package ai-edge-litert ({one_line(exc)}):"
            " `pip install 'tf_serving_flask_app[tflite]'`, or `pip install ai-edge-litert`."
        ) from exc
    try:
        # Of bytes rather than the path, which would be mapped: a worker would die when the file is written anew.
        interpreter = Interpreter(model_content=spec.path.read_bytes(), num_threads=int(spec.session.intra_op_threads))
    except (ValueError, RuntimeError, OSError) as exc:
        raise ConfigurationError(f"{spec.path}: not a TensorFlow Lite model: {one_line(exc)}") from exc
    try:
        interpreter.allocate_tensors()
    except RuntimeError as exc:
        # A length that is free counts as 1 here, which a model need not take.
        free = any(None in _shape(detail) for detail in interpreter.get_input_details())
        if not free or MISSING_OPERATION.search(str(exc)):
            raise ConfigurationError(f"{spec.path}: this model cannot be run here: {one_line(exc)}") from exc
    return interpreter


def _input(name: str, own: str, detail: Any, spec: TensorSpec | None) -> _Tensor:
    stored = _stored(detail)
    default = stored if stored == np.uint8 else np.dtype(np.float32)
    return _tensor(TensorInfo(name, default, _shape(detail)), own, detail, spec)


def _output(name: str, own: str, detail: Any, spec: TensorSpec | None) -> _Tensor:
    # The file does not tell a scalar from an output whose shape shows only when the model runs.
    return _tensor(TensorInfo(name, np.dtype(np.float32), _shape(detail) or None), own, detail, spec)


def _tensor(info: TensorInfo, own: str, detail: Any, spec: TensorSpec | None) -> _Tensor:
    """Settle the public type: as ``info`` says or the spec wishes if the tensor is quantised, else as stored."""
    stored = _stored(detail)
    scale, zero_point = detail["quantization"]
    if stored.kind not in "iu" or not scale or (spec is not None and spec.dtype == stored.name):
        public = stored
    else:
        public = np.dtype(np.float32) if spec is not None and spec.dtype == "float32" else info.dtype
    return _Tensor(TensorInfo(info.name, public, info.shape), own, stored, scale, zero_point)


def _stored(detail: Any) -> np.dtype[Any]:
    return np.dtype(object) if detail["dtype"] is np.bytes_ else np.dtype(detail["dtype"])


def _shape(detail: Any) -> tuple[int | None, ...]:
    return tuple(None if size == -1 else size for size in detail["shape_signature"].tolist())
