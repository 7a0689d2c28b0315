"""A table of requests by the Open Inference Protocol, sent to one real server that must live through all of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401  # makes "bfloat16" a name that NumPy knows
import numpy as np
import pytest
import requests
import yaml

from tests.live.server import LiveServer
from tests.pictures import picture

CASES: list[dict[str, Any]] = yaml.safe_load(
    (Path(__file__).parents[1] / "apis" / "golden" / "open_inference.yaml").read_text(encoding="utf-8")
)
DTYPES = {
    "FP16": "float16",
    "BF16": "bfloat16",
    "FP32": "float32",
    "FP64": "float64",
    "INT32": "int32",
}
TYPED = {
    "bool": "bool",
    "uint8": "uint8",
    "uint16": "uint16",
    "uint32": "uint32",
    "uint64": "uint64",
    "int8": "int8",
    "int16": "int16",
    "int32": "int32",
    "int64": "int64",
    "fp16": "float16",
    "bf16": "bfloat16",
    "fp64": "float64",
    "bytes": "object",
}
SHAPES: dict[str, list[int] | None] = {"grid": [-1, 2, 3], "wide": [-1, -1], "scalar": [], "open": None}


def same(name: str, **inputs: Any) -> dict[str, Any]:
    """A model that gives back what it gets."""
    return {"name": name, "backend": "numpy_backends:Same", "path": ".", "inputs": inputs}


MODELS: list[dict[str, Any]] = [
    {"name": "half", "backend": "numpy_backends:HalfPlusTwo", "path": "."},
    {
        "name": "colors",
        "task": "classification",
        "backend": "numpy_backends:Colors",
        "path": ".",
        "labels": ["red", "green", "blue"],
    },
    {"name": "find", "task": "detection", "backend": "numpy_backends:BrightBoxInFrame", "path": "."},
    *(same(name, x={"dtype": dtype, "shape": [-1]}) for name, dtype in TYPED.items()),
    *(same(name, x={"dtype": "float32", "shape": shape}) for name, shape in SHAPES.items()),
    same("pair", a={"dtype": "float32", "shape": [-1, 2]}, b={"dtype": "int32", "shape": [2]}),
    same("strings", x={"dtype": "object", "shape": [2]}),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """The server with all models of the table."""
    spec = tmp_path_factory.mktemp("open_inference") / "models.spec"
    spec.write_text(yaml.safe_dump({"models": MODELS}))
    with LiveServer("-s", spec, environ={"WEB_CONCURRENCY": "1"}) as server:
        yield server


@pytest.fixture(scope="module")
def session(server: LiveServer) -> Iterator[requests.Session]:
    """One connection for all cases, which none of them may break."""
    with requests.Session() as session:
        session.headers["Accept-Encoding"] = "identity"
        yield session


def encoded(parts: list[dict[str, Any]]) -> bytes:
    """Make the bytes that a case describes."""
    return b"".join(encoded_part(*part) for each in parts for part in each.items())


def encoded_part(kind: str, value: Any) -> bytes:
    """Make one tensor's bytes."""
    if kind == "hex":
        return bytes.fromhex(value)
    if kind == "picture":
        return picture(value)
    if kind == "zeros":
        return bytes(value)
    if kind == "strings":
        items = [picture(item["picture"]) if isinstance(item, dict) else item.encode() for item in value]
        return b"".join(len(item).to_bytes(4, "little") + item for item in items)
    return np.array(value, np.dtype(DTYPES[kind])).tobytes()


def send(case: dict[str, Any], session: requests.Session, url: str) -> requests.Response:
    """Send a case's request."""
    tensors = encoded(case.get("tensors", []))
    text = case.get("text", "")
    if "json" in case:
        text = json.dumps(case["json"]).replace('"ALL"', str(len(tensors)))
    elif "text_of" in case:
        text = case["text_of"]["character"] * case["text_of"]["times"]
    body = text.encode()
    headers = dict(case.get("headers", {}))
    length = case.get("json_length", str(len(body)) if "tensors" in case else None)
    if length is not None:
        headers["Inference-Header-Content-Length"] = length.encode()
    if "json_length_off_by" in case:
        headers["Inference-Header-Content-Length"] = str(len(body) + case["json_length_off_by"])
    path = case.get("path") or f"/v2/models/{case['model']}/infer"
    return session.request(case.get("method", "POST"), url + path, data=body + tensors, headers=headers, timeout=30)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_the_answer_is_that_of_the_table(case: dict[str, Any], server: LiveServer, session: requests.Session) -> None:
    answer = send(case, session, server.url)
    length = answer.headers.get("Inference-Header-Content-Length")
    found = json.loads(answer.content[: int(length)] if length else answer.content)
    alive = session.get(server.url + "/v2/health/live", timeout=30)

    assert answer.status_code == case.get("status", 200), found
    assert found == case.get("answer", found)
    if "holds" in case:
        assert {name: found[name] for name in case["holds"]} == case["holds"]
    if answer.status_code >= 400:
        assert found.keys() == {"error"}
        assert case["error"] in found["error"]
    if "answer_tensors" in case:
        assert length is not None
        assert answer.content[int(length) :] == encoded(case["answer_tensors"])
        assert answer.headers["Content-Type"] == "application/octet-stream"
    else:
        assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers.get("Content-Encoding") == case.get("coding")
    assert (alive.status_code, alive.json()) == (200, {"live": True})


def test_the_table_is_as_long_as_it_should_be() -> None:
    names = [case["name"] for case in CASES]

    assert len(CASES) >= 100
    assert len(names) == len(set(names))


def test_the_server_lived_through_the_table(server: LiveServer, session: requests.Session) -> None:
    index = session.post(server.url + "/v2/repository/index", json={"ready": True}, timeout=30).json()

    assert [model["name"] for model in index] == [model["name"] for model in MODELS]
    assert {(model["state"], model["version"], model["reason"]) for model in index} == {("READY", "1", "")}
    assert not [line for line in server.lines if '"log.level":"error"' in line.lower().replace(" ", "")]
