"""What each request asks for, as bytes for a server and as the same input for a model without one."""

from __future__ import annotations

import mimetypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast
from urllib.parse import quote

import numpy as np
import orjson

from tf_serving_flask_app.apis.open_inference_binary import JSON_LENGTH_HEADER, array_to_bytes
from tf_serving_flask_app.apis.open_inference_datatypes import DATATYPES
from tf_serving_flask_app.apis.uploads import PICTURE_ROUTES
from tf_serving_flask_app.bench.pictures import SIZE, draw_pictures
from tf_serving_flask_app.errors import ConfigurationError
from tf_serving_flask_app.image_formats import format_of
from tf_serving_flask_app.json_encoder import encode_json
from tf_serving_flask_app.spec import ModelSpec
from tf_serving_flask_app.tensors import Array, Tensors, array_to_json

Protocol = Literal["image", "v1", "v2"]

FREE_SIDE = 64
"""Pixels of a side that a model leaves open."""

FREE_LENGTH = 4
"""Of another dimension that it leaves open; the first of several is the batch, of one."""


@dataclass(frozen=True)
class Work:
    """What is measured.

    Attributes:
        model: its name.
        what: in words.
        requests: HTTP/1.1, header and body.
        pictures: encoded; what the requests carry, if that is pictures.
        tensors: what they carry else.
    """

    model: str
    what: str
    requests: tuple[bytes, ...]
    pictures: tuple[bytes, ...] = ()
    tensors: Tensors | None = None


def choose_protocol(model: ModelSpec, wanted: str) -> Protocol:
    """Tell which protocol to measure; ``auto`` is the task's own route for pictures, /v2 with binary tensors else.

    Raises:
        ConfigurationError: the model takes no pictures.
    """
    if wanted == "auto":
        return "image" if model.task in PICTURE_ROUTES else "v2"
    if wanted == "image" and model.task not in PICTURE_ROUTES:
        raise ConfigurationError(
            f"Model {model.name!r} is for {model.task}, not for pictures: measure it with v1 or v2."
        )
    return cast(Protocol, wanted)


def picture_work(model: ModelSpec, files: Sequence[Path]) -> Work:
    """Post pictures as they are to the task's route.

    Args:
        model: one for pictures.
        files: pictures; none: drawn ones.

    Raises:
        ConfigurationError: one is no picture.
    """
    pictures = tuple(file.read_bytes() for file in files) or draw_pictures()
    for file, data in zip(files, pictures, strict=False):
        if format_of(data) is None:
            raise ConfigurationError(f"{file} is no picture that a model can be sent; give another --picture.")
    kinds = [mimetypes.guess_type(file)[0] or "image/jpeg" for file in files] or ["image/jpeg"] * len(pictures)
    path = f"{PICTURE_ROUTES[model.task]}?modelname={quote(model.name)}"
    sizes = sorted(map(len, pictures))
    names = ", ".join(file.name for file in files) or f"drawn JPEGs of {SIZE[0]}x{SIZE[1]}"
    return Work(
        model.name,
        f"{PICTURE_ROUTES[model.task]}, {names} ({sizes[len(sizes) // 2] / 1000:.0f} kB)",
        tuple(http_request(path, body, {"Content-Type": kind}) for body, kind in zip(pictures, kinds, strict=True)),
        pictures=pictures,
    )


def tensor_work(model: str, protocol: Protocol, inputs: Sequence[Mapping[str, Any]], seed: int = 0) -> Work:
    """Send tensors of random numbers that fit the model.

    Args:
        model: its name.
        protocol: v1 or v2.
        inputs: as the Open Inference Protocol's metadata of the model has them: name, datatype and shape of each.
        seed: of the numbers.

    Raises:
        ConfigurationError: it names no inputs.
    """
    if not inputs:
        raise ConfigurationError(f"Model {model!r} has several signatures: choose one in the spec, `signature:`.")
    tensors = {info["name"]: draw_tensor(info["datatype"], info["shape"], seed) for info in inputs}
    described = ", ".join(f"{info['name']} {list(tensors[info['name']].shape)}" for info in inputs)
    if protocol == "v1":
        body = encode_json({"inputs": {name: array_to_json(array) for name, array in tensors.items()}})
        request = http_request(f"/v1/models/{quote(model)}:predict", body, {"Content-Type": "application/json"})
        return Work(model, f"/v1 JSON, {described}", (request,), tensors=tensors)
    header, body = _binary_body(inputs, tensors)
    headers = {"Content-Type": "application/octet-stream", JSON_LENGTH_HEADER: str(len(header))}
    request = http_request(f"/v2/models/{quote(model)}/infer", header + body, headers)
    return Work(model, f"/v2 binary, {described}", (request,), tensors=tensors)


def draw_tensor(datatype: str, shape: Sequence[int], seed: int = 0) -> Array:
    """Draw a tensor: floats of 0 to 1, other numbers 0 or 1; -1 in the shape means any length."""
    free = FREE_SIDE if len(shape) == 4 else FREE_LENGTH
    sizes = [(1 if index == 0 and len(shape) > 1 else free) if size < 0 else size for index, size in enumerate(shape)]
    random = np.random.default_rng(seed)
    dtype = next(name for name, known in DATATYPES.items() if known == datatype)
    if dtype == "object":
        return np.full(sizes, b"text", dtype=object)
    values: Array = random.random(sizes) if dtype.startswith(("float", "bfloat")) else random.integers(0, 2, sizes)
    return values.astype(dtype)


def http_request(path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    """Make the bytes of a POST that keeps its connection."""
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("ascii") + body


def _binary_body(inputs: Sequence[Mapping[str, Any]], tensors: Tensors) -> tuple[bytes, bytes]:
    """The JSON and the tensors behind it, as the Open Inference Protocol's extension has them."""
    parts = {name: bytes(array_to_bytes(array)) for name, array in tensors.items()}
    entries = [
        {
            "name": info["name"],
            "datatype": info["datatype"],
            "shape": list(tensors[info["name"]].shape),
            "parameters": {"binary_data_size": len(parts[info["name"]])},
        }
        for info in inputs
    ]
    header = orjson.dumps({"inputs": entries, "parameters": {"binary_data_output": True}})
    return header, b"".join(parts[info["name"]] for info in inputs)
