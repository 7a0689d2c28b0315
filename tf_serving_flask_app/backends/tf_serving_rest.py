"""TensorFlow Serving's REST API, for targets of ``http://`` and ``https://``."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import urllib3
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError, ReadTimeoutError

from tf_serving_flask_app.backends.tf_serving_remote import Call, VersionStatus, remote_error
from tf_serving_flask_app.errors import InvalidInput, ServingError
from tf_serving_flask_app.json_arrays import parse_json
from tf_serving_flask_app.json_encoder import encode_json
from tf_serving_flask_app.spec import ModelSpec
from tf_serving_flask_app.spec_parts import TlsSpec
from tf_serving_flask_app.tensors import Signature, Tensors, array_from_json, array_to_json

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 2.0
CODES = {400: "INVALID_ARGUMENT", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED", 504: "DEADLINE_EXCEEDED"}
"""HTTP status -> gRPC's, as TensorFlow Serving translates them (http_rest_api_util.cc), where it matters which."""

MOST_CONNECTIONS = 128
"""To one target, kept open for the next request."""


class RestRemote:
    """See ``tf_serving.Remote``; requests go to the targets in turn, past those that no connection leads to."""

    def __init__(self, spec: ModelSpec) -> None:
        """Prepare the connections; none is opened yet."""
        self._name = spec.name
        self._targets = spec.targets
        self._turn = itertools.count()
        tls = spec.tls or TlsSpec()
        self._pool = urllib3.PoolManager(
            num_pools=len(spec.targets),
            maxsize=MOST_CONNECTIONS,
            retries=False,
            ca_certs=tls.ca and str(tls.ca),
            cert_file=tls.cert and str(tls.cert),
            key_file=tls.key and str(tls.key),
        )
        self._model = f"/v1/models/{quote(spec.remote_model or spec.name, safe='')}"
        if spec.version is not None:
            self._model += f"/versions/{spec.version}"
        elif spec.version_label is not None:
            self._model += f"/labels/{quote(spec.version_label, safe='')}"

    def status(self, call: Call) -> list[VersionStatus]:
        """See ``Remote.status``."""
        answer = self._ask("GET", self._model, None, call)
        try:
            return [VersionStatus(int(each["version"]), each["state"]) for each in answer["model_version_status"]]
        except (KeyError, TypeError, ValueError) as exc:
            raise self._failed(f"its status is {str(answer)[:200]}") from exc

    def signatures(self, call: Call) -> tuple[int, Mapping[str, Any]]:
        """See ``Remote.signatures``."""
        from google.protobuf.json_format import ParseDict, ParseError
        from tensorflow_serving.apis.get_model_metadata_pb2 import SignatureDefMap

        answer = self._ask("GET", f"{self._model}/metadata", None, call)
        try:
            found = ParseDict(answer["metadata"]["signature_def"], SignatureDefMap(), ignore_unknown_fields=True)
            return int(answer["model_spec"]["version"]), found.signature_def
        except (KeyError, TypeError, ValueError, ParseError) as exc:
            raise self._failed(f"its metadata is {str(answer)[:200]}") from exc

    def predict(self, signature: Signature, inputs: Tensors, call: Call) -> Tensors:
        """See ``Remote.predict``; in the columnar form, which does not need a batch dimension."""
        answer = self._ask("POST", f"{self._model}:predict", _body(signature.name, inputs), call)
        try:
            outputs = answer["outputs"]
            if not isinstance(outputs, dict) or outputs.keys() == {"b64"}:
                # Of a signature with one output, the bare value.
                outputs = dict.fromkeys(signature.outputs, outputs)
            return {name: array_from_json(outputs[name], info) for name, info in signature.outputs.items()}
        except (KeyError, TypeError, InvalidInput) as exc:
            raise self._failed(f"its answer does not fit its signature: {exc!r}") from exc

    def close(self) -> None:
        """Close the connections that are idle; the others close when their answer is there."""
        self._pool.clear()

    def _ask(self, method: str, path: str, body: bytes | None, call: Call) -> Any:
        headers = {**call.headers, **({"content-type": "application/json"} if body is not None else {})}
        first, end = next(self._turn), time.monotonic() + call.timeout_s
        for number in range(len(self._targets)):
            target = self._targets[(first + number) % len(self._targets)]
            left = max(0.001, end - time.monotonic())
            timeout = urllib3.Timeout(connect=min(CONNECT_TIMEOUT_S, left), total=left)
            try:
                response = self._pool.request(method, target + path, body=body, headers=headers, timeout=timeout)
            except (NewConnectionError, ConnectTimeoutError) as exc:
                # Nothing was sent, so another target may be asked.
                logger.debug("model %s: no connection to %s: %s", self._name, target, exc)
                continue
            except ReadTimeoutError as exc:
                raise remote_error(self._name, "DEADLINE_EXCEEDED", str(exc)) from exc
            except HTTPError as exc:
                raise self._failed(f"{target}: {exc}") from exc
            return self._read(response)
        raise self._failed("none of the targets can be reached")

    def _read(self, response: urllib3.BaseHTTPResponse) -> Any:
        try:
            answer = parse_json(response.data)
        except ValueError as exc:
            raise self._failed(f"status {response.status}, and what it says is no JSON") from exc
        if response.status != 200:
            reason = answer.get("error") if isinstance(answer, dict) else answer
            raise remote_error(self._name, CODES.get(response.status, f"status {response.status}"), str(reason))
        return answer

    def _failed(self, reason: str) -> ServingError:
        return remote_error(self._name, "UNKNOWN", reason)


def _body(signature: str, inputs: Tensors) -> bytes:
    body = {"signature_name": signature, "inputs": {name: array_to_json(array) for name, array in inputs.items()}}
    return encode_json(body, non_finite=True)
