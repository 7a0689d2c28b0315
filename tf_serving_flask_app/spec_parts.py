"""What one model's entry in a spec is made of: its tensors, pictures, session, batches and TLS."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

InputType = Literal["image", "file", "text", "number"]


class Record(BaseModel):
    """Unknown keys are errors, and what is read stays as it is."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TensorSpec(Record):
    """One input or output as the spec names it: the tensor, and for `/predict` what a client sends for it."""

    tensor: str | None = Field(None, description="Tensor in the graph, or the signature's name for it.")
    type: InputType | None = Field(
        None, description="What /predict takes for it: a picture, a file's bytes, text or numbers."
    )
    dtype: str | None = Field(
        None,
        description="NumPy's name of the type, checked against the graph: float32, int64, object (bytes).",
    )
    shape: tuple[Annotated[int, Field(ge=-1, strict=True)] | None, ...] | None = Field(
        None, description="Shape where the graph says nothing; null or -1: any length."
    )

    @field_validator("shape", mode="before")
    @classmethod
    def _any_length(cls, value: Any) -> Any:
        return [None if size == -1 else size for size in value] if isinstance(value, list) else value


def _tensor_by_name(value: Any) -> Any:
    return {"tensor": value} if isinstance(value, str) else value


Tensors = dict[str, Annotated[TensorSpec, BeforeValidator(_tensor_by_name, json_schema_input_type=str | TensorSpec)]]


class ImageSpec(Record):
    """How a picture becomes the model's input."""

    width: int | None = Field(
        None, ge=1, le=16384, strict=True, description="Pixels; left out: from the input's shape."
    )
    height: int | None = Field(
        None, ge=1, le=16384, strict=True, description="Pixels; left out: from the input's shape."
    )
    color: Literal["rgb", "bgr", "grayscale"] | None = Field(
        None,
        description="Order of the channels. Default: rgb; with `scale: caffe` bgr; one channel: grayscale.",
    )
    resize: Literal["stretch", "crop", "pad", "none"] = Field(
        "stretch", description="stretch; crop: the centre; pad: letterbox; none: as it comes."
    )
    scale: str = Field("raw", description="Arithmetic in x, 0..255, or a preset: inception, caffe, torch, unit, raw.")
    layout: Literal["channels_last", "channels_first"] = Field(
        "channels_last", description="channels_last: [batch, height, width, channels]; or channels_first."
    )


class SessionSpec(Record):
    """How TensorFlow runs this model."""

    intra_op_threads: Annotated[int, Field(ge=1, le=1024, strict=True)] | Literal["auto"] = Field(
        "auto", description="Threads inside one operation; auto: usable cores divided by worker processes."
    )
    inter_op_threads: int = Field(1, ge=1, le=1024, strict=True, description="Operations that run at once.")
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="bfloat16: faster on processors made for it, with a loss of accuracy."
    )
    xla: bool = Field(False, description="Compile the graph with XLA.")


class BatchingSpec(Record):
    """How calls that wait together are joined into one call of the model."""

    max_batch_size: int = Field(
        8, ge=1, le=4096, strict=True, description="Rows of the largest batch; 1: calls are not joined."
    )
    max_wait_ms: float = Field(
        0,
        ge=0,
        le=10_000,
        strict=True,
        allow_inf_nan=False,
        description="How long a call waits for company though the model is free; 0: not at all.",
    )


class TlsSpec(Record):
    """How a remote model server is told from an impostor, and this one from a stranger."""

    ca: Path | None = Field(None, description="Certificates to trust, PEM; left out: those that the system trusts.")
    cert: Path | None = Field(None, description="Certificate chain to show to the server, PEM; with key.")
    key: Path | None = Field(None, description="Its private key, PEM; with cert.")

    @model_validator(mode="after")
    def _pair(self) -> TlsSpec:
        if (self.cert is None) != (self.key is None):
            raise ValueError("cert and key go together: give both, or neither")
        return self
