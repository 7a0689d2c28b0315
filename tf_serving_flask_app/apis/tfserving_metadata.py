"""What TensorFlow Serving tells of a model: the state of its versions, and its signatures as a ``SignatureDef``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tf_serving_flask_app.entries import VersionStatus
from tf_serving_flask_app.model import Model
from tf_serving_flask_app.tensors import Signature, TensorInfo

DATA_TYPES = {
    "float32": "DT_FLOAT",
    "float64": "DT_DOUBLE",
    "float16": "DT_HALF",
    "bfloat16": "DT_BFLOAT16",
    "complex64": "DT_COMPLEX64",
    "complex128": "DT_COMPLEX128",
    "bool": "DT_BOOL",
    "object": "DT_STRING",
    **{f"{sign}int{bits}": f"DT_{sign.upper()}INT{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}
"""NumPy's name of a type -> its name in TensorFlow's types.proto."""


def data_type(dtype: np.dtype[Any]) -> str:
    """The name of a type in protocol buffers; ``DT_INVALID`` for a handle, which no client can send."""
    return DATA_TYPES.get(dtype.name, "DT_INVALID")


def status_body(statuses: Sequence[VersionStatus]) -> dict[str, Any]:
    """TensorFlow Serving's answer about versions; a version that is not known yet counts as 0."""
    return {
        "model_version_status": [
            {
                "version": status.version if status.version.isdecimal() else "0",
                "state": status.state,
                "status": {"error_code": "UNKNOWN" if status.error else "OK", "error_message": status.error},
            }
            for status in statuses
        ]
    }


def metadata_body(model: Model) -> dict[str, Any]:
    """TensorFlow Serving's answer about signatures; that ``signature_def`` comes twice is its way."""
    signatures = {name: _signature_def(signature) for name, signature in model.signatures.items()}
    return {
        "model_spec": {"name": model.name, "signature_name": "", "version": model.version},
        "metadata": {"signature_def": {"signature_def": signatures}},
    }


def _signature_def(signature: Signature) -> dict[str, Any]:
    return {
        "inputs": _tensors(signature.inputs),
        "outputs": _tensors(signature.outputs),
        "method_name": signature.method,
        "defaults": {},
    }


def _tensors(infos: Mapping[str, TensorInfo]) -> dict[str, Any]:
    return {
        name: {
            "dtype": data_type(info.dtype),
            "tensor_shape": {
                "dim": [{"size": str(-1 if size is None else size), "name": ""} for size in info.shape or ()],
                "unknown_rank": info.shape is None,
            },
            "name": info.tensor,
        }
        for name, info in infos.items()
    }
