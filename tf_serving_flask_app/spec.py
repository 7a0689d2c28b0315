"""A spec's records: which models to serve, and how each is fed and read. ``spec_file`` reads them from a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError

from tf_serving_flask_app.spec_parts import BatchingSpec, ImageSpec, Record, SessionSpec, Tensors, TlsSpec

DEFAULT_SIGNATURE = "serving_default"
"""The name that TensorFlow's exporters give to a model's main signature."""

TARGET = r"^(https?://)?([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}$"
NO_PATH = Path()
"""The path of a model that is not in a file here; a spec that says `path: .` holds another object."""

IMPORT_PATH = r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$"


class LatestVersions(Record):
    """A policy: the latest versions."""

    latest: int = Field(ge=1, strict=True, description="How many of the latest versions to serve.")


VersionNumber = Annotated[int, Field(ge=0, strict=True)]


def _policy(value: Any) -> str:
    if isinstance(value, dict | LatestVersions):
        return "latest"
    return "list" if isinstance(value, list) else "all"


VersionPolicy = Annotated[
    Annotated[LatestVersions, Tag("latest")]
    | Annotated[Literal["all"], Tag("all")]
    | Annotated[list[VersionNumber], Field(min_length=1), Tag("list")],
    Discriminator(_policy),
]
"""Which of the numbered folders to serve; the tags let a fault be told in the words of the form that was meant."""


class ModelSpec(Record):
    """One model to serve."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$",
        max_length=128,
        description="A name of letters, digits, '_', '.' and '-', unique in the spec.",
    )
    task: Literal["classification", "detection", "tensor"] = Field(
        "tensor",
        description="classification: pictures in, labels out; detection: boxes out; tensor: raw tensors only.",
    )
    backend: (
        Literal["frozen_graph", "saved_model", "keras", "tflite", "tf_serving"]
        | Annotated[str, Field(pattern=IMPORT_PATH)]
    ) = Field(
        description='frozen_graph, saved_model, keras, tflite, tf_serving, or "package.module:Class" of your own.',
    )
    path: Path = Field(
        NO_PATH,
        validate_default=True,
        description="File or folder; relative to the assets folder, else to the spec. Not for tf_serving.",
    )
    version: int | None = Field(
        None,
        ge=0,
        strict=True,
        description="A whole number. Left out: the latest folder of a SavedModel's numbered ones, else 1.",
    )
    versions: VersionPolicy | None = Field(
        None,
        description="saved_model: which numbered folders to serve: {latest: N}, all, or a list of numbers. Left out:"
        " the latest one.",
    )
    version_labels: dict[Annotated[str, Field(min_length=1)], VersionNumber] = Field(
        default_factory=dict, description="saved_model: names for versions that are served, such as {stable: 1}."
    )
    version_label: str | None = Field(
        None, min_length=1, description="tf_serving: the label of the version to ask for; not together with version."
    )
    targets: list[Annotated[str, Field(pattern=TARGET)]] = Field(
        default_factory=list,
        description='tf_serving: where the model server listens, in turn: "host:port" of its gRPC, or "http://host:port"'
        " of its REST API. Left out: APP_TFSERVING_HOST and APP_TFSERVING_PORT.",
    )
    remote_model: str | None = Field(
        None, min_length=1, description="tf_serving: the model's name over there; left out: as here."
    )
    tls: TlsSpec | None = Field(None, description="tf_serving: a mapping; {} asks for TLS with the system's trust.")
    signature: str = Field(DEFAULT_SIGNATURE, description="The signature that the task and /predict use.")
    inputs: Tensors = Field(default_factory=dict, description="Public name -> tensor; left out: found in the graph.")
    outputs: Tensors = Field(default_factory=dict, description="Public name -> tensor; left out: found in the graph.")
    image: ImageSpec = Field(default_factory=ImageSpec, description="A mapping: how a picture becomes the input.")
    labels: Path | list[str] | None = Field(
        None, description="A .txt file (a name a line, or index:name), a .pbtxt label map, or a list."
    )
    top_k: int = Field(5, ge=1, strict=True, description="How many classes /classify answers.")
    min_confidence: float | None = Field(
        None, ge=0, le=1, strict=True, description="Score from which /detect reports; else MIN_CONFIDENCE."
    )
    boxes: Literal["normalized", "pixels"] = Field(
        "normalized", description="What a detector's boxes are in: shares of its input's sides, or its pixels."
    )
    class_offset: int = Field(
        0, strict=True, description="Added to a detector's class ids; 1 where they count from 0 and the labels from 1."
    )
    preprocess: str | None = Field(
        None, pattern=IMPORT_PATH, description='Hook on the input tensors: "package.module:function".'
    )
    postprocess: str | None = Field(
        None, pattern=IMPORT_PATH, description='Hook on the output tensors: "package.module:function".'
    )
    session: SessionSpec = Field(default_factory=SessionSpec, description="A mapping: how TensorFlow runs it.")
    batching: BatchingSpec | None = Field(
        None,
        description="A mapping: how calls that wait together are joined; left out: up to 8 rows, in models that"
        " TensorFlow runs here, that keep no state and whose first dimension is free.",
    )
    timeout_s: float | None = Field(
        None, gt=0, strict=True, allow_inf_nan=False, description="Shorter deadline than REQUEST_TIMEOUT_S."
    )

    @field_validator("path", mode="before")
    @classmethod
    def _path_of_a_local_model(cls, value: Any, info: ValidationInfo) -> Any:
        remote = info.data.get("backend") == "tf_serving"
        if value is NO_PATH and not remote:
            raise PydanticCustomError("missing", "Field required")
        if value is not NO_PATH and remote:
            raise ValueError("a model of tf_serving has no path here; leave it out")
        return value

    @field_validator("version_label", "targets", "remote_model", "tls")
    @classmethod
    def _only_of_a_remote_model(cls, value: Any, info: ValidationInfo) -> Any:
        if info.data.get("backend") in ("frozen_graph", "saved_model", "keras", "tflite"):
            raise ValueError("this is for `backend: tf_serving` only; leave it out")
        return value

    @field_validator("versions", "version_labels")
    @classmethod
    def _only_of_version_folders(cls, value: Any, info: ValidationInfo) -> Any:
        backend = info.data.get("backend")
        if backend in ("frozen_graph", "keras", "tflite"):
            raise ValueError(
                f"a model of {backend} is one file, so one version; numbered folders are for saved_model: leave it out"
            )
        if backend == "tf_serving":
            raise ValueError(
                "which versions there are is the model server's choice; choose one by version or version_label"
            )
        if value and info.data.get("version") is not None:
            raise ValueError(f"version chooses one version already; leave {info.field_name} or version out")
        return value

    @field_validator("version_labels")
    @classmethod
    def _labels_of_listed_versions(cls, value: dict[str, int], info: ValidationInfo) -> dict[str, int]:
        listed = info.data.get("versions")
        for label, version in value.items():
            if isinstance(listed, list) and version not in listed:
                raise ValueError(f"{label!r} names version {version}, which `versions` does not list")
        return value

    @field_validator("version_label")
    @classmethod
    def _no_version_beside(cls, value: str | None, info: ValidationInfo) -> str | None:
        if info.data.get("version") is not None:
            raise ValueError("version and version_label both choose the version; leave one out")
        return value

    @field_validator("targets")
    @classmethod
    def _one_protocol(cls, value: list[str]) -> list[str]:
        if len({target.partition("://")[0] if "://" in target else "" for target in value}) > 1:
            raise ValueError("the targets of one model speak one protocol: all host:port, or all http://, or https://")
        return value

    @field_validator("tls")
    @classmethod
    def _no_tls_without_encryption(cls, value: TlsSpec | None, info: ValidationInfo) -> TlsSpec | None:
        if any(target.startswith("http://") for target in info.data.get("targets", ())):
            raise ValueError("targets of http:// are not encrypted; write https://, or leave tls out")
        return value

    @field_validator("name", "signature", "remote_model", "version_label", mode="before")
    @classmethod
    def _no_number(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else value

    @field_validator("labels", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        names = [cls._no_number(name) for name in value] if isinstance(value, list) else []
        for name in names:
            if not isinstance(name, str):
                raise ValueError(f"YAML reads a name as {str(name)[:100]}; put it in quotes")
        return names or value


class Spec(Record):
    """A whole spec file."""

    models: list[ModelSpec] = Field(min_length=1, description="The list of models to serve, at least one.")
