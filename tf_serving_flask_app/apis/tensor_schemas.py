"""JSON Schemas and examples of tensors, as the protocols carry them in JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from tf_serving_flask_app.tensors import Array, TensorInfo, array_to_json, zeros

Json = dict[str, Any]

MAX_SHOWN = 256
"""Numbers of the largest tensor whose example is whole; what generates samples by itself is told no sizes beyond."""

TEXT: Json = {"anyOf": [{"type": "string"}, {"$ref": "#/components/schemas/EncodedBytes"}]}
ENCODED_BYTES: Json = {
    "description": "Bytes that may be no text, in base64.",
    "type": "object",
    "properties": {"b64": {"type": "string", "contentEncoding": "base64"}},
    "required": ["b64"],
    "additionalProperties": False,
}


def tensor_schema(info: TensorInfo) -> Json:
    """Describe what a client sends for a tensor: nested lists of its rank, and of its sizes where they are few."""
    if info.shape is None:
        return {"description": str(info)}
    schema = _element(info)
    told = is_small(info)
    for size in reversed(info.shape):
        bounds = {"minItems": size, "maxItems": size} if told and size is not None else {}
        schema = {"type": "array", "items": schema, **bounds}
    return {"description": str(info)} | schema


def answer_schema(info: TensorInfo) -> Json:
    """Describe what a client gets for a tensor: what is no number in JSON, NaN and infinities, is null."""
    if info.shape is None:
        return {"description": str(info)}
    schema = {"type": ["number", "null"]} if info.dtype.kind in "fV" else _element(info)
    for _ in info.shape:
        schema = {"type": "array", "items": schema}
    return {"description": str(info)} | schema


def item(info: TensorInfo) -> TensorInfo:
    """One item of a batch: the tensor without its first dimension."""
    return replace(info, shape=None if info.shape is None else info.shape[1:])


def record_schema(schemas: Mapping[str, Json]) -> Json:
    """Describe an object that has exactly these members."""
    return {
        "type": "object",
        "properties": dict(schemas),
        "required": list(schemas),
        "additionalProperties": False,
    }


def is_small(info: TensorInfo) -> bool:
    """Tell whether a tensor, a batch of one where the batch is open, can be shown whole."""
    return int(np.prod([size or 1 for size in info.shape or ()], dtype=float)) <= MAX_SHOWN


def sample(info: TensorInfo) -> Array:
    """A tensor that the model takes: zeros, or empty strings; of a large one only the first, in as many dimensions."""
    return zeros(info if is_small(info) else replace(info, shape=(1,) * len(info.shape or ())))


def plain(array: Array) -> Any:
    """A small array as numbers, strings and lists."""
    value = array_to_json(array)
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def example(info: TensorInfo) -> Any:
    """``sample`` as a client would write it."""
    return plain(sample(info))


def _element(info: TensorInfo) -> Json:
    kind = info.dtype.kind
    if kind == "O":
        return TEXT
    if kind == "b":
        return {"type": "boolean"}
    if kind in "iu":
        limits = np.iinfo(info.dtype)
        return {"type": "integer", "minimum": int(limits.min), "maximum": int(limits.max)}
    return {"type": "number"}
