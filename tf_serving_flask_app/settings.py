"""The environment variables, read once into one frozen record.

Each field's description is what ``./run.sh settings`` and the README show; its alias is the variable's name.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ByteSize, ConfigDict, Field, ValidationError

from tf_serving_flask_app.cores import usable_cores
from tf_serving_flask_app.errors import ConfigurationError

NOT_YET = ("API_KEYS_FILE",)
"""Variables of versions to come: ignoring them would leave a server open."""

SAMPLES = Path(__file__).resolve().parent.parent / "specs" / "samples"


def _number(value: object) -> object:
    """Take ``50_000_000`` or ``5e7`` where a whole number is wanted."""
    if isinstance(value, str):
        try:
            if float(value) == int(float(value)):
                return int(float(value))
        except (ValueError, OverflowError):
            return value
    return value


Count = Annotated[int, BeforeValidator(_number)]


class Settings(BaseModel):
    """What the environment says, validated; relative paths are taken from the working folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    environment: Literal["production", "development"] = Field(
        "production",
        alias="FLASK_ENV",
        description="`production`: JSON logs, INFO. `development`: readable lines, DEBUG.",
    )
    mode: Literal["multiprocess", "multithreaded"] = Field(
        default_factory=lambda data: "multithreaded" if data.get("environment") == "development" else "multiprocess",
        alias="FLASK_MODE",
        description="`multiprocess`: gunicorn with WEB_CONCURRENCY worker processes. `multithreaded`: one process,"
        " many threads. Default: multiprocess in production, multithreaded in development.",
    )
    debug: bool = Field(
        False,
        alias="FLASK_DEBUG",
        description="Development only: reload on a source change, debugger bound to loopback.",
    )
    profile: bool = Field(False, alias="FLASK_PROFILE", description="Profile requests, in every mode.")
    profile_function_limit: Count = Field(
        30, alias="FLASK_PSTATS_FUNCTION_LIMIT", ge=1, description="Frames that a profile shows."
    )
    profile_dir: Path | None = Field(
        None, alias="PROFILE_DIR", description="Folder for `.prof` files that pstats and snakeviz open."
    )
    web_concurrency: Count = Field(
        default_factory=usable_cores,
        alias="WEB_CONCURRENCY",
        ge=1,
        le=1024,
        description="Worker processes. Default: the usable cores, the cgroup quota counted.",
    )
    worker_class: Literal["eventlet", "gevent", "gthread", "sync"] = Field(
        "eventlet", alias="FLASK_WORKER_CLASS", description="gunicorn's worker in multiprocess mode."
    )
    threads: Count = Field(32, alias="THREADS", ge=1, le=4096, description="Requests that a process works on at once.")
    host: str = Field("0.0.0.0", alias="HOST", min_length=1, description="Address to listen on.")
    port: Count = Field(5000, alias="PORT", ge=0, le=65535, description="Port to listen on.")
    metrics_port: Count | None = Field(
        None,
        alias="METRICS_PORT",
        ge=1,
        le=65535,
        description="Port of its own for `/metrics`, which is then there only. Default: the main port has it.",
    )
    model_folder: Path | None = Field(
        None,
        alias="MODEL_FOLDER",
        description="Folder whose models are served where no spec is given. Default: `./models`, if there is one.",
    )
    model_poll_s: float = Field(
        1,
        alias="MODEL_POLL_S",
        ge=0,
        allow_inf_nan=False,
        description="Seconds between two looks at the models' files, for new, changed and removed versions; 0: never.",
    )
    upload_folder: Path | None = Field(
        None,
        alias="UPLOAD_FOLDER",
        description="Folder where large uploads are spooled; nothing is left in it. Default: the system's temporary"
        " folder.",
    )
    image_folder: Path = Field(
        SAMPLES,
        alias="IMAGE_FOLDER",
        description="The only folder from which `/classification?file_name=` reads.",
    )
    min_confidence: float = Field(
        0.8,
        alias="MIN_CONFIDENCE",
        ge=0,
        le=1,
        description="Score from which a detection is reported, where neither the request nor the spec says one.",
    )
    log_detections: bool = Field(False, alias="DEBUG", description="`True`: log every detection with its score.")
    max_content_length: ByteSize = Field(
        ByteSize(32 * 2**20),
        alias="MAX_CONTENT_LENGTH",
        gt=0,
        description="Largest request body, in bytes or as `64MiB`.",
    )
    max_image_pixels: Count = Field(
        50_000_000, alias="MAX_IMAGE_PIXELS", gt=0, description="Largest picture, width times height."
    )
    max_queue: Count = Field(
        128,
        alias="MAX_QUEUE",
        ge=0,
        description="Requests that may wait in a process beside the THREADS it works on; more are answered 503.",
    )
    request_timeout_s: float = Field(
        30,
        alias="REQUEST_TIMEOUT_S",
        gt=0,
        allow_inf_nan=False,
        description="Seconds from a request's arrival to 504.",
    )
    tfserving_host: str | None = Field(
        None,
        alias="APP_TFSERVING_HOST",
        pattern=r"^([A-Za-z0-9._-]+|[0-9A-Fa-f.]*:[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*)$",
        description="Name or address of the model server for models of `backend: tf_serving` that name no targets.",
    )
    tfserving_port: Count | None = Field(
        None,
        alias="APP_TFSERVING_PORT",
        ge=1,
        le=65535,
        description="Its gRPC port, with APP_TFSERVING_HOST. Default: 8500.",
    )
    tls_cert: Path | None = Field(None, alias="TLS_CERT", description="Certificate chain, PEM; with TLS_KEY.")
    tls_key: Path | None = Field(None, alias="TLS_KEY", description="Private key, PEM; with TLS_CERT.")

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Settings:
        """Read the settings from an environment; an empty variable counts as unset.

        Raises:
            ConfigurationError: a value does not parse; the text names the variable and what it takes.
        """
        values = {name: environ[name] for name in VARIABLES if environ.get(name)}
        try:
            settings = cls.model_validate(values)
        except ValidationError as exc:
            error = exc.errors()[0]
            name = str(error["loc"][0])
            raise ConfigurationError(
                f"{name}={environ.get(name)!r}: {error['msg']}. {VARIABLES[name].description}"
            ) from exc
        settings._check(environ)
        return settings

    def _check(self, environ: Mapping[str, str]) -> None:
        """Refuse what no single variable is to blame for."""
        for name in NOT_YET:
            if environ.get(name):
                raise ConfigurationError(
                    f"{name} is set, but this version cannot do what it asks for and must not pretend to; unset it."
                )
        if self.environment == "development" and self.mode == "multiprocess":
            raise ConfigurationError(
                "FLASK_MODE=multiprocess does not go with FLASK_ENV=development: the development server is one"
                " process, so that it can reload and be debugged. Unset FLASK_MODE, or set FLASK_ENV=production."
            )
        if self.metrics_port is not None and self.environment == "development":
            raise ConfigurationError(
                "METRICS_PORT does not go with FLASK_ENV=development: the development server listens on one port, and"
                " /metrics is there. Unset METRICS_PORT, or set FLASK_ENV=production."
            )
        if self.metrics_port == self.port:
            raise ConfigurationError(
                f"METRICS_PORT={self.metrics_port} is the main port, PORT: take another one, or unset METRICS_PORT to"
                " have /metrics there."
            )
        if self.tfserving_port is not None and self.tfserving_host is None:
            raise ConfigurationError("APP_TFSERVING_PORT goes with APP_TFSERVING_HOST: set that too, or neither.")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ConfigurationError("TLS_CERT and TLS_KEY go together: set both, or neither.")
        for name, path in (("TLS_CERT", self.tls_cert), ("TLS_KEY", self.tls_key)):
            if path is not None and not os.path.isfile(path):
                raise ConfigurationError(f"{name}={str(path)!r}: there is no such file.")
        if self.model_folder is not None and not os.path.isdir(self.model_folder):
            raise ConfigurationError(f"MODEL_FOLDER={str(self.model_folder)!r}: there is no such folder.")
        if self.upload_folder is not None and not os.path.isdir(self.upload_folder):
            raise ConfigurationError(f"UPLOAD_FOLDER={str(self.upload_folder)!r}: there is no such folder.")
        if environ.get("IMAGE_FOLDER") and not os.path.isdir(self.image_folder):
            raise ConfigurationError(f"IMAGE_FOLDER={str(self.image_folder)!r}: there is no such folder.")

    @property
    def on_loopback(self) -> bool:
        """True when only this machine can reach the server."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def tfserving_target(self) -> str | None:
        """Where the model server listens, as a spec's ``targets`` have it, or None."""
        if self.tfserving_host is None:
            return None
        host = f"[{self.tfserving_host}]" if ":" in self.tfserving_host else self.tfserving_host
        return f"{host}:{self.tfserving_port or 8500}"

    @property
    def processes(self) -> int:
        """How many worker processes share the machine's cores."""
        return self.web_concurrency if self.mode == "multiprocess" else 1


VARIABLES: Mapping[str, Any] = {str(field.alias): field for field in Settings.model_fields.values()}
"""Environment variable name -> pydantic's field, in the order they are shown."""
