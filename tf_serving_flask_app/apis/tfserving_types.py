"""TensorFlow Serving's and KServe V1's requests and answers as types: what validates them, and what documents them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

Tensor = Annotated[Any, WithJsonSchema({"description": "A number, string, true, false, {'b64': ...} or nested lists."})]
"""Left as it is parsed: validating would cost an object for each number."""

Rows = Annotated[Any, WithJsonSchema({"type": "array", "minItems": 1, "items": {}})]
Features = {
    "type": "object",
    "additionalProperties": {"description": "A number, string, true, false, {'b64': ...}, or a list of such."},
}


class Request(BaseModel):
    """What both kinds of request hold."""

    model_config = ConfigDict(strict=True, extra="ignore")

    signature_name: str = Field("", description="Left out or empty: serving_default.")


class PredictRequest(Request):
    """Either ``instances``, one item for each row of the batch, or ``inputs``, one value for each input."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"instances": [1.0, 2.0, 5.0]}, {"inputs": {"x": [1.0, 2.0, 5.0]}}],
            "oneOf": [{"required": ["instances"]}, {"required": ["inputs"]}],
        }
    )

    instances: Rows = Field(None, description="Values, if the model has one input, or objects of a value by input.")
    inputs: Tensor = Field(None, description="A value, if the model has one input, or an object of values by input.")


class ExamplesRequest(Request):
    """Records of features, of which serialized ``tf.train.Example`` are made."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"signature_name": "classify_x_to_y", "examples": [{"x": 20.0}]}],
            "required": ["examples"],
        }
    )

    context: Annotated[Any, WithJsonSchema(Features)] = Field(None, description="Features that all examples have.")
    examples: Annotated[Any, WithJsonSchema({"type": "array", "minItems": 1, "items": Features})] = Field(
        None, description="Features by name."
    )


class RowAnswer(BaseModel):
    """The answer to ``instances``."""

    predictions: list[Any] = Field(description="A value for each row, or an object of values by output name.")


class ColumnarAnswer(BaseModel):
    """The answer to ``inputs``."""

    outputs: Tensor = Field(description="A value, or an object of values by output name.")


class ClassifyAnswer(BaseModel):
    """For each example, each class with its score."""

    results: list[list[tuple[str, float]]]


class RegressAnswer(BaseModel):
    """For each example a number."""

    results: list[float]


class StatusText(BaseModel):
    """Why a version is not available."""

    error_code: str = Field(description="OK, or gRPC's name of an error.")
    error_message: str


class ModelVersionStatus(BaseModel):
    """How one version fares."""

    version: str = Field(pattern="^[0-9]+$")
    state: Literal["UNKNOWN", "START", "LOADING", "AVAILABLE", "UNLOADING", "END"]
    status: StatusText


class VersionsAnswer(BaseModel):
    """TensorFlow Serving's status of the version that is named."""

    model_version_status: list[ModelVersionStatus]


class StatusAnswer(VersionsAnswer):
    """TensorFlow Serving's status of all versions, and KServe's of the model."""

    name: str
    ready: bool = Field(description="Some version is available.")


class ModelsAnswer(BaseModel):
    """The names of the models."""

    models: list[str]


class ModelVersion(BaseModel):
    """The version that the metadata are of."""

    model_config = ConfigDict(protected_namespaces=())

    name: str
    signature_name: str
    version: str


class MetadataAnswer(BaseModel):
    """A model's signatures."""

    model_config = ConfigDict(protected_namespaces=())

    model_spec: ModelVersion
    metadata: dict[str, Any] = Field(
        description="signature_def.signature_def: the signatures by name, as JSON of TensorFlow's SignatureDef."
    )
