"""What is sent to each server, and what its answer says: the same work in each server's own form."""

from __future__ import annotations

import base64
import http.client
import json
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tf_serving_flask_app.apis.open_inference_binary import JSON_LENGTH_HEADER
from tf_serving_flask_app.bench.exchange import Address
from tf_serving_flask_app.bench.work import http_request

ANSWER_S = 60.0
BOUNDARY = "a-boundary-that-no-picture-has"
JSON = {"Content-Type": "application/json"}
INFER = "/v2/models/model/infer"

Scores = Mapping[int, float]
"""Class -> score of a picture's best classes, best first; of the smallest model, place -> number."""


@dataclass(frozen=True)
class Reply:
    """A whole answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Its body, or the part before binary tensors, as JSON."""
        length = self.headers.get(JSON_LENGTH_HEADER.lower())
        return json.loads(self.body if length is None else self.body[: int(length)])


def ask(address: Address, request: bytes) -> Reply:
    """Send a request on a connection of its own."""
    with socket.create_connection(address, ANSWER_S) as connection:
        connection.sendall(request)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        body = answer.read()
        return Reply(answer.status, {name.lower(): value for name, value in answer.getheaders()}, body)


def picture_as_body(path: str) -> Callable[[bytes], bytes]:
    """A picture as it is."""
    return lambda picture: http_request(path, picture, {"Content-Type": "image/jpeg"})


def picture_as_file(path: str, field: str) -> Callable[[bytes], bytes]:
    """A picture as an uploaded file."""

    def request(picture: bytes) -> bytes:
        head = (
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"; filename="picture.jpg"\r\n'
            "Content-Type: image/jpeg\r\n\r\n"
        )
        body = head.encode() + picture + f"\r\n--{BOUNDARY}--\r\n".encode()
        return http_request(path, body, {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"})

    return request


def picture_as_base64(picture: bytes) -> bytes:
    """A picture as base64 in the Open Inference Protocol's JSON."""
    entry = {
        "name": "image",
        "datatype": "BYTES",
        "shape": [1, 1],
        "parameters": {"content_type": "base64"},
        "data": [base64.b64encode(picture).decode()],
    }
    return http_request(INFER, json.dumps({"inputs": [entry]}).encode(), JSON)


def picture_as_instance(picture: bytes) -> bytes:
    """A picture as base64 in the JSON of TensorFlow Serving, KServe's first protocol."""
    instances = [{"b64": base64.b64encode(picture).decode()}]
    return http_request("/v1/models/model:predict", json.dumps({"instances": instances}).encode(), JSON)


def numbers_as_json(path: str, field: str) -> Callable[[list[float]], bytes]:
    """Numbers under one key."""
    return lambda numbers: http_request(path, json.dumps({field: numbers}).encode(), JSON)


def numbers_as_v2(numbers: list[float]) -> bytes:
    """Numbers in the Open Inference Protocol's JSON."""
    entry = {"name": "x", "datatype": "FP32", "shape": [len(numbers)], "data": numbers}
    return http_request(INFER, json.dumps({"inputs": [entry]}).encode(), JSON)


def numbers_as_v2_binary(numbers: list[float]) -> bytes:
    """Numbers behind the Open Inference Protocol's JSON."""
    tensor = np.array(numbers, "<f4").tobytes()
    entry = {
        "name": "x",
        "datatype": "FP32",
        "shape": [len(numbers)],
        "parameters": {"binary_data_size": len(tensor)},
    }
    header = json.dumps({"inputs": [entry], "parameters": {"binary_data_output": True}}).encode()
    headers = {"Content-Type": "application/octet-stream", JSON_LENGTH_HEADER: str(len(header))}
    return http_request(INFER, header + tensor, headers)


def read_ours(reply: Reply) -> Scores:
    """The answer of our `/classify`."""
    return {each["class"]: each["confidence"] for each in reply.json()["predictions"]}


def read_classes(key: str, *keys: str) -> Callable[[Reply], Scores]:
    """The answer of a peer's own route, which may be a list of one, at the end of a path through JSON."""

    def read(reply: Reply) -> Scores:
        found = reply.json()
        for each in keys:
            found = found[each]
        found = found[0] if isinstance(found[0], list) else found
        return {each[key]: each["confidence"] for each in found}

    return read


def read_v2_classes(reply: Reply) -> Scores:
    """The classes and their scores as two tensors of the Open Inference Protocol."""
    tensors = {output["name"]: output["data"] for output in reply.json()["outputs"]}
    return dict(zip(tensors["classes"], tensors["confidences"], strict=True))


def read_numbers(*keys: str | int) -> Callable[[Reply], Scores]:
    """The numbers at the end of a path through JSON."""

    def read(reply: Reply) -> Scores:
        found = reply.json()
        for key in keys:
            found = found[key]
        return dict(enumerate(found))

    return read


def read_v2_binary(reply: Reply) -> Scores:
    """The numbers behind the Open Inference Protocol's JSON."""
    length = int(reply.headers[JSON_LENGTH_HEADER.lower()])
    return dict(enumerate(np.frombuffer(reply.body[length:], "<f4").tolist()))
