"""The Open Inference Protocol's names of types and its way to write shapes.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tf_serving_flask_app.tensors import TensorInfo, dtype_name

DATATYPES: Mapping[str, str] = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "bfloat16": "BF16",
    "float32": "FP32",
    "float64": "FP64",
    "object": "BYTES",
}
"""NumPy's name of a type -> the protocol's; BF16 is Triton's addition."""

BINARY_ONLY = frozenset({"FP16", "BF16"})
"""What the protocol has no JSON form for."""


def datatype(dtype: np.dtype[Any]) -> str:
    """Name a type; one that the protocol does not have, such as complex64, by NumPy's name in capitals."""
    name = dtype_name(dtype)
    return DATATYPES.get(name) or name.upper()


def is_sendable(dtype: np.dtype[Any]) -> bool:
    """Tell whether the protocol has a form for values of a type."""
    return dtype_name(dtype) in DATATYPES


def wire_shape(info: TensorInfo) -> list[int]:
    """Write a tensor's shape, -1 for any length; the protocol has no way to say that the rank is open: [-1] too."""
    return [-1] if info.shape is None else [-1 if size is None else size for size in info.shape]
