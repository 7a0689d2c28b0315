"""The inputs of a call by the Open Inference Protocol: from JSON, from behind it, or from a body that is one tensor."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tf_serving_flask_app.apis.open_inference_binary import array_from_bytes, reshaped
from tf_serving_flask_app.apis.open_inference_datatypes import BINARY_ONLY, datatype, is_sendable, wire_shape
from tf_serving_flask_app.apis.open_inference_types import RequestInput
from tf_serving_flask_app.apis.validation import shown
from tf_serving_flask_app.errors import InvalidInput
from tf_serving_flask_app.image_formats import format_of
from tf_serving_flask_app.tasks.base import Task
from tf_serving_flask_app.tensors import Array, Signature, TensorInfo, Tensors, array_from_json


def read_inputs(sent: Sequence[RequestInput], binary: memoryview, task: Task, signature: Signature) -> Tensors:
    """Make arrays of a request's inputs, in the model's types.

    Args:
        sent: as the JSON describes them.
        binary: the tensors behind the JSON, in the order of those that say ``binary_data_size``.
        task: the model; it may take pictures in place of numbers.
        signature: the one that is called.

    Raises:
        InvalidInput: they do not fit the signature, or the bytes do not fit what the JSON says of them.
    """
    model = task.model.name
    _check_names([each.name for each in sent], signature, model)
    arrays = {}
    for each in sent:
        info = _expected(each, task, signature)
        shape = tuple(each.shape)
        _check_carriers(each)
        size = each.parameters.binary_data_size
        if size is None:
            arrays[each.name] = _from_json(each, info)
            continue
        if size > len(binary):
            raise InvalidInput(
                f"unexpected size for input {each.name!r}, expecting {size - len(binary)} additional bytes for"
                f" model {model!r}"
            )
        arrays[each.name] = array_from_bytes(binary[:size], info, shape, model)
        binary = binary[size:]
    if len(binary):
        raise InvalidInput(f"unexpected additional input data for model {model!r}: {len(binary)} bytes")
    return arrays


def read_raw_input(data: memoryview, task: Task, signature: Signature) -> Tensors:
    """Make an array of a body that is nothing but the model's one input; a string or an encoded picture is one item.

    Raises:
        InvalidInput: the model has several inputs, its shape cannot be told from the number of bytes, or they do not
            fit it.
    """
    model = task.model.name
    if len(signature.inputs) != 1:
        raise InvalidInput(
            f"Raw request must only have 1 input (found {len(signature.inputs)}) to be deduced but got multiple inputs"
            f" for model {model!r}"
        )
    [(name, info)] = signature.inputs.items()
    if not is_sendable(info.dtype):
        raise InvalidInput(f"input {name!r} of model {model!r} is of a type that cannot be sent: {info.type_name}")
    if task.takes_pictures(name) and format_of(data) is not None:
        return {name: _one_string(data)}
    if info.dtype == object:
        if any(size not in (None, 1) for size in info.shape or ()):
            raise InvalidInput(f"For BYTES datatype raw input {name!r}, the model must have input shape [1]")
        return {name: _one_string(data).reshape([1] * (1 if info.shape is None else len(info.shape)))}
    return {name: array_from_bytes(data, info, _raw_shape(data, info, task), model)}


def _one_string(data: memoryview) -> Array:
    array = np.empty(1, dtype=object)
    array[0] = bytes(data)
    return array


def _check_names(names: Sequence[str], signature: Signature, model: str) -> None:
    for number, name in enumerate(names):
        if name in names[:number]:
            raise InvalidInput(f"input {name!r} already exists in request")
        if name not in signature.inputs:
            wanted = ", ".join(map(repr, signature.inputs)) or "no inputs"
            raise InvalidInput(f"unexpected inference input {shown(name)} for model {model!r}, which takes {wanted}")
    missing = [name for name in signature.inputs if name not in names]
    if missing:
        raise InvalidInput(
            f"expected {len(signature.inputs)} inputs but got {len(names)} inputs for model {model!r}. Got input(s)"
            f" {list(names)}, but missing required input(s) {missing}. Please provide all required input(s)."
        )


def _expected(sent: RequestInput, task: Task, signature: Signature) -> TensorInfo:
    """What an input must be, where the client describes it so; pictures are looked at where they are decoded."""
    info = signature.inputs[sent.name]
    wanted = datatype(info.dtype)
    if sent.datatype == "BYTES" != wanted and task.takes_pictures(sent.name):
        return TensorInfo(sent.name, np.dtype(object), None)
    if sent.datatype != wanted or not is_sendable(info.dtype):
        raise InvalidInput(
            f"inference input {sent.name!r} data-type is {shown(sent.datatype)}, but model {task.model.name!r} expects"
            f" {wanted!r}"
        )
    if not info.accepts_shape(tuple(sent.shape)):
        raise InvalidInput(
            f"unexpected shape for input {sent.name!r} for model {task.model.name!r}. Expected"
            f" {_short(wire_shape(info))}, got {_short(sent.shape)}."
        )
    return info


def _check_carriers(sent: RequestInput) -> None:
    """Refuse an input whose values come in no way, or in several."""
    if sent.parameters.shared_memory_region is not None:
        raise InvalidInput(f"input {sent.name!r}: shared memory is not supported; send the values")
    if (sent.data is None) == (sent.parameters.binary_data_size is None):
        found = "no field is set" if sent.data is None else "set 'data' 'binary_data_size'"
        raise InvalidInput(
            "Input must set only one of the following fields: 'data', 'binary_data_size' in 'parameters'. But"
            f" {found} for input {sent.name!r}"
        )


def _from_json(sent: RequestInput, info: TensorInfo) -> Array:
    if sent.datatype in BINARY_ONLY:
        raise InvalidInput(
            f"receiving {sent.datatype} data via JSON is not supported. Please use the binary data format for input"
            f" {sent.name}"
        )
    if not isinstance(sent.data, list | np.ndarray):
        raise InvalidInput(f"Unable to parse 'data': that of input {sent.name!r} must be a list")
    array = array_from_json(sent.data, info)
    if array.size != math.prod(sent.shape):
        raise InvalidInput(
            "Unable to parse 'data': Shape does not match true shape of 'data' field: input"
            f" {sent.name!r} has the shape {_short(sent.shape)} and {array.size} values"
        )
    return reshaped(array, tuple(sent.shape), sent.name)


def _raw_shape(data: memoryview, info: TensorInfo, task: Task) -> tuple[int, ...]:
    """Work out a tensor's shape from its size; where a batch and another length are open, the batch is of one."""
    shape: list[int | None] = list(info.shape) if info.shape is not None else [None, None]
    if info.shape and shape.count(None) > 1:
        shape[0] = shape[0] or 1
    if shape.count(None) > 1:
        raise InvalidInput(
            f"The shape of the raw input {info.name!r} can not be deduced because there are more than one"
            " variable-sized dimension"
        )
    row = math.prod(size for size in shape if size is not None) * info.dtype.itemsize
    if None in shape and len(data) % (row or 1):
        raise InvalidInput(
            f"input byte size mismatch for input {info.name!r} for model {task.model.name!r}. Expected {info}, which is"
            f" a multiple of {row} bytes{', or an encoded picture' if task.takes_pictures(info.name) else ''}; got"
            f" {len(data)}"
        )
    return tuple(len(data) // (row or 1) if size is None else size for size in shape)


def _short(shape: Sequence[int]) -> str:
    """A shape as Triton writes it: [-1,3]."""
    return f"[{','.join(map(str, shape))}]"
