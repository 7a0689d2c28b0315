"""The same questions to each candidate's server, and what it answers."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from http.client import HTTPException, HTTPResponse
from typing import Any
from urllib.parse import quote

import numpy as np
import orjson

from tf_serving_flask_app.apis.open_inference_binary import JSON_LENGTH_HEADER, array_from_bytes, split_body
from tf_serving_flask_app.apis.open_inference_datatypes import DATATYPES
from tf_serving_flask_app.apis.uploads import PICTURE_ROUTES
from tf_serving_flask_app.bench.exchange import Address
from tf_serving_flask_app.bench.pictures import draw_pictures, vary_pictures
from tf_serving_flask_app.bench.work import http_request, tensor_work
from tf_serving_flask_app.errors import ConfigurationError
from tf_serving_flask_app.settings import Settings
from tf_serving_flask_app.spec import ModelSpec
from tf_serving_flask_app.tensors import TensorInfo, Tensors
from tf_serving_flask_app.tune.agreement import Agreement, compare_objects, compare_scores, compare_tensors

PICTURE_SIZE = (512, 384)
"""Of drawn pictures: enough for most models, and drawn in little time."""

AT_ONCE = 8
"""Requests under way, so that answers come out of joined calls too."""

TYPES = {datatype: name for name, datatype in DATATYPES.items()}

Answer = Any
"""As the functions of ``agreement`` take them."""


@dataclass(frozen=True)
class Questions:
    """What to ask, how to read an answer, and how to compare.

    Attributes:
        requests: HTTP/1.1, header and body.
        read: from an answer's header and body.
        compare: float32's answers and others; None where they tell nothing.
    """

    requests: Sequence[bytes]
    read: Callable[[Mapping[str, str], bytes], Answer]
    compare: Callable[[Sequence[Answer], Sequence[Answer]], Agreement | None]

    def ask(self, address: Address, seconds: float) -> list[Answer] | None:
        """Ask everything; None if that takes longer than so many seconds.

        Raises:
            ConfigurationError: a question is not answered with 200.
        """
        end = time.monotonic() + seconds

        def answer(request: bytes) -> Answer | None:
            left = end - time.monotonic()
            if left <= 0:
                return None
            try:
                return self.read(*_exchange(address, request, left))
            except TimeoutError:
                return None
            except (OSError, HTTPException) as exc:
                raise ConfigurationError(f"a request got no answer: {exc}") from exc

        with ThreadPoolExecutor(AT_ONCE) as pool:
            answers = list(pool.map(answer, self.requests))
        return None if any(each is None for each in answers) else answers


def picture_questions(
    model: ModelSpec, settings: Settings, outputs: Sequence[str], given: Sequence[bytes], count: int
) -> Questions:
    """Ask about pictures: given ones and parts of them, or drawn ones.

    Args:
        model: one for pictures.
        settings: of the environment.
        outputs: names of its outputs.
        given: encoded.
        count: how many to ask about.
    """
    pictures = vary_pictures(given, max(count, len(given))) if given else draw_pictures(count, PICTURE_SIZE)
    raw = {"Content-Type": "application/octet-stream"}
    if model.task == "detection":
        path = f"{PICTURE_ROUTES[model.task]}?modelname={quote(model.name)}&min_confidence=0"
        least = settings.min_confidence if model.min_confidence is None else model.min_confidence
        return Questions(
            [http_request(path, picture, raw) for picture in pictures],
            _read_json,
            partial(compare_objects, min_confidence=least),
        )
    path = f"/v2/models/{quote(model.name)}/infer"  # which answers the scores of all classes
    scores = "scores" if "scores" in outputs else outputs[0]
    return Questions(
        [http_request(path, picture, {**raw, JSON_LENGTH_HEADER: "0"}) for picture in pictures],
        lambda headers, body: _read_tensors(headers, body)[scores],
        compare_scores,
    )


def tensor_questions(model: str, inputs: Sequence[Mapping[str, Any]], count: int) -> Questions:
    """Ask about tensors of random numbers; ``inputs`` as in ``bench.work.tensor_work``."""
    requests = [tensor_work(model, "v2", inputs, seed).requests[0] for seed in range(count)]
    return Questions(requests, _read_tensors, compare_tensors)


def _exchange(address: Address, request: bytes, timeout_s: float) -> tuple[Mapping[str, str], bytes]:
    with socket.create_connection(address, timeout_s) as connection:
        connection.sendall(request)
        response = HTTPResponse(connection)
        response.begin()
        body = response.read()
        if response.status != 200:
            raise ConfigurationError(f"a request got HTTP {response.status}: {body[:300].decode('utf-8', 'replace')}")
        return dict(response.headers), body


def _read_json(headers: Mapping[str, str], body: bytes) -> Answer:
    return orjson.loads(body)


def _read_tensors(headers: Mapping[str, str], body: bytes) -> Tensors:
    """Read the outputs, which lie behind the JSON; see ``apis.open_inference_binary``."""
    text, binary = split_body(body, headers.get(JSON_LENGTH_HEADER))
    tensors = {}
    for output in orjson.loads(text)["outputs"]:
        size = output["parameters"]["binary_data_size"]
        half = output["datatype"] == "BF16"  # the upper half of float32, and no type that NumPy knows by itself
        info = TensorInfo(output["name"], np.dtype("uint16" if half else TYPES[output["datatype"]]), None)
        array = array_from_bytes(binary[:size], info, tuple(output["shape"]), "")
        tensors[output["name"]] = (array.astype(np.uint32) << 16).view(np.float32) if half else array
        binary = binary[size:]
    return tensors
