"""What the Open Inference Protocol tells of a model: its metadata, and its configuration in Triton's words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tf_serving_flask_app.apis.open_inference_datatypes import datatype, wire_shape
from tf_serving_flask_app.apis.open_inference_types import ModelConfig, ModelMetadata, TensorConfig, TensorMetadata
from tf_serving_flask_app.errors import SignatureNotFound
from tf_serving_flask_app.tasks.base import Task
from tf_serving_flask_app.tensors import Signature, TensorInfo

ANY_BATCH = 2**31 - 1
"""The largest ``max_batch_size`` that Triton's configuration can say: there is no limit here."""


def model_metadata(task: Task, versions: Sequence[str]) -> ModelMetadata:
    """Describe a model by the signature that calls use where they name none.

    Args:
        task: one version of it.
        versions: all that can be called.
    """
    signature = _signature(task)
    return ModelMetadata(
        name=task.model.name,
        versions=list(versions),
        platform=task.model.platform,
        inputs=_tensors(signature.inputs),
        outputs=_tensors(signature.outputs),
        properties=_properties(task, signature),
    )


def model_config(task: Task, versions: Sequence[str]) -> ModelConfig:
    """Describe a model as Triton's ``config.pbtxt`` does.

    Args:
        task: one version of it.
        versions: all that can be called.
    """
    signature = _signature(task)
    batched = takes_batches(signature)
    return ModelConfig(
        name=task.model.name,
        platform=task.model.platform,
        backend=task.model.spec.backend,
        version_policy={"specific": {"versions": [int(version) for version in versions]}},
        max_batch_size=ANY_BATCH if batched else 0,
        input=_configs(signature.inputs, batched),
        output=_configs(signature.outputs, batched),
    )


def takes_batches(signature: Signature) -> bool:
    """Tell whether the first dimension of all tensors is a batch of any size, and there are others behind it."""
    tensors = [*signature.inputs.values(), *signature.outputs.values()]
    return bool(tensors) and all(
        info.shape is not None and len(info.shape) > 1 and info.shape[0] is None for info in tensors
    )


def _signature(task: Task) -> Signature:
    """The signature to describe; an empty one where the model has several and the spec chose none."""
    try:
        return task.model.signature()
    except SignatureNotFound as exc:
        return Signature(exc.signature, {}, {})


def _properties(task: Task, signature: Signature) -> dict[str, str]:
    properties = {"task": task.model.spec.task, "signatures": ", ".join(task.model.signatures)}
    pictures = [repr(name) for name in signature.inputs if task.takes_pictures(name)]
    if pictures:
        properties["pictures"] = f"{', '.join(pictures)} also takes BYTES of shape [N] or [N, 1]: encoded pictures."
    return properties


def _tensors(tensors: Mapping[str, TensorInfo]) -> list[TensorMetadata]:
    return [
        TensorMetadata(name=name, datatype=datatype(info.dtype), shape=wire_shape(info))
        for name, info in tensors.items()
    ]


def _configs(tensors: Mapping[str, TensorInfo], batched: bool) -> list[TensorConfig]:
    return [
        TensorConfig(
            name=name,
            data_type=f"TYPE_{'STRING' if info.dtype == object else datatype(info.dtype)}",
            dims=wire_shape(info)[1:] if batched else wire_shape(info),
        )
        for name, info in tensors.items()
    ]
