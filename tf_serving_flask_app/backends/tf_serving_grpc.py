"""TensorFlow Serving's gRPC API, by the official stubs: one channel a model, in which gRPC balances and reconnects."""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Mapping
from typing import Any

from tf_serving_flask_app.backends.tf_serving_remote import Call, VersionStatus, remote_error
from tf_serving_flask_app.errors import NotReady
from tf_serving_flask_app.spec import ModelSpec
from tf_serving_flask_app.spec_parts import TlsSpec
from tf_serving_flask_app.tensors import Signature, Tensors

logger = logging.getLogger(__name__)

OPTIONS: tuple[tuple[str, str | int], ...] = (
    ("grpc.service_config", json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})),
    # What goes out was let in by MAX_CONTENT_LENGTH, and what comes back is the operator's own model's: gRPC's limit of
    # 4 MiB would only forbid large pictures. Protocol buffers end at 2 GiB.
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # A host that vanished without a word is noticed while calls wait for it. Servers close a connection that is pinged
    # more than twice with nothing else on it; the watch over the model's state speaks more often than that.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # gRPC's own patience, up to two minutes, is meant for strangers across the Internet.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 2_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.dns_min_time_between_resolutions_ms", 1_000),
)
"""Of the channel. gRPC sends a call again by itself where it surely never reached the server's application: it was not
sent yet, or was refused unread by a server that stops (gRFC A6, "transparent retries"). There is no retry policy on
top: by one, a call on a connection that broke would be computed twice."""


class GrpcRemote:
    """See ``tf_serving.Remote``."""

    def __init__(self, spec: ModelSpec) -> None:
        """Make the channel; nothing is sent yet."""
        from tensorflow_serving.apis.model_service_pb2_grpc import ModelServiceStub
        from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub

        self._name = spec.name
        self._spec = spec
        self._addresses = addresses(spec.targets)
        self._channel = _channel(spec, self._addresses)
        self._predictions = PredictionServiceStub(self._channel)
        self._models = ModelServiceStub(self._channel)

    def status(self, call: Call) -> list[VersionStatus]:
        """See ``Remote.status``; hosts that have moved since the channel was made are a reason to make another."""
        from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusRequest, ModelVersionStatus

        if not addresses(self._spec.targets) <= self._addresses:
            raise NotReady("The model server's hosts have new addresses.")
        request = GetModelStatusRequest()
        self._choose(request.model_spec)
        response = self._ask(self._models.GetModelStatus, request, call)
        return [
            VersionStatus(status.version, ModelVersionStatus.State.Name(status.state))
            for status in response.model_version_status
        ]

    def signatures(self, call: Call) -> tuple[int, Mapping[str, Any]]:
        """See ``Remote.signatures``."""
        from tensorflow_serving.apis.get_model_metadata_pb2 import GetModelMetadataRequest, SignatureDefMap

        request = GetModelMetadataRequest(metadata_field=["signature_def"])
        self._choose(request.model_spec)
        response = self._ask(self._predictions.GetModelMetadata, request, call)
        found = SignatureDefMap()
        response.metadata["signature_def"].Unpack(found)
        return response.model_spec.version.value, found.signature_def

    def predict(self, signature: Signature, inputs: Tensors, call: Call) -> Tensors:
        """See ``Remote.predict``."""
        import tensorflow as tf
        from tensorflow_serving.apis.predict_pb2 import PredictRequest

        request = PredictRequest(output_filter=signature.outputs)
        self._choose(request.model_spec)
        request.model_spec.signature_name = signature.name
        for name, array in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(array))
        response = self._ask(self._predictions.Predict, request, call)
        if not signature.outputs.keys() <= response.outputs.keys():
            raise remote_error(self._name, "INTERNAL", f"it answered only {', '.join(response.outputs) or 'nothing'}")
        return {name: tf.make_ndarray(response.outputs[name]) for name in signature.outputs}

    def close(self) -> None:
        """Close the channel; calls that still run in it fail."""
        self._channel.close()

    def _choose(self, chosen: Any) -> None:
        """Name the model, and the version if the spec does."""
        chosen.name = self._spec.remote_model or self._name
        if self._spec.version is not None:
            chosen.version.value = self._spec.version
        elif self._spec.version_label is not None:
            chosen.version_label = self._spec.version_label

    def _ask(self, method: Any, request: Any, call: Call) -> Any:
        import grpc

        try:
            return method(request, timeout=call.timeout_s, metadata=tuple(call.headers.items()))
        except grpc.RpcError as exc:
            raise remote_error(self._name, exc.code().name, exc.details() or "") from exc


def addresses(targets: list[str]) -> frozenset[str]:
    """Look up the hosts of several targets, since gRPC resolves one name a channel but takes any number of addresses.

    A single target is left to gRPC, which looks its name up again whenever a connection breaks, and so gives none here.
    IPv4 addresses come in IPv6's form, as a list is of one family.
    """
    if len(targets) == 1:
        return frozenset()
    found: set[str] = set()
    for target in targets:
        host, _, port = target.rpartition(":")
        try:
            entries = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
        except OSError as exc:
            logger.debug("%s cannot be looked up: %s", host, exc)
            continue
        ipv4 = [address for family, *_, address in entries if family == socket.AF_INET]
        # A host that has both kinds would count twice.
        found.update(f"[::ffff:{address[0]}]:{port}" for address in ipv4)
        found.update(f"[{address[0]}]:{port}" for *_, address in entries if not ipv4)
    return frozenset(found)


def _channel(spec: ModelSpec, found: frozenset[str]) -> Any:
    import grpc

    # With several targets, a certificate is compared with the first one's host.
    options = [*OPTIONS, ("grpc.default_authority", spec.targets[0])] if found else OPTIONS
    target = f"ipv6:{','.join(sorted(found))}" if found else f"dns:///{spec.targets[0]}"
    if spec.tls is None:
        return grpc.insecure_channel(target, options)
    return grpc.secure_channel(target, _credentials(spec.tls), options)


def _credentials(tls: TlsSpec) -> Any:
    import grpc

    ca, key, cert = (path and path.read_bytes() for path in (tls.ca, tls.key, tls.cert))
    return grpc.ssl_channel_credentials(ca, key, cert)
