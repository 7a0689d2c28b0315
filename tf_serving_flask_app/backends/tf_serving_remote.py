"""What both of TensorFlow Serving's protocols have in common: the calls, and what their failures mean to a client."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from tf_serving_flask_app.backends.graphs import one_line
from tf_serving_flask_app.errors import (
    DeadlineExceeded,
    InvalidInput,
    NotFound,
    Overloaded,
    RemoteFailed,
    ServingError,
)
from tf_serving_flask_app.tensors import Signature, Tensors


@dataclass(frozen=True)
class Call:
    """What goes along with a call: how long it may take, and the ids of the request that it is for."""

    timeout_s: float
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class VersionStatus:
    """A version that the model server knows, and its state in TensorFlow Serving's words."""

    version: int
    state: str


class Remote(Protocol):
    """A model in the model server, over either protocol.

    Raises (from any method but ``close``):
        ServingError: what the server's answer, or its silence, means; see ``remote_error``.
    """

    def status(self, call: Call) -> list[VersionStatus]:
        """Ask for the versions: all of them, or the one that the spec chooses."""

    def signatures(self, call: Call) -> tuple[int, Mapping[str, Any]]:
        """Ask for the version that answers now, and its ``SignatureDef`` protocol buffers by name."""

    def predict(self, signature: Signature, inputs: Tensors, call: Call) -> Tensors:
        """Run a signature, whose names are those of the model server."""

    def close(self) -> None:
        """Give up the connections."""


def remote_error(model: str, code: str, reason: str) -> ServingError:
    """Say what a status means to the client, or where it is the operator's to mend, to the operator.

    Args:
        model: its name here.
        code: gRPC's name of the status (https://grpc.github.io/grpc/core/md_doc_statuscodes.html), or another.
        reason: what the model server says.
    """
    line = one_line(RemoteFailed(reason or code))
    match code:
        case "INVALID_ARGUMENT":
            return InvalidInput(f"The model refuses this input: {line}")
        case "NOT_FOUND":
            return NotFound(f"The model server behind {model!r} does not have that model or version: {line}")
        case "DEADLINE_EXCEEDED":
            return DeadlineExceeded(
                f"The deadline passed before the model server behind {model!r} had answered; allow more time"
                " (REQUEST_TIMEOUT_S, timeout_s in the spec, X-Request-Timeout-Ms) or send fewer requests at once."
            )
        case "RESOURCE_EXHAUSTED":
            return Overloaded(f"The model server behind {model!r} has too much to do; try again later.")
    return RemoteFailed(f"The model server behind {model!r} failed or cannot be reached: {code}: {reason}")
