"""A model in a TensorFlow Serving of its own, asked over gRPC, or over REST where the targets are ``http://`` URLs."""

from __future__ import annotations

import importlib
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tf_serving_flask_app.backends.base import Backend
from tf_serving_flask_app.backends.graphs import bind, tensor_info
from tf_serving_flask_app.backends.tensorflow_session import INIT_SIGNATURE
from tf_serving_flask_app.backends.tf_serving_remote import Call, Remote, VersionStatus
from tf_serving_flask_app.context import current_request
from tf_serving_flask_app.errors import NotReady, ServingError
from tf_serving_flask_app.spec import ModelSpec
from tf_serving_flask_app.tensors import PREDICT_METHOD, Signature, TensorInfo, Tensors

CONTROL_TIMEOUT_S = 3.0
"""How long the model server may take to say what it has."""

WARM_UP_TIMEOUT_S = 10.0
"""How long a call may take for which no client waits."""


class TensorFlowServing(Backend):
    """Serves a model that lives elsewhere as if it were here: its signatures are asked for once, when it is loaded."""

    platform = "tensorflow_savedmodel"
    remote = True
    takes_any_shape = True

    @classmethod
    def before_fork(cls) -> None:
        """Import TensorFlow, gRPC and the stubs; gRPC starts no thread before it is used, and is not used here."""
        for name in ("prediction_service_pb2_grpc", "model_service_pb2_grpc"):
            importlib.import_module(f"tensorflow_serving.apis.{name}")

    def __init__(self, spec: ModelSpec) -> None:
        """Connect, see that the version is available, and ask for its signatures.

        Raises:
            NotReady: the model server has no available version of it.
            ServingError: the model server cannot be reached, or does not know the model.
            ConfigurationError: the model does not have what the spec names.
        """
        self._name = spec.name
        self._remote = _connect(spec)
        try:
            status = self._status()
            if status.state != "AVAILABLE":
                raise NotReady(f"The model server says that version {status.version} is {status.state}.", status.state)
            self.version, definitions = self._remote.signatures(Call(CONTROL_TIMEOUT_S))
            self._public = {
                name: _public(_signature(name, definition), spec)
                for name, definition in sorted(definitions.items())
                if definition.outputs and name != INIT_SIGNATURE
            }
            self.signatures = {name: public.signature for name, public in self._public.items()}
        except BaseException:
            self._remote.close()
            raise

    def run(self, signature: str, inputs: Tensors) -> Tensors:
        """Ask the model server within the deadline of this thread's request; see ``Backend.run``.

        Raises:
            NotFound: the model server has given up the model or the version.
            DeadlineExceeded: its answer did not come in time.
            Overloaded: it says so.
            RemoteFailed: it failed in another way, or cannot be reached.
        """
        public = self._public[signature]
        own_inputs = {public.inputs[name]: array for name, array in inputs.items()}
        outputs = self._remote.predict(public.own, own_inputs, _call())
        return {name: outputs[own] for name, own in public.outputs.items()}

    def is_current(self) -> bool:
        """Ask whether the version that was loaded is available and is the one that answers."""
        try:
            status = self._status()
        except ServingError:
            return False
        return status == VersionStatus(self.version, "AVAILABLE")

    def close(self) -> None:
        """Give up the connections."""
        self._remote.close()

    def _status(self) -> VersionStatus:
        """The version that answers a call now; if none does, the latest."""
        statuses = self._remote.status(Call(CONTROL_TIMEOUT_S))
        available = [status for status in statuses if status.state == "AVAILABLE"]
        latest = max(available or statuses, key=lambda status: status.version, default=None)
        if latest is None:
            raise NotReady("The model server has no version of it yet.", "START")
        return latest


@dataclass(frozen=True)
class _Public:
    """A signature under the names that the spec gives, and how these lead to the model server's.

    Attributes:
        signature: what clients see.
        own: the model server's signature, of its outputs only those that clients see.
        inputs: public name -> the model server's.
        outputs: the same.
    """

    signature: Signature
    own: Signature
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]


def _connect(spec: ModelSpec) -> Remote:
    if "://" in spec.targets[0]:
        from tf_serving_flask_app.backends.tf_serving_rest import RestRemote

        return RestRemote(spec)
    from tf_serving_flask_app.backends.tf_serving_grpc import GrpcRemote

    return GrpcRemote(spec)


def _call() -> Call:
    """What the request that this thread works on asks for."""
    request = current_request.get()
    if request is None:
        return Call(WARM_UP_TIMEOUT_S)
    request.check_deadline("before the model server was asked")
    headers = {"x-request-id": request.request_id}
    if request.traceparent is not None:
        headers["traceparent"] = request.traceparent
    return Call(max(0.001, request.deadline - time.monotonic()), headers)


def _public(own: Signature, spec: ModelSpec) -> _Public:
    """Give the spec's names to the tensors of the signature that it chooses, and leave the others as they are."""
    chosen = own.name == spec.signature
    where = f"model {spec.name!r}"
    inputs = bind(spec.inputs if chosen else {}, own.inputs, where)
    outputs = bind(spec.outputs if chosen else {}, own.outputs, where)
    return _Public(
        Signature(own.name, _named(inputs), _named(outputs), own.method),
        replace(own, outputs={info.name: info for info in outputs.values()}),
        {name: info.name for name, info in inputs.items()},
        {name: info.name for name, info in outputs.items()},
    )


def _named(tensors: Mapping[str, TensorInfo]) -> dict[str, TensorInfo]:
    return {name: replace(info, name=name) for name, info in tensors.items()}


def _signature(name: str, definition: Any) -> Signature:
    """Read a ``SignatureDef``."""
    inputs, outputs = _tensors(definition.inputs.items()), _tensors(definition.outputs.items())
    return Signature(name, inputs, outputs, definition.method_name or PREDICT_METHOD)


def _tensors(tensors: Iterable[tuple[str, Any]]) -> dict[str, TensorInfo]:
    import tensorflow as tf

    return {
        name: tensor_info(name, tf.TensorSpec(info.tensor_shape, tf.dtypes.as_dtype(info.dtype), info.name))
        for name, info in sorted(tensors)
    }
