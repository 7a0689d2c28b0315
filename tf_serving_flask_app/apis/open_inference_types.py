"""The Open Inference Protocol's requests and answers, as the types that validate and document them."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, FailFast, Field, WithJsonSchema

MOST_DIMENSIONS = 64
"""As many as NumPy's arrays have."""


def _listed(value: Any) -> Any:
    """Whole numbers as a list; the JSON parser makes an array of them."""
    return value.tolist() if isinstance(value, np.ndarray) else value


Shape = Annotated[
    list[Annotated[int, Field(ge=0, lt=2**63)]],
    Field(max_length=MOST_DIMENSIONS),
    BeforeValidator(_listed, json_schema_input_type=list[Annotated[int, Field(ge=0, lt=2**63)]]),
]
Data = Annotated[Any, WithJsonSchema({"type": "array", "items": {}})]
"""A tensor's values, nested or flat, row by row: numbers, booleans or strings. Not validated value by value here."""

Size = Annotated[int, Field(ge=0)] | None


class _Record(BaseModel):
    # Clients add keys of their own, and newer versions of the protocol may; they change nothing.
    model_config = ConfigDict(strict=True, extra="ignore")


class _Parameters(_Record):
    # Frozen ones serve as defaults as they are; others would be copied for each request.
    model_config = ConfigDict(strict=True, extra="allow", frozen=True)


class InputParameters(_Parameters):
    """What is said of an input beside its values."""

    binary_data_size: Size = Field(None, description="Bytes of the tensor behind the JSON, in place of `data`.")
    shared_memory_region: Any = Field(None, description="Not supported.")


class RequestInput(_Record):
    """One input tensor."""

    name: str
    shape: Shape
    datatype: str = Field(
        description="As the model's metadata says: BOOL, UINT8 to UINT64, INT8 to INT64, FP16 to FP64, BF16, BYTES."
    )
    parameters: InputParameters = InputParameters()
    data: Data = None


class OutputParameters(_Parameters):
    """How an output is wanted."""

    binary_data: bool | None = Field(None, description="Behind the JSON; left out: as `binary_data_output` says.")
    classification: Size = Field(None, description="As the best k classes, strings of `value:index[:label]`.")
    shared_memory_region: Any = Field(None, description="Not supported.")


class RequestOutput(_Record):
    """One output tensor that is wanted."""

    name: str
    parameters: OutputParameters = OutputParameters()


class RequestParameters(_Parameters):
    """What is said of a request; what is not listed changes nothing."""

    binary_data_output: bool = Field(False, description="All outputs behind the JSON, where they say nothing else.")
    timeout: Size = Field(None, description="Microseconds until the answer is of no use; shortens the deadline.")
    signature_name: str | None = Field(
        None, description="The signature to call, where the model has several; left out: the one that the spec chose."
    )


class InferenceRequest(_Record):
    """A call of a model."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "42",
                    "inputs": [{"name": "x", "shape": [2], "datatype": "FP32", "data": [1.0, 5.0]}],
                    "outputs": [{"name": "y"}],
                }
            ]
        }
    )

    id: str | None = Field(None, description="Comes back in the answer.")
    parameters: RequestParameters = RequestParameters()
    inputs: Annotated[list[RequestInput], FailFast()]
    # Not a list, of which each request would get a deep copy.
    outputs: Annotated[list[RequestOutput], FailFast()] = Field(
        (),  # type: ignore[arg-type]
        description="Which outputs, and in which order; left out or empty: all.",
    )


class InferenceHeaders(BaseModel):
    """What is said of a call beside its body."""

    json_length: Size = Field(
        None,
        alias="Inference-Header-Content-Length",
        description="Bytes of the body that are JSON, where tensors follow; 0: the body is the one input's tensor.",
    )


class ResponseOutput(BaseModel):
    """One output tensor."""

    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, Any] | None = Field(None, description="`binary_data_size`, where it is behind the JSON.")
    data: Data = Field(None, description="Flat, row by row; NaN and infinities are null.")


class InferenceResponse(BaseModel):
    """A model's answer."""

    id: str | None = None
    model_name: str
    model_version: str
    outputs: list[ResponseOutput]


class ServerMetadata(BaseModel):
    """What this server is."""

    name: str
    version: str
    extensions: list[str]


class ServerLive(BaseModel):
    """That the process is alive."""

    live: bool


class ServerReady(BaseModel):
    """Whether all models are loaded and warm."""

    ready: bool


class ModelReady(BaseModel):
    """Whether a model, or a version of it, can be called."""

    name: str
    ready: bool


class TensorMetadata(BaseModel):
    """What an input takes or an output gives; -1 is any length."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(BaseModel):
    """What a model takes and gives."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]
    properties: dict[str, str] = Field(
        description="Its `task`; its `signatures`; `joined_rows`: of the largest batch to which requests that wait are"
        " joined, 1 where they are not; `pictures`: which inputs also take encoded ones."
    )


class TensorConfig(BaseModel):
    """An input or output in Triton's words; without the batch dimension where ``max_batch_size`` is not 0."""

    name: str
    data_type: str
    dims: list[int]


class ModelConfig(BaseModel):
    """A model in Triton's words."""

    name: str
    platform: str
    backend: str
    version_policy: dict[str, Any]
    max_batch_size: int
    input: list[TensorConfig]
    output: list[TensorConfig]


class RepositoryIndexRequest(_Record):
    """Which models to list."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"ready": True}]})

    ready: bool = Field(False, description="Only those that can be called.")


class RepositoryModel(BaseModel):
    """One version of a model in the repository."""

    name: str
    version: str
    state: str = Field(description="READY, LOADING, UNLOADING, UNAVAILABLE or UNKNOWN.")
    reason: str


class LoadRequest(_Record):
    """How to load a model."""

    model_config = ConfigDict(json_schema_extra={"examples": [{}]})

    parameters: dict[str, Any] = Field(
        {}, description="`config` and `file:...`, which would replace what the spec says, are refused."
    )


class UnloadParameters(_Parameters):
    """How to unload a model."""

    unload_dependents: bool = Field(False, description="Models here have no dependents, so it changes nothing.")


class UnloadRequest(_Record):
    """How to unload a model."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"parameters": {"unload_dependents": False}}]})

    parameters: UnloadParameters = UnloadParameters()
